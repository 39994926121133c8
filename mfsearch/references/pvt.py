"""PVT-Tiny (arXiv:2102.12122), the first Pyramid Vision Transformer; timm has the second.

Written from the paper and its release (whai362/PVT).
Shapes: B images, N tokens, M reduced tokens, D token width, H heads, E width of a head, C channels, Y X sides.
"""

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

# Table 1: patch, width, heads, reduction of keys and values, MLP ratio
STAGES = ((4, 64, 1, 8, 8), (2, 128, 2, 4, 8), (2, 320, 5, 2, 4), (2, 512, 8, 1, 4))
BLOCKS = 2  # in every stage
_Norm = partial(nn.LayerNorm, eps=1e-6)


class PVTTiny(nn.Module):
    """Images [B, 3, resolution, resolution] to logits [B, classes]; the sides are multiples of 32."""

    def __init__(self, resolution: int = 224, classes: int = 1000) -> None:
        super().__init__()
        if resolution % 32:
            raise ValueError(f"sides are multiples of 32 px, got {resolution}")
        channels, side = 3, resolution
        stages = []
        for patch, dim, heads, reduction, ratio in STAGES:
            side //= patch
            blocks = [_PyramidBlock(dim, heads, reduction, ratio, side) for _ in range(BLOCKS)]
            stages.append(
                _PyramidStage(nn.Conv2d(channels, dim, patch, patch), side, blocks, last=dim == STAGES[-1][1])
            )
            channels = dim
        self.stages = nn.Sequential(*stages)
        self.norm = _Norm(channels)
        self.head = nn.Linear(channels, classes)

    def forward(self, x_BCYX: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(self.stages(x_BCYX)[:, 0]))
        return logits


class _PyramidStage(nn.Module):
    """Patches, positions, blocks: a map to a smaller map, in the last stage to tokens, the class token first."""

    def __init__(self, patches: nn.Conv2d, side: int, blocks: Sequence[nn.Module], *, last: bool) -> None:
        super().__init__()
        dim = patches.out_channels
        self.patches, self.norm, self.blocks = patches, nn.LayerNorm(dim), nn.Sequential(*blocks)
        self.position = nn.Parameter(torch.zeros(1, side**2 + last, dim))
        self.class_token = nn.Parameter(torch.zeros(1, 1, dim)) if last else None
        self.side = side

    def forward(self, x_BCYX: Tensor) -> Tensor:
        tokens_BND: Tensor = self.norm(self.patches(x_BCYX).flatten(2).transpose(1, 2))
        if self.class_token is not None:
            tokens_BND = torch.cat([self.class_token.expand(len(tokens_BND), -1, -1), tokens_BND], 1)
        tokens_BND = self.blocks(tokens_BND + self.position)
        if self.class_token is not None:
            return tokens_BND
        return tokens_BND.transpose(1, 2).reshape(len(tokens_BND), -1, self.side, self.side)


class _PyramidBlock(nn.Module):
    """Attention to keys and values of a map reduced by a strided convolution, then an MLP."""

    def __init__(self, dim: int, heads: int, reduction: int, ratio: int, side: int) -> None:
        super().__init__()
        self.heads, self.side = heads, side
        self.norm1, self.norm2 = _Norm(dim), _Norm(dim)
        self.query, self.key_value, self.project = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        self.reduce = nn.Conv2d(dim, dim, reduction, reduction) if reduction > 1 else None
        self.reduced_norm = nn.LayerNorm(dim) if reduction > 1 else None
        self.mlp = nn.Sequential(nn.Linear(dim, ratio * dim), nn.GELU(), nn.Linear(ratio * dim, dim))

    def forward(self, x_BND: Tensor) -> Tensor:
        x_BND = x_BND + self._attention(self.norm1(x_BND))
        out_BND: Tensor = x_BND + self.mlp(self.norm2(x_BND))
        return out_BND

    def _attention(self, x_BND: Tensor) -> Tensor:
        batch, _, dim = x_BND.shape
        reduced_BMD = x_BND
        if self.reduce is not None and self.reduced_norm is not None:
            map_BDYX = x_BND.transpose(1, 2).reshape(batch, dim, self.side, self.side)
            reduced_BMD = self.reduced_norm(self.reduce(map_BDYX).flatten(2).transpose(1, 2))

        def by_head(tokens: Tensor) -> Tensor:
            return tokens.reshape(batch, -1, self.heads, dim // self.heads).transpose(1, 2)

        q_BHNE = by_head(self.query(x_BND))
        k_BHME, v_BHME = map(by_head, self.key_value(reduced_BMD).chunk(2, dim=2))
        score_BHNM = (q_BHNE @ k_BHME.transpose(2, 3) / math.sqrt(dim // self.heads)).softmax(-1)
        out_BND: Tensor = self.project((score_BHNM @ v_BHME).transpose(1, 2).flatten(2))
        return out_BND
