"""The two bridges: cross attention from feature map to tokens and back (arXiv:2108.05895, equations 1 and 3).

Shapes: B images, C channels, H x W positions, N = H W of them, M tokens, D token width, h heads of c = C / h channels.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from mfsearch.config import BridgeConfig

FEW_POSITIONS = 4  # to train ToMobile over more of them, products and softmax are faster than one operator


class ToFormer(nn.Module):
    """Mobile->Former: tokens gather from the feature map; returns the tokens and the scores [B, h, M, H, W].

    Q = W_q z, K = V = local features (projected by 1x1 where projections are full), a channel gate
    2 hard_sigmoid(W_g z) on what was gathered, W_o, residual, LayerNorm. A training on a CPU that does not need the
    scores gets None for them: attention is then one operator, faster there, which fvcore could not count.
    """

    def __init__(self, config: BridgeConfig, channels: int, dim: int) -> None:
        super().__init__()
        self.heads, self.width = config.heads, channels // config.heads
        self.scale = self.width**-0.5
        full = config.projections == "full"
        self.query = nn.Linear(dim, channels)
        self.key = nn.Conv2d(channels, channels, 1, bias=False) if full else None
        self.value = nn.Conv2d(channels, channels, 1, bias=False) if full else None
        self.gate = nn.Linear(dim, channels) if config.gate else None
        self.output = nn.Linear(channels, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x_BCHW: Tensor, z_BMD: Tensor, needs_scores: bool = True) -> tuple[Tensor, Tensor | None]:
        B, C, H, W = x_BCHW.shape
        M, h, c = z_BMD.shape[1], self.heads, self.width

        def split(y_BCHW: Tensor) -> Tensor:
            return y_BCHW.flatten(2).view(B, h, c, H * W)

        k_BhcN = split(self.key(x_BCHW) if self.key is not None else x_BCHW)
        v_BhcN = split(self.value(x_BCHW)) if self.value is not None else k_BhcN
        scores_BhMHW = None
        if self.training and x_BCHW.device.type == "cpu" and not needs_scores:
            q_BhMc = self.query(z_BMD).view(B, M, h, c).transpose(1, 2)
            y_BhMc = F.scaled_dot_product_attention(q_BhMc, k_BhcN.transpose(2, 3), v_BhcN.transpose(2, 3))
        else:
            q_BhMc = (self.query(z_BMD) * self.scale).view(B, M, h, c).transpose(1, 2)
            scores_BhMN = q_BhMc @ k_BhcN
            y_BhMc = scores_BhMN.softmax(-1) @ v_BhcN.transpose(2, 3)
            scores_BhMHW = scores_BhMN.view(B, h, M, H, W)
        y_BMC = y_BhMc.transpose(1, 2).reshape(B, M, C)
        if self.gate is not None:
            y_BMC = y_BMC * (2 * F.hardsigmoid(self.gate(z_BMD)))
        return self.norm(z_BMD + self.output(y_BMC)), scores_BhMHW


class ToMobile(nn.Module):
    """Mobile<-Former: every position mixes the tokens' values and adds them to itself; no norm.

    Q = local features, K = W_k z, V = W_v z; projections full adds 1x1 Q and output.
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
        B, C, H, W = x_BCHW.shape
        M, h, c = z_BMD.shape[1], self.heads, self.width
        q_BCHW = self.query(x_BCHW) if self.query is not None else x_BCHW
        q_BhcN = q_BCHW.flatten(2).view(B, h, c, H * W)
        if self.training and x_BCHW.device.type == "cpu" and H * W <= FEW_POSITIONS:
            k_BhMc, v_BhMc = (y.view(B, M, h, c).transpose(1, 2) for y in (self.key(z_BMD), self.value(z_BMD)))
            y_BhNc = F.scaled_dot_product_attention(q_BhcN.transpose(2, 3), k_BhMc, v_BhMc)
            y_BCHW = y_BhNc.transpose(1, 2).reshape(B, H, W, C).permute(0, 3, 1, 2)
        else:
            k_BhMc = (self.key(z_BMD) * self.scale).view(B, M, h, c).transpose(1, 2)
            v_BhcM = self.value(z_BMD).view(B, M, h, c).permute(0, 2, 3, 1)
            attention_BhMN = (k_BhMc @ q_BhcN).softmax(2)
            y_BCHW = (v_BhcM @ attention_BhMN).view(B, C, H, W)
        update_BCHW: Tensor = y_BCHW if self.output is None else self.output(y_BCHW)
        return x_BCHW + update_BCHW
