"""The whole network: MobileFormer(config) walks the rows of its config (arXiv:2108.05895, figure 3).

Shapes: B images, C channels, H x W positions, M tokens, D token width, h heads, K classes.
"""

import hashlib

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mfsearch.config import BlockConfig, DyReLUConfig, MobileFormerConfig
from mfsearch.model.bridge import ToFormer, ToMobile
from mfsearch.model.dyrelu import StaticSlopes
from mfsearch.model.former import Former
from mfsearch.model.mobile import ConvNorm, LiteBottleneck, Mobile, MobileDown, Stem, shuffle

CLASSIFIER = ("head.classifier.weight", "head.classifier.bias")  # the arrays that depend on the classes


class Block(nn.Module):
    """One row: Z' = Former(ToFormer(X, Z)); X^ = Mobile(X, Z'); X' = ToMobile(X^, Z')."""

    def __init__(self, config: MobileFormerConfig, row: BlockConfig, inp: int) -> None:
        super().__init__()
        dim = config.tokens.dim
        dyrelu = config.dyrelu.of(row)
        self.mixes = dyrelu.source == "spatial"
        self.to_former = ToFormer(config.bridges, inp, dim, self.mixes) if row.to_former else None
        self.former = Former(config.former, dim) if row.former else None
        self.halves_first = row.halves_first
        mobile = MobileDown if row.has_tail else Mobile
        self.mobile = mobile(row, inp, config.groups, dyrelu, dim)
        self.to_mobile = ToMobile(config.bridges, row.out, dim) if row.to_mobile else None

    def forward(self, x_BCHW: Tensor, z_BMD: Tensor | None) -> tuple[Tensor, Tensor | None]:
        mix_BMHW = None
        if z_BMD is not None and self.to_former is not None:
            z_BMD, scores = self.to_former(x_BCHW, z_BMD)
            mix_BMHW = self._mix(scores) if self.mixes else None
        if z_BMD is not None and self.former is not None:
            z_BMD = self.former(z_BMD)
        x_BCHW = self.mobile(x_BCHW, z_BMD, mix_BMHW)
        if z_BMD is not None and self.to_mobile is not None:
            x_BCHW = self.to_mobile(x_BCHW, z_BMD)
        return x_BCHW, z_BMD

    def _mix(self, scores_BhMHW: Tensor) -> Tensor:
        """The tokens' shares at each position of the activations; they sum to 1 over M."""
        scores_BMHW = scores_BhMHW.mean(1)
        if self.halves_first:
            scores_BMHW = F.avg_pool2d(scores_BMHW, 2, ceil_mode=True)
        return scores_BMHW.softmax(1)


class Head(nn.Module):
    """1x1 -> ReLU6 -> pool -> h-swish -> concat first token -> FC -> BatchNorm -> h-swish -> dropout -> FC.

    `plain`, after MobileNetV4's first row: ReLU takes the place of ReLU6 and h-swish.
    """

    def __init__(self, config: MobileFormerConfig, inp: int, dropout: float) -> None:
        super().__init__()
        head = config.head
        self.groups, self.plain = config.groups, config.lite.mobile != "lite"
        self.conv = ConvNorm(inp, head.conv, groups=config.groups)
        self.hidden = nn.Linear(head.conv + (config.tokens.dim if config.tokens.count else 0), head.hidden)
        self.norm = nn.BatchNorm1d(head.hidden)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(head.hidden, config.classes)

    def forward(self, x_BCHW: Tensor, z_BMD: Tensor | None) -> Tensor:
        return self.classifier(self.dropout(self.pre_logits(x_BCHW, z_BMD)))  # type: ignore[no-any-return]

    def pre_logits(self, x_BCHW: Tensor, z_BMD: Tensor | None) -> Tensor:
        """The classifier's input before dropout: [B, hidden]."""
        if self.groups > 1:
            x_BCHW = shuffle(x_BCHW, self.groups)
        x_BCHW = self.conv(x_BCHW)
        y_BC = F.adaptive_avg_pool2d(F.relu(x_BCHW) if self.plain else F.relu6(x_BCHW), 1).flatten(1)
        y_BC = y_BC if self.plain else F.hardswish(y_BC)
        if z_BMD is not None:
            y_BC = torch.cat([y_BC, z_BMD[:, 0]], 1)
        y_BC = self.norm(self.hidden(y_BC))
        return F.relu(y_BC) if self.plain else F.hardswish(y_BC)


class MobileFormer(nn.Module):
    """The network of a config: images [B, 3, H, W], normalised, to logits [B, K].

    Any H = W works; config.resolution only says where costs are counted. First weights depend on `seed` and the
    parameter's name alone, so networks share the first weights of a shared layer; with seed None they are left to be
    loaded. dropout is the rate before the classifier. drop_path is the rate in the last block, rising from 0 in the
    first; bridges are never dropped.
    """

    def __init__(
        self, config: MobileFormerConfig, *, seed: int | None = 0, dropout: float = 0.0, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.config = config
        with torch.device("meta"):  # draws nothing from the caller's generator
            lite, plain = config.lite, config.lite.mobile != "lite"
            self.stem = Stem(config.stem, plain)
            self.lite: LiteBottleneck | Mobile = (
                Mobile(lite.row, config.stem, config.groups, DyReLUConfig("none"), 0)
                if plain
                else LiteBottleneck(lite, config.stem, config.groups)
            )
            blocks, width = [], config.lite.out
            for row in config.blocks:
                blocks.append(Block(config, row, width))
                width = row.out
            self.blocks = nn.ModuleList(blocks)
            final = config.bridges.final
            self.final = ToFormer(config.bridges, width, config.tokens.dim, needs_scores=False) if final else None
            self.head = Head(config, width, dropout)
            count, dim = config.tokens.count, config.tokens.dim
            self.tokens = nn.Parameter(torch.empty(count, dim)) if count else None
            self._set_drop_path(drop_path)
        self.to_empty(device="cpu")
        if seed is not None:
            _init_weights(self, seed)

    def _set_drop_path(self, rate: float) -> None:
        for kind in ((LiteBottleneck, Mobile, MobileDown), (Former,)):
            layers = [module for module in self.modules() if isinstance(module, kind)]
            for k, layer in enumerate(layers):
                layer.drop_path = rate * k / max(1, len(layers) - 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.head(*self.features(x_BCHW))  # type: ignore[no-any-return]

    def features(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor | None]:
        """The head's inputs: the last feature map, and the tokens if the network has them."""
        z_BMD = self.tokens.expand(x_BCHW.shape[0], -1, -1) if self.tokens is not None else None
        x_BCHW = self.lite(self.stem(x_BCHW))
        for block in self.blocks:
            x_BCHW, z_BMD = block(x_BCHW, z_BMD)
        if z_BMD is not None and self.final is not None:
            # the head reads the first token only; eval mode keeps all tokens, as published and counted
            z_BMD, _ = self.final(x_BCHW, z_BMD[:, :1] if self.training else z_BMD)
        return x_BCHW, z_BMD


@torch.no_grad()
def _init_weights(model: MobileFormer, seed: int) -> None:
    """As published: convolutions N(0, 2 / fan_out), counting all output channels; linear layers N(0, 0.01^2)."""

    def normal_(weight: Tensor, name: str, std: float) -> None:
        digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        weight.normal_(0, std, generator=generator)

    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
            normal_(module.weight, name, (2 / fan_out) ** 0.5)
        elif isinstance(module, nn.Linear):
            normal_(module.weight, name, 0.01)
            module.bias.zero_()
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm):
            module.reset_parameters()
        elif isinstance(module, StaticSlopes):
            module.coefficients.zero_()  # ReLU
    if model.tokens is not None:
        normal_(model.tokens, "tokens", model.config.tokens.init_std)
