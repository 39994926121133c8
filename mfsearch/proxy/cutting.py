"""Networks cut from a trained parent: the weights of the channels, blocks, tokens and bridges that stay.

A cut takes rows and columns of the parent's arrays, so a cut at full size is the parent, bit for bit. Three things are
adjusted: attention divides by the root of a head's width, so queries (or keys) are rescaled where channels leave; 5x5
kernels keep their centre 3x3; and a DyReLU that becomes static gets the mean of its coefficients. BatchNorm statistics
are the parent's until `restate_batch_norm`. Shapes: B images, C channels, H x W positions.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mfsearch.config import MobileFormerConfig
from mfsearch.model import MobileFormer
from mfsearch.model.bridge import ToFormer, ToMobile
from mfsearch.model.dyrelu import DyReLU, Static, StaticSlopes
from mfsearch.model.former import Former
from mfsearch.model.mobile import ConvNorm, Mobile, MobileDown
from mfsearch.space.channels import Demand, Place, inverse, shuffled
from mfsearch.space.nested import LITE, check_inside, find_streams, match, stream_demands, stream_width

ARRAYS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked", "coefficients")  # of a layer


class Channels:
    """One choice of channels, which several arrays follow.

    whole, part: the place of each channel of the parent and of the cut; `part` waits for other choices. writers:
    the parent's norms and layers that write the channels, by name; readers: the weights that read them. An order gives
    the row or column of each channel; `shuffled` where a shuffle lies between.
    """

    def __init__(self, whole: Sequence[Place], part: Callable[[], Sequence[Place]], part_width: int) -> None:
        self.whole, self.part = whole, part
        self.whole_width, self.part_width = len(whole), part_width
        self.writers: list[tuple[str, list[int]]] = []
        self.readers: list[tuple[str, list[int]]] = []
        self.kept: Tensor  # the parent's channel for each of the cut

    def choose(self, score_C: Tensor) -> None:
        """Fill each place with the highest scores of the parent's channels there, ties by index, in their old order."""
        there: defaultdict[Place, list[int]] = defaultdict(list)
        for channel in sorted(range(len(self.whole)), key=[-s for s in score_C.tolist()].__getitem__):
            there[self.whole[channel]].append(channel)
        wanted: defaultdict[Place, list[int]] = defaultdict(list)
        for slot, place in enumerate(self.part()):
            wanted[place].append(slot)
        kept: dict[int, int] = {}
        for place, slots in wanted.items():
            if len(slots) > len(there[place]):
                raise ValueError(
                    f"{self.whole_width} channels cannot be cut to {self.part_width}: the heads, groups or shuffles "
                    f"around {self.writers[0][0]} do not allow it"
                )
            kept |= zip(slots, sorted(there[place][: len(slots)]), strict=True)
        self.kept = torch.tensor([kept[slot] for slot in range(self.part_width)])


Score = Callable[[Channels], Tensor]  # one number for each of the parent's channels; more is kept


def by_weight(parent: MobileFormer) -> Score:
    """Scores channels by the weight of the BatchNorms that write them times the norm of the weights that read them.

    Where no BatchNorm writes, the norm of the writer's rows takes its place; several are summed as squares.
    """

    def score(channels: Channels) -> Tensor:
        written = read = torch.zeros(channels.whole_width)
        for name, order in channels.writers:
            written = written + _row_norms(parent, name)[order] ** 2
        for name, order in channels.readers:
            read = read + _column_norms(parent, name)[order] ** 2
        return written * read if channels.readers else written

    return score


def _row_norms(model: nn.Module, name: str) -> Tensor:
    weight = model.get_submodule(name).get_parameter("weight").detach().cpu()
    norms: Tensor = torch.linalg.vector_norm(weight.reshape(len(weight), -1), dim=1)
    return norms


def _column_norms(model: nn.Module, name: str) -> Tensor:
    """For each input of a convolution or linear layer, the norm of all weights that read it."""
    layer = model.get_submodule(name)
    weight, groups = layer.get_parameter("weight").detach().cpu(), int(getattr(layer, "groups", 1))
    weight = weight.reshape(groups, len(weight) // groups, weight.shape[1], -1)
    norms: Tensor = torch.linalg.vector_norm(weight, dim=(1, 3)).flatten()
    return norms


@torch.no_grad()
def mean_coefficients(parent: MobileFormer, images_BCHW: Tensor) -> dict[str, Tensor]:
    """The mean over images and positions of each dynamic DyReLU's coefficients, by the DyReLU's name."""
    means: dict[str, Tensor] = {}
    hooks = []
    for name, module in parent.named_modules():
        if isinstance(module, DyReLU) and not isinstance(module, StaticSlopes):

            def note(act: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
                assert isinstance(act, DyReLU)
                means[name] = act._offsets(*inputs).mean((0, 3, 4)).flatten()

            hooks.append(module.register_forward_pre_hook(note))
    training = parent.training
    parent.eval()(images_BCHW)
    parent.train(training)
    for hook in hooks:
        hook.remove()
    return means


@torch.no_grad()
def cut(
    parent: MobileFormer,
    config: MobileFormerConfig,
    *,
    score: Score | None = None,
    coefficients: Mapping[str, Tensor] | None = None,
    rows: Sequence[int] | None = None,
) -> MobileFormer:
    """The network of `config`, inside its parent, with the parent's weights and classes.

    score: which channels stay; default `by_weight(parent)`. coefficients: from `mean_coefficients`, needed if a DyReLU
    becomes static. rows: the parent's block for each block, default those of `match`. Raises ValueError if `config`
    does not lie inside the parent.
    """
    if rows is None:
        rows = match(parent.config, config)
    else:
        check_inside(parent.config, config, tuple(rows))
    own = MobileFormerConfig.from_dict({**config.to_dict(), "classes": parent.config.classes})
    weight = next(parent.parameters())
    model = MobileFormer(own, seed=None).to(weight.device, weight.dtype)
    scissors = _Scissors(parent, model, coefficients or {})
    scissors.walk(rows)
    scissors.choose(score or by_weight(parent))
    model.load_state_dict({name: make() for name, make in scissors.tensors.items()})
    return model.train(parent.training)


class _Axis(NamedTuple):
    """One axis of an array: the channels along it, in the parent's and the cut's order, `copies` times, then `more`."""

    channels: Channels
    whole: list[int]
    part: list[int]
    copies: int = 1
    more: int = 0

    def kept(self) -> Tensor:
        """The parent's index for each index of the cut."""
        kept = torch.empty(len(self.part), dtype=torch.long)
        kept[self.part] = torch.tensor(self.whole)[self.channels.kept]
        width = len(self.whole)
        copied = (width * torch.arange(self.copies)[:, None] + kept).flatten()
        return torch.cat([copied, torch.arange(self.copies * width, self.copies * width + self.more)])


class _Scissors:
    """Walks parent and cut side by side, notes which channels each array follows, then takes them."""

    def __init__(self, parent: MobileFormer, model: MobileFormer, coefficients: Mapping[str, Tensor]) -> None:
        self.parent, self.model, self.coefficients = parent, model, coefficients
        self.state = parent.state_dict()
        self.channels: list[Channels] = []
        self.tensors: dict[str, Callable[[], Tensor]] = {}  # by the cut's name of the array

    def choose(self, score: Score) -> None:
        """Choose all channels, from the image on."""
        for channels in self.channels:
            channels.choose(score(channels))

    def walk(self, rows: Sequence[int]) -> None:
        """Note every array of the cut, whose blocks come from the parent's `rows`."""
        parent, model = self.parent, self.model
        theirs, ours = find_streams(parent.config), find_streams(model.config)
        streams = iter(
            [
                self._demanded(demand, stream_width(parent.config, whole), stream_width(model.config, part))
                for whole, part, demand in zip(theirs, ours, stream_demands(parent.config), strict=True)
            ]
        )
        begins = {stream.start for stream in theirs}
        inp = next(streams)
        self._conv_norm("stem.conv", "stem.conv", self._demanded(Demand(), 3, 3), inp)
        stream = next(streams) if LITE in begins else inp
        if isinstance(model.lite, Mobile):
            self._mobile("lite", "lite", inp, stream)
        else:
            wide = self._multiplied("lite.depthwise", "lite.depthwise", inp)
            self._conv_norm("lite.project", "lite.project", wide, stream)
        if parent.tokens is not None and model.tokens is not None:
            tokens = parent.tokens[: len(model.tokens)]
            self.tensors["tokens"] = lambda: tokens
        for k, row in enumerate(rows):
            at, was, block = f"blocks.{k}", f"blocks.{row}", model.blocks[k]
            inp, stream = stream, next(streams) if row in begins else stream
            if block.to_former is not None:
                self._to_former(f"{at}.to_former", f"{was}.to_former", inp)
            if block.former is not None:
                self._former(f"{at}.former", f"{was}.former")
            mobile = self._down if isinstance(block.mobile, MobileDown) else self._mobile
            mobile(f"{at}.mobile", f"{was}.mobile", inp, stream)
            if block.to_mobile is not None:
                self._to_mobile(f"{at}.to_mobile", f"{was}.to_mobile", stream)
        if model.final is not None:
            self._to_former("final", "final", stream)
        self._head(stream)

    def _demanded(self, demand: Demand, whole: int, part: int) -> Channels:
        return self._added(Channels(demand.places(whole), lambda: demand.places(part), part))

    def _added(self, channels: Channels) -> Channels:
        self.channels.append(channels)
        return channels

    def _axis(self, channels: Channels, copies: int = 1, more: int = 0) -> _Axis:
        """Channels in their own order."""
        return _Axis(channels, list(range(channels.whole_width)), list(range(channels.part_width)), copies, more)

    def _take(self, at: str, was: str, out: _Axis | None, inp: _Axis | None = None, scale: float = 1.0) -> None:
        """Note a layer whose rows follow `out` and whose columns follow `inp`; None for all of them."""
        ours, theirs = self.model.get_submodule(at), self.parent.get_submodule(was)

        def taken(array: Tensor) -> Tensor:
            if isinstance(theirs, nn.Conv2d):
                assert isinstance(ours, nn.Conv2d)
                array = _convolution(array, theirs, ours, out, inp)
            elif array.ndim:
                array = array if out is None else array[out.kept().to(array.device)]
                array = array if inp is None or array.ndim == 1 else array[:, inp.kept().to(array.device)]
            return array if scale == 1 else array * scale

        for name in ARRAYS:
            if f"{was}.{name}" in self.state:
                self.tensors[f"{at}.{name}"] = partial(taken, self.state[f"{was}.{name}"])

    def _conv_norm(
        self, at: str, was: str, inp: Channels, out: Channels, *, reads: bool = True, writes: bool = True
    ) -> None:
        """A convolution, its BatchNorm and shuffle. reads, writes: whether it counts in the scores of the channels."""
        ours, theirs = self.model.get_submodule(at), self.parent.get_submodule(was)
        assert isinstance(ours, ConvNorm)
        assert isinstance(theirs, ConvNorm)
        whole, part = shuffled(out.whole_width, theirs.shuffle), shuffled(out.part_width, ours.shuffle)
        axis = _Axis(out, whole, part)
        self._take(f"{at}.conv", f"{was}.conv", axis, self._axis(inp))
        self._take(f"{at}.norm", f"{was}.norm", axis)
        if writes:
            out.writers.append((f"{was}.norm", whole))
        if reads:
            inp.readers.append((f"{was}.conv", list(range(inp.whole_width))))

    def _multiplied(self, at: str, was: str, inp: Channels) -> Channels:
        """The channels after a depthwise convolution that makes several of each input, and the convolution."""
        groups = self.parent.config.groups

        def places(module: nn.Module, sources: Sequence[int]) -> list[Place]:
            assert isinstance(module, ConvNorm)
            width, times = module.conv.out_channels, module.conv.out_channels // module.conv.in_channels
            order = shuffled(width, module.shuffle)
            return [(sources[order[e] // times], e * groups // width) for e in range(width)]

        ours, theirs = self.model.get_submodule(at), self.parent.get_submodule(was)
        assert isinstance(ours, ConvNorm)
        out = Channels(
            places(theirs, range(inp.whole_width)), lambda: places(ours, inp.kept.tolist()), ours.conv.out_channels
        )
        self._conv_norm(at, was, inp, out)
        return self._added(out)

    def _mobile(self, at: str, was: str, inp: Channels, out: Channels) -> None:
        groups = self.parent.config.groups
        ours, theirs = self.model.get_submodule(at), self.parent.get_submodule(was)
        assert isinstance(ours, Mobile)
        assert isinstance(theirs, Mobile)
        demand = Demand(groups, interleaved=theirs.expand.shuffle > 1)
        inner = self._demanded(demand, theirs.expand.conv.out_channels, ours.expand.conv.out_channels)
        if ours.before is not None:
            self._conv_norm(f"{at}.before", f"{was}.before", inp, inp, reads=False, writes=False)
        self._conv_norm(f"{at}.expand", f"{was}.expand", inp, inner, writes=ours.depthwise is None)
        self._activation(f"{at}.act1", f"{was}.act1", inner)
        if ours.depthwise is not None:
            self._conv_norm(f"{at}.depthwise", f"{was}.depthwise", inner, inner, reads=False)
        self._conv_norm(f"{at}.project", f"{was}.project", inner, out)
        if ours.act2 is not None:
            self._activation(f"{at}.act2", f"{was}.act2", out if ours.depthwise is None else inner)

    def _down(self, at: str, was: str, inp: Channels, out: Channels) -> None:
        for half, channels in (("1", inp), ("2", out)):
            inner = self._multiplied(f"{at}.depthwise{half}", f"{was}.depthwise{half}", channels)
            self._activation(f"{at}.act{half}", f"{was}.act{half}", inner)
            self._conv_norm(f"{at}.project{half}", f"{was}.project{half}", inner, out)

    def _activation(self, at: str, was: str, channels: Channels) -> None:
        ours, theirs = self.model.get_submodule(at), self.parent.get_submodule(was)
        if isinstance(ours, Static):
            return
        assert isinstance(ours, DyReLU)
        axis = self._axis(channels, copies=ours.config.coefficients)
        if isinstance(theirs, StaticSlopes):
            self._take(at, was, axis)
        elif isinstance(ours, StaticSlopes):
            if was not in self.coefficients:
                raise ValueError(f"{was} becomes static: give the parent's mean_coefficients")
            mean = 3 * self.coefficients[was]  # StaticSlopes divides by 3, like DyReLU
            self.tensors[f"{at}.coefficients"] = lambda: mean[axis.kept().to(mean.device)]
        else:
            assert isinstance(theirs, DyReLU)
            pooled = ours.config.source == "pooled"
            whole, part = (act.squeeze.out_features if pooled else 1 for act in (theirs, ours))
            hidden = self._demanded(Demand(), whole, part)
            hidden.writers.append((f"{was}.squeeze", list(range(whole))))
            hidden.readers.append((f"{was}.expand", list(range(whole))))
            between = self._axis(hidden) if pooled else None
            self._take(f"{at}.squeeze", f"{was}.squeeze", between, self._axis(channels) if pooled else None)
            self._take(f"{at}.expand", f"{was}.expand", axis, between)

    def _to_former(self, at: str, was: str, stream: Channels) -> None:
        bridge = self.model.get_submodule(at)
        assert isinstance(bridge, ToFormer)
        keys = values = stream
        if bridge.key is not None:
            keys = self._in_heads(bridge.heads, stream, f"{was}.query")
            values = self._in_heads(bridge.heads, stream, f"{was}.value", f"{was}.output")
            self._take(f"{at}.key", f"{was}.key", self._axis(keys), self._axis(stream))
            self._take(f"{at}.value", f"{was}.value", self._axis(values), self._axis(stream))
        self._take(f"{at}.query", f"{was}.query", self._axis(keys), scale=_rescaled(stream))
        if bridge.gate is not None:
            self._take(f"{at}.gate", f"{was}.gate", self._axis(values))
        self._take(f"{at}.output", f"{was}.output", None, self._axis(values))
        self._take(f"{at}.norm", f"{was}.norm", None)

    def _to_mobile(self, at: str, was: str, stream: Channels) -> None:
        bridge = self.model.get_submodule(at)
        assert isinstance(bridge, ToMobile)
        keys = values = stream
        if bridge.query is not None:
            keys = self._in_heads(bridge.heads, stream, f"{was}.key")
            values = self._in_heads(bridge.heads, stream, f"{was}.value", f"{was}.output")
            self._take(f"{at}.query", f"{was}.query", self._axis(keys), self._axis(stream))
            self._take(f"{at}.output", f"{was}.output", self._axis(stream), self._axis(values))
        self._take(f"{at}.key", f"{was}.key", self._axis(keys), scale=_rescaled(stream))
        self._take(f"{at}.value", f"{was}.value", self._axis(values))

    def _in_heads(self, heads: int, stream: Channels, writer: str, reader: str | None = None) -> Channels:
        """The projected channels of a bridge."""
        channels = self._demanded(Demand(heads=heads), stream.whole_width, stream.part_width)
        channels.writers.append((writer, list(range(stream.whole_width))))
        if reader is not None:
            channels.readers.append((reader, list(range(stream.whole_width))))
        return channels

    def _former(self, at: str, was: str) -> None:
        ours, theirs = self.model.get_submodule(at), self.parent.get_submodule(was)
        assert isinstance(ours, Former)
        assert isinstance(theirs, Former)
        for name in ("query", "key", "value", "output", "norm1", "norm2"):
            if getattr(ours, name) is not None:
                self._take(f"{at}.{name}", f"{was}.{name}", None)
        if ours.ffn1 is not None and theirs.ffn1 is not None:
            hidden = self._demanded(Demand(), theirs.ffn1.out_features, ours.ffn1.out_features)
            hidden.writers.append((f"{was}.ffn1", list(range(hidden.whole_width))))
            hidden.readers.append((f"{was}.ffn2", list(range(hidden.whole_width))))
            self._take(f"{at}.ffn1", f"{was}.ffn1", self._axis(hidden))
            self._take(f"{at}.ffn2", f"{was}.ffn2", None, self._axis(hidden))

    def _head(self, stream: Channels) -> None:
        whole, part = self.parent.config, self.model.config
        groups = whole.groups
        conv = self._demanded(Demand(groups), whole.head.conv, part.head.conv)
        # the head shuffles the stream first
        orders = [inverse(shuffled(width, groups)) for width in (stream.whole_width, stream.part_width)]
        read = _Axis(stream, orders[0], orders[1])
        self._take("head.conv.conv", "head.conv.conv", self._axis(conv), read)
        self._take("head.conv.norm", "head.conv.norm", self._axis(conv))
        stream.readers.append(("head.conv.conv", read.whole))
        conv.writers.append(("head.conv.norm", list(range(whole.head.conv))))
        conv.readers.append(("head.hidden", list(range(whole.head.conv))))
        hidden = self._demanded(Demand(), whole.head.hidden, part.head.hidden)
        hidden.writers.append(("head.norm", list(range(whole.head.hidden))))
        hidden.readers.append(("head.classifier", list(range(whole.head.hidden))))
        more = part.tokens.dim if part.tokens.count else 0
        self._take("head.hidden", "head.hidden", self._axis(hidden), self._axis(conv, more=more))
        self._take("head.norm", "head.norm", self._axis(hidden))
        self._take("head.classifier", "head.classifier", None, self._axis(hidden))


def _rescaled(stream: Channels) -> float:
    """Attention over narrower heads divides by a smaller root: this factor keeps the parent's."""
    return float((stream.part_width / stream.whole_width) ** 0.5)


def _convolution(weight: Tensor, whole: nn.Conv2d, part: nn.Conv2d, out: _Axis | None, inp: _Axis | None) -> Tensor:
    """The kernels of the cut; depthwise ones follow `out` alone. A kernel keeps its centre."""
    assert out is not None
    assert inp is not None
    edge = (whole.kernel_size[0] - part.kernel_size[0]) // 2
    if edge:
        weight = weight[:, :, edge:-edge, edge:-edge]
    rows, columns = out.kept().to(weight.device), inp.kept().to(weight.device)
    if whole.groups == whole.in_channels > 1:
        return weight[rows]
    dense = torch.zeros(whole.out_channels, whole.in_channels, *weight.shape[2:]).to(weight)
    for block, group in zip(_blocks(dense, whole.groups), weight.chunk(whole.groups), strict=True):
        block.copy_(group)
    return torch.cat(_blocks(dense[rows][:, columns], part.groups))


def _blocks(dense: Tensor, groups: int) -> list[Tensor]:
    """The parts of a dense kernel that a convolution of that many groups has."""
    return [rows.chunk(groups, 1)[g] for g, rows in enumerate(dense.chunk(groups))]
