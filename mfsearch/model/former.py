"""Former: one post-norm transformer layer over a few tokens (arXiv:2108.05895, section 3.2).

Shapes: B images, M tokens, D token width, h heads of c = D / h channels.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from mfsearch.config import FormerConfig
from mfsearch.model import cpu
from mfsearch.model.drop_path import dropped


class Former(nn.Module):
    """Self-attention with residual and LayerNorm; then, if ffn > 0, an MLP with residual and LayerNorm.

    Tied projections project queries and output; keys and values are the tokens. Full projections project all four.
    """

    def __init__(self, config: FormerConfig, dim: int) -> None:
        super().__init__()
        self.drop_path = 0.0
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
        k_BMD = self.key(z_BMD) if self.key is not None else z_BMD
        v_BMD = self.value(z_BMD) if self.value is not None else z_BMD
        y_BMD = self.output(self._attend(self.query(z_BMD), k_BMD, v_BMD))
        z_BMD = self.norm1(z_BMD + dropped(y_BMD, self.drop_path, self.training))
        if self.ffn1 is not None and self.ffn2 is not None and self.norm2 is not None:
            y_BMD = self.ffn2(F.gelu(self.ffn1(z_BMD)))
            z_BMD = self.norm2(z_BMD + dropped(y_BMD, self.drop_path, self.training))
        return z_BMD

    @cpu.in_training(cpu.attend)
    def _attend(self, q_BMD: Tensor, k_BMD: Tensor, v_BMD: Tensor) -> Tensor:
        """softmax(q k / sqrt(c)) v in each head."""
        B, M, D = q_BMD.shape

        def split(y_BMD: Tensor) -> Tensor:
            return y_BMD.view(B, M, self.heads, self.width).transpose(1, 2)

        attention_BhMM = (split(q_BMD * self.scale) @ split(k_BMD).transpose(2, 3)).softmax(-1)
        return (attention_BhMM @ split(v_BMD)).transpose(1, 2).reshape(B, M, D)
