"""Former: one transformer layer over a few tokens, post-norm (arXiv:2108.05895, section 3.2).

Shapes: B images, M tokens, D token width, heads h with c = D / h channels each.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from mfsearch.config import FormerConfig


class Former(nn.Module):
    """Self-attention with residual and LayerNorm, then (ffn > 0) an MLP with residual and LayerNorm.

    tied: queries and output are projected, keys and values are the tokens themselves. full: all four are projected.
    """

    def __init__(self, config: FormerConfig, dim: int) -> None:
        super().__init__()
        self.heads, self.width = config.heads, dim // config.heads
        self.scale = self.width**-0.5
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim) if config.projections == "full" else None
        self.value = nn.Linear(dim, dim) if config.projections == "full" else None
        self.output = nn.Linear(dim, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.ffn1 = nn.Linear(dim, config.ffn * dim) if config.ffn else None
        self.ffn2 = nn.Linear(config.ffn * dim, dim) if config.ffn else None
        self.norm2 = nn.LayerNorm(dim) if config.ffn else None

    def forward(self, z_BMD: Tensor) -> Tensor:
        z_BMD = self.norm1(z_BMD + self._attend(z_BMD))
        if self.ffn1 is not None and self.ffn2 is not None and self.norm2 is not None:
            z_BMD = self.norm2(z_BMD + self.ffn2(F.gelu(self.ffn1(z_BMD))))
        return z_BMD

    def _attend(self, z_BMD: Tensor) -> Tensor:
        B, M, D = z_BMD.shape

        def split(y_BMD: Tensor) -> Tensor:
            return y_BMD.view(B, M, self.heads, self.width).transpose(1, 2)

        q_BhMc = split(self.query(z_BMD) * self.scale)
        k_BhMc = split(self.key(z_BMD) if self.key is not None else z_BMD)
        v_BhMc = split(self.value(z_BMD) if self.value is not None else z_BMD)
        attention_BhMM = (q_BhMc @ k_BhMc.transpose(2, 3)).softmax(-1)
        y_BMD = (attention_BhMM @ v_BhMc).transpose(1, 2).reshape(B, M, D)
        return self.output(y_BMD)  # type: ignore[no-any-return]
