"""The two bridges: cross attention from feature map to tokens and back (arXiv:2108.05895, equations 1 and 3).

Shapes: B images, C channels, H x W positions, N = H W of them, M tokens, D token width, h heads of c = C / h channels.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from mfsearch.config import BridgeConfig
from mfsearch.model import cpu


class ToFormer(nn.Module):
    """Mobile->Former: tokens gather from the feature map; returns the tokens and the scores [B, h, M, H, W].

    Q = W_q z; K = V = local features, each projected by 1x1 if projections are full. The channel gate
    2 hard_sigmoid(W_g z) scales the result; then W_o, residual, LayerNorm. Without needs_scores, training on a CPU
    returns None for the scores.
    """

    def __init__(self, config: BridgeConfig, channels: int, dim: int, needs_scores: bool = True) -> None:
        super().__init__()
        self.needs_scores = needs_scores
        self.heads, self.width = config.heads, channels // config.heads
        self.scale = self.width**-0.5
        full = config.projections == "full"
        self.query = nn.Linear(dim, channels)
        self.key = nn.Conv2d(channels, channels, 1, bias=False) if full else None
        self.value = nn.Conv2d(channels, channels, 1, bias=False) if full else None
        self.gate = nn.Linear(dim, channels) if config.gate else None
        self.output = nn.Linear(channels, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x_BCHW: Tensor, z_BMD: Tensor) -> tuple[Tensor, Tensor | None]:
        B, _, H, W = x_BCHW.shape

        def split(y_BCHW: Tensor) -> Tensor:
            return y_BCHW.flatten(2).view(B, self.heads, self.width, H * W)

        k_BhcN = split(self.key(x_BCHW) if self.key is not None else x_BCHW)
        v_BhcN = split(self.value(x_BCHW)) if self.value is not None else k_BhcN
        y_BMC, scores_BhMN = self._attend(self.query(z_BMD), k_BhcN, v_BhcN)
        if self.gate is not None:
            y_BMC = y_BMC * (2 * F.hardsigmoid(self.gate(z_BMD)))
        scores_BhMHW = scores_BhMN.view(*scores_BhMN.shape[:3], H, W) if scores_BhMN is not None else None
        return self.norm(z_BMD + self.output(y_BMC)), scores_BhMHW

    @cpu.in_training(cpu.gather)
    def _attend(self, q_BMC: Tensor, k_BhcN: Tensor, v_BhcN: Tensor) -> tuple[Tensor, Tensor | None]:
        B, M, C = q_BMC.shape
        q_BhMc = (q_BMC * self.scale).view(B, M, self.heads, self.width).transpose(1, 2)
        scores_BhMN = q_BhMc @ k_BhcN
        y_BhMc = scores_BhMN.softmax(-1) @ v_BhcN.transpose(2, 3)
        return y_BhMc.transpose(1, 2).reshape(B, M, C), scores_BhMN


class ToMobile(nn.Module):
    """Mobile<-Former: each position adds a mix of the tokens' values; no norm.

    Q = local features, K = W_k z, V = W_v z. Full projections add a 1x1 convolution to Q and to the output.
    """

    def __init__(self, config: BridgeConfig, channels: int, dim: int) -> None:
        super().__init__()
        self.heads, self.width = config.heads, channels // config.heads
        self.scale = self.width**-0.5
        full = config.projections == "full"
        self.query = nn.Conv2d(channels, channels, 1, bias=False) if full else None
        self.key = nn.Linear(dim, channels)
        self.value = nn.Linear(dim, channels)
        self.output = nn.Conv2d(channels, channels, 1, bias=False) if full else None

    def forward(self, x_BCHW: Tensor, z_BMD: Tensor) -> Tensor:
        y_BCHW = self._attend(self.query(x_BCHW) if self.query is not None else x_BCHW, z_BMD)
        update_BCHW: Tensor = y_BCHW if self.output is None else self.output(y_BCHW)
        return x_BCHW + update_BCHW

    @cpu.in_training(cpu.spread)
    def _attend(self, q_BCHW: Tensor, z_BMD: Tensor) -> Tensor:
        B, C, H, W = q_BCHW.shape
        M, h, c = z_BMD.shape[1], self.heads, self.width
        q_BhcN = q_BCHW.flatten(2).view(B, h, c, H * W)
        k_BhMc = (self.key(z_BMD) * self.scale).view(B, M, h, c).transpose(1, 2)
        v_BhcM = self.value(z_BMD).view(B, M, h, c).permute(0, 2, 3, 1)
        attention_BhMN = (k_BhMc @ q_BhcN).softmax(2)
        return (v_BhcM @ attention_BhMN).view(B, C, H, W)  # type: ignore[no-any-return]
