"""Former: one transformer layer over a few tokens, post-norm (arXiv:2108.05895, section 3.2).

Shapes: B images, M tokens, D token width, heads h with c = D / h channels each.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mfsearch.config import FormerConfig
from mfsearch.model.drop_path import dropped


class Former(nn.Module):
    """Self-attention with residual and LayerNorm, then (ffn > 0) an MLP with residual and LayerNorm.

    tied: queries and output are projected, keys and values are the tokens themselves. full: all four are projected.
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
        z_BMD = self.norm1(z_BMD + dropped(self._attend(z_BMD), self.drop_path, self.training))
        if self.ffn1 is not None and self.ffn2 is not None and self.norm2 is not None:
            y_BMD = self.ffn2(F.gelu(self.ffn1(z_BMD)))
            z_BMD = self.norm2(z_BMD + dropped(y_BMD, self.drop_path, self.training))
        return z_BMD

    def _attend(self, z_BMD: Tensor) -> Tensor:
        B, M, D = z_BMD.shape

        def split(y_BMD: Tensor) -> Tensor:
            return y_BMD.view(B, M, self.heads, self.width).transpose(1, 2)

        k_BMD = self.key(z_BMD) if self.key is not None else z_BMD
        v_BMD = self.value(z_BMD) if self.value is not None else z_BMD
        if self.training and z_BMD.device.type == "cpu":
            y_BMD = _Attention.apply(self.query(z_BMD), k_BMD, v_BMD, self.heads)  # type: ignore[no-untyped-call]
        else:
            q_BhMc = split(self.query(z_BMD) * self.scale)
            attention_BhMM = (q_BhMc @ split(k_BMD).transpose(2, 3)).softmax(-1)
            y_BMD = (attention_BhMM @ split(v_BMD)).transpose(1, 2).reshape(B, M, D)
        return self.output(y_BMD)  # type: ignore[no-any-return]


class _Attention(torch.autograd.Function):
    """softmax(q k / sqrt(c)) v per head, for so few tokens that copies and short rows cost more than the products.

    Each head is copied to its own rows once (G = B h groups) and the softmax runs down the columns, where it is four
    times as fast over 6 tokens.
    """

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)  # type: ignore[untyped-decorator]
    def forward(ctx: Any, q_BMD: Tensor, k_BMD: Tensor, v_BMD: Tensor, heads: int) -> Tensor:
        q_GMc, k_GMc = _split(q_BMD, heads), _split(k_BMD, heads)
        v_GMc = k_GMc if v_BMD is k_BMD else _split(v_BMD, heads)
        scale = q_GMc.shape[2] ** -0.5
        share_GKQ = torch.bmm(k_GMc, q_GMc.transpose(1, 2)).mul_(scale).softmax(1)  # keys by queries
        ctx.save_for_backward(q_GMc, k_GMc, v_GMc, share_GKQ)
        ctx.heads, ctx.scale = heads, scale
        return _join(torch.bmm(share_GKQ.transpose(1, 2), v_GMc), heads)

    @staticmethod
    @once_differentiable
    @torch.amp.custom_bwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def backward(  # type: ignore[override]
        ctx: Any, g_BMD: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        q_GMc, k_GMc, v_GMc, share_GKQ = ctx.saved_tensors
        g_GMc = _split(g_BMD, ctx.heads)
        share_grad = torch.bmm(v_GMc, g_GMc.transpose(1, 2))
        score_grad = torch._softmax_backward_data(share_grad, share_GKQ, 1, share_GKQ.dtype).mul_(ctx.scale)
        q_grad = torch.bmm(score_grad.transpose(1, 2), k_GMc)
        k_grad, v_grad = torch.bmm(score_grad, q_GMc), torch.bmm(share_GKQ, g_GMc)
        return _join(q_grad, ctx.heads), _join(k_grad, ctx.heads), _join(v_grad, ctx.heads), None


def _split(y_BMD: Tensor, heads: int) -> Tensor:
    B, M, D = y_BMD.shape
    return y_BMD.reshape(B, M, heads, D // heads).transpose(1, 2).reshape(B * heads, M, D // heads)


def _join(y_GMc: Tensor, heads: int) -> Tensor:
    G, M, c = y_GMc.shape
    return y_GMc.view(G // heads, heads, M, c).transpose(1, 2).reshape(G // heads, M, heads * c)
