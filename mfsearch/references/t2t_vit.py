"""T2T-ViT-7 (arXiv:2101.11986): tokens are made by unfolding twice with a Performer in between.

Written from the paper and its release (yitu-opensource/T2T-ViT); the blocks of the body are those of timm's ViT.
Shapes: B images, N tokens, D token width, M random features, C channels, H height, W width.
"""

import math

import torch
from torch import Tensor, nn

TOKEN_DIM, DIM, DEPTH, HEADS, MLP_RATIO = 64, 256, 7, 4, 2


class T2TViT7(nn.Module):
    """Images [B, 3, resolution, resolution] to logits [B, classes]; the sides are multiples of 16."""

    def __init__(self, block: type[nn.Module], resolution: int = 224, classes: int = 1000) -> None:
        """block: timm's transformer block."""
        super().__init__()
        if resolution % 16:
            raise ValueError(f"sides are multiples of 16 px, got {resolution}")
        self.unfold = nn.ModuleList([nn.Unfold(7, stride=4, padding=2), *(nn.Unfold(3, stride=2, padding=1),) * 2])
        self.performers = nn.ModuleList([_Performer(3 * 49), _Performer(TOKEN_DIM * 9)])
        self.project = nn.Linear(TOKEN_DIM * 9, DIM)
        self.class_token = nn.Parameter(torch.zeros(1, 1, DIM))
        self.position = nn.Parameter(_sinusoids((resolution // 16) ** 2 + 1), requires_grad=False)
        settings = {"num_heads": HEADS, "mlp_ratio": MLP_RATIO, "qkv_bias": False}
        self.blocks = nn.Sequential(*(block(DIM, **settings) for _ in range(DEPTH)))
        self.norm = nn.LayerNorm(DIM)
        self.head = nn.Linear(DIM, classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        side = x_BCHW.shape[-1] // 4
        tokens_BND = self.performers[0](self.unfold[0](x_BCHW).transpose(1, 2))
        tokens_BND = self.performers[1](self._again(tokens_BND, side, 1))
        tokens_BND = self.project(self._again(tokens_BND, side // 2, 2))
        tokens_BND = torch.cat([self.class_token.expand(len(tokens_BND), -1, -1), tokens_BND], 1) + self.position
        logits: Tensor = self.head(self.norm(self.blocks(tokens_BND))[:, 0])
        return logits

    def _again(self, tokens_BND: Tensor, side: int, at: int) -> Tensor:
        """The tokens as a square map, unfolded again."""
        map_BDHW = tokens_BND.transpose(1, 2).reshape(len(tokens_BND), TOKEN_DIM, side, side)
        out_BND: Tensor = self.unfold[at](map_BDHW).transpose(1, 2)
        return out_BND


class _Performer(nn.Module):
    """Linear attention by random features (section 3.1 and the release), and an MLP."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(TOKEN_DIM)
        self.kqv = nn.Linear(dim, 3 * TOKEN_DIM)
        self.project = nn.Linear(TOKEN_DIM, TOKEN_DIM)
        self.mlp = nn.Sequential(nn.Linear(TOKEN_DIM, TOKEN_DIM), nn.GELU(), nn.Linear(TOKEN_DIM, TOKEN_DIM))
        self.features = nn.Parameter(torch.empty(TOKEN_DIM // 2, TOKEN_DIM), requires_grad=False)
        nn.init.orthogonal_(self.features)
        self.features.data *= math.sqrt(TOKEN_DIM // 2)

    def forward(self, x_BND: Tensor) -> Tensor:
        k_BND, q_BND, v_BND = self.kqv(self.norm1(x_BND)).split(TOKEN_DIM, dim=-1)
        k_BNM, q_BNM = self._kernel(k_BND), self._kernel(q_BND)
        total_BN1 = q_BNM @ k_BNM.sum(1, keepdim=True).transpose(1, 2)
        mixed_BND = q_BNM @ (k_BNM.transpose(1, 2) @ v_BND) / (total_BN1 + 1e-8)
        y_BND = v_BND + self.project(mixed_BND)
        out_BND: Tensor = y_BND + self.mlp(self.norm2(y_BND))
        return out_BND

    def _kernel(self, x_BND: Tensor) -> Tensor:
        """exp(w x - |x|^2 / 2) / sqrt(M), whose products approximate the softmax kernel."""
        half_BN1 = (x_BND * x_BND).sum(-1, keepdim=True) / 2
        return torch.exp(x_BND @ self.features.transpose(0, 1) - half_BN1) / math.sqrt(len(self.features))


def _sinusoids(count: int) -> Tensor:
    at_N1 = torch.arange(count, dtype=torch.float32)[:, None]
    angle_ND = at_N1 / 10000 ** (torch.arange(DIM, dtype=torch.float32)[None] // 2 * 2 / DIM)
    even = (torch.arange(DIM) % 2 == 0)[None]
    return torch.where(even, angle_ND.sin(), angle_ND.cos())[None]
