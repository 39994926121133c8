"""A Mobile-Former as data: every number of the network, checked, in the order of the paper's Table 1.

A config holds final numbers only. `mfsearch.space` deals with ratios, rounding and budgets when it turns params into a
config; `mfsearch.model` builds the rows and `mfsearch.cost` counts them; neither computes widths.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from mfsearch.plain_files import read_json, read_yaml

# Fields of rows that came after the first version; the lite row's `mobile` has the default "lite".
LATER = {"mobile": "inverted_bottleneck", "before": 0}
SCHEMA = 1  # version of the YAML and JSON form
MAX_BLOCKS = 128  # the published networks have up to 11

BRIDGES = ("both", "to_former", "to_mobile", "none")
TOKEN_SOURCES = ("first_token", "mean_token", "spatial")
DYNAMIC_SOURCES = (*TOKEN_SOURCES, "pooled")
LEARNED_SOURCES = (*DYNAMIC_SOURCES, "static")
SOURCES = (*DYNAMIC_SOURCES, "none", "hswish", "static")
MOBILES = ("inverted_bottleneck", "universal", "fused", "conv_pair")


class Wiring(NamedTuple):
    """The facts about a network that decide which of its knobs have a say."""

    tokens: int  # 0 where no bridge leads to them
    former: bool  # any Former layer
    to_former: bool  # any Mobile->Former, the final one included
    source: str  # of DyReLU


# When each of these knobs has a say: elsewhere every value of it builds the same network. Other knobs always have one.
RULES: dict[str, Callable[[Wiring], bool]] = {
    "tokens.dim": lambda net: net.tokens > 0,
    "tokens.init_std": lambda net: net.tokens > 0,
    "former.heads": lambda net: net.former and net.tokens > 1,  # attention over one token is 1, however many heads
    "former.ffn": lambda net: net.former,
    "former.projections": lambda net: net.former,
    "bridges.heads": lambda net: net.to_former or net.tokens > 1,  # Mobile<-Former attends over the tokens
    "bridges.gate": lambda net: net.to_former,
    "bridges.projections": lambda net: net.tokens > 0,
    "dyrelu.position": lambda net: net.source != "none",
    "dyrelu.slopes": lambda net: net.source in LEARNED_SOURCES,
    "dyrelu.intercepts": lambda net: net.source in LEARNED_SOURCES,
    "dyrelu.reduction": lambda net: net.source in DYNAMIC_SOURCES,
}


def has_say(name: str, wiring: Wiring) -> bool:
    """Whether another value of the knob could build another network."""
    return name not in RULES or RULES[name](wiring)


def effective_source(source: str, tokens: int) -> str:
    """The source of DyReLU under one name: the mean of one token is that token."""
    return "first_token" if source == "mean_token" and tokens == 1 else source


def _check(ok: bool, where: str, name: str, value: object, allowed: str) -> None:
    if not ok:
        raise ValueError(f"{where}.{name} must be {allowed}, got {value!r:.200}")


def _check_int(where: str, name: str, value: object, low: int, high: int) -> None:
    _check(type(value) is int and low <= value <= high, where, name, value, f"a whole number from {low} to {high}")


def _check_among(where: str, name: str, value: object, choices: tuple[int, ...] | tuple[str, ...]) -> None:
    ok = type(value) is type(choices[0]) and value in choices  # 2.0 and True are not the 2 and 1 of a stride
    _check(ok, where, name, value, f"{', '.join(map(str, choices[:-1]))} or {choices[-1]}")


def _check_bool(where: str, name: str, value: object) -> None:
    _check(type(value) is bool, where, name, value, "true or false")


@dataclass(frozen=True, slots=True)
class LiteConfig:
    """The lite bottleneck after the stem: depthwise in -> exp, ReLU6, 1x1 -> out; no bridge, no tokens.

    mobile: lite, or MobileNetV4's first row, fused or conv_pair, 3x3 with ReLU. Its stem and head come with that: ReLU
    in place of ReLU6 and h-swish.
    """

    exp: int
    out: int
    stride: int
    mobile: str = "lite"

    def __post_init__(self) -> None:
        _check_int("lite", "exp", self.exp, 1, 16384)
        _check_int("lite", "out", self.out, 1, 4096)
        _check_among("lite", "stride", self.stride, (1, 2))
        _check_among("lite", "mobile", self.mobile, ("lite", *MOBILES[2:]))

    @property
    def row(self) -> "BlockConfig":
        """The same as a row of blocks, for fused and conv_pair."""
        return BlockConfig(self.exp, self.out, self.stride, bridge="none", former=False, mobile=self.mobile)


@dataclass(frozen=True, slots=True)
class BlockConfig:
    """One row of the table: the Mobile block (exp, out, stride, kernel), its bridge and its Former layer.

    exp: channels after the expansion; with stride 2 that is a depthwise convolution, so exp is a multiple of the input.
    tail: expansion of the second half of a stride-2 block (depthwise out -> tail * out -> out); unused with stride 1.
    bridge: the directions in which information crosses. former: whether the tokens pass through a Former layer here.
    static: this block's DyReLUs have learned slopes, as with source `static`; for blocks whose tokens are constants.
    mobile: inverted_bottleneck, or a row of MobileNetV4 (arXiv:2404.10518): universal has a depthwise convolution of
    kernel `before` ahead of the expansion and one of `kernel` after it, 0 for none; fused is one dense convolution in
    -> exp and 1x1 -> out; conv_pair is the same with an activation at the end. The last
    convolution above 1x1 has the stride.
    """

    exp: int
    out: int
    stride: int = 1
    kernel: int = 3
    bridge: str = "both"
    former: bool = True
    tail: int = 4
    static: bool = False
    mobile: str = "inverted_bottleneck"
    before: int = 0

    def __post_init__(self) -> None:
        _check_int("block", "exp", self.exp, 1, 65536)
        _check_int("block", "out", self.out, 1, 4096)
        _check_among("block", "stride", self.stride, (1, 2))
        _check_among("block", "mobile", self.mobile, MOBILES)
        if self.mobile == "universal":
            _check_among("block", "kernel", self.kernel, (0, 2, 3, 5))
            _check_among("block", "before", self.before, (0, 2, 3, 5))
            ok = self.stride == 1 or self.kernel > 0 or self.before > 0
            _check(ok, "block", "kernel", self.kernel, "2, 3 or 5 where stride is 2 and before is 0")
        else:
            _check_among("block", "kernel", self.kernel, (2, 3, 5) if self.fused else (3, 5))
            ok = type(self.before) is int and self.before == 0
            _check(ok, "block", "before", self.before, f"0 for mobile {self.mobile}")
        _check_among("block", "bridge", self.bridge, BRIDGES)
        _check_bool("block", "former", self.former)
        _check_int("block", "tail", self.tail, 1, 8)
        _check_bool("block", "static", self.static)

    @property
    def to_former(self) -> bool:
        return self.bridge in ("both", "to_former")

    @property
    def to_mobile(self) -> bool:
        return self.bridge in ("both", "to_mobile")

    @property
    def has_tail(self) -> bool:
        """Whether it has a second half, whose expansion `tail` is."""
        return self.stride == 2 and self.mobile == "inverted_bottleneck"

    @property
    def fused(self) -> bool:
        """Whether its expansion is a dense convolution."""
        return self.mobile in ("fused", "conv_pair")

    @property
    def inside(self) -> int:
        """The kernel of the depthwise convolution after the expansion, 0 for none; of a row without a tail."""
        return 0 if self.fused else self.kernel

    @property
    def halves_first(self) -> bool:
        """Whether all activations see the map after it is halved."""
        return self.stride == 2 and not (self.mobile == "universal" and self.kernel)

    @property
    def activated(self) -> tuple[int, ...]:
        """The channels of its activations: of the first, and of the second if it has one."""
        if self.has_tail:
            return self.exp, self.tail * self.out
        if self.mobile == "conv_pair":
            return self.exp, self.out
        return (self.exp, self.exp) if self.inside else (self.exp,)

    @property
    def operator(self) -> str:
        """Its name in tables, with its kernels."""
        name = {"inverted_bottleneck": "block", "fused": "fused", "conv_pair": "conv pair"}.get(self.mobile)
        if name is None:
            forms = {(True, True): "extra dw", (False, True): "ib", (True, False): "convnext", (False, False): "ffn"}
            name = forms[self.before > 0, self.kernel > 0]
        return " ".join([name, *(f"{kernel}x{kernel}" for kernel in (self.before, self.kernel) if kernel)])


@dataclass(frozen=True, slots=True)
class TokenConfig:
    """`count` learned tokens of width `dim`, initialised from N(0, init_std^2); count 0 is a network without tokens."""

    count: int
    dim: int
    init_std: float = 1.0

    def __post_init__(self) -> None:
        _check_int("tokens", "count", self.count, 0, 12)
        _check_int("tokens", "dim", self.dim, 32 if self.count else 0, 384)
        ok = type(self.init_std) in (int, float) and 0 < self.init_std <= 10
        _check(ok, "tokens", "init_std", self.init_std, "a number above 0 and up to 10")


@dataclass(frozen=True, slots=True)
class FormerConfig:
    """The Former layers. ffn: hidden width / token dim, 0 for no FFN. tied: K = V = the tokens, as published."""

    heads: int = 4
    ffn: int = 2
    projections: str = "tied"

    def __post_init__(self) -> None:
        _check_int("former", "heads", self.heads, 1, 16)
        _check_among("former", "ffn", self.ffn, (0, 1, 2, 4))
        _check_among("former", "projections", self.projections, ("tied", "full"))


@dataclass(frozen=True, slots=True)
class BridgeConfig:
    """The bridges: heads, the channel gate of Mobile->Former, projections of the local features, the final bridge.

    published: local features are not projected; full adds 1x1 K and V (to Former), Q and output (to Mobile).
    final: one more Mobile->Former after the last block.
    """

    heads: int = 2
    gate: bool = True
    projections: str = "published"
    final: bool = True

    def __post_init__(self) -> None:
        _check_int("bridges", "heads", self.heads, 1, 16)
        _check_bool("bridges", "gate", self.gate)
        _check_among("bridges", "projections", self.projections, ("published", "full"))
        _check_bool("bridges", "final", self.final)


@dataclass(frozen=True, slots=True)
class DyReLUConfig:
    """The activations inside the blocks: max over `slopes` of a_k x (+ b_k), coefficients from `source`.

    source: first_token (published), mean_token, spatial (every token's coefficients mixed per pixel by the attention
    map of Mobile->Former), pooled (globally pooled features of the activation's own input, arXiv:2003.10027),
    static (learned for each channel, the same for every image), none (ReLU), hswish (h-swish). position: which of a
    block's two activations it is; the other is ReLU. An only one is it in any case. reduction: source width / hidden
    width of the coefficient MLP.
    """

    source: str = "first_token"
    position: str = "both"
    slopes: int = 2
    intercepts: bool = False
    reduction: int = 4

    def __post_init__(self) -> None:
        _check_among("dyrelu", "source", self.source, SOURCES)
        _check_among("dyrelu", "position", self.position, ("both", "first", "second"))
        _check_among("dyrelu", "slopes", self.slopes, (2, 3))
        _check_bool("dyrelu", "intercepts", self.intercepts)
        _check_int("dyrelu", "reduction", self.reduction, 1, 32)

    @property
    def dynamic(self) -> bool:
        return self.source in DYNAMIC_SOURCES

    @property
    def coefficients(self) -> int:
        """Coefficients for each channel: the slopes, and as many intercepts if they are on."""
        return self.slopes * (2 if self.intercepts else 1)

    def of(self, row: BlockConfig) -> "DyReLUConfig":
        """The activations of one block."""
        single = len(row.activated) == 1 and self.position != "both"
        if not row.static and not single:
            return self
        source, position = "static" if row.static else self.source, "both" if single else self.position
        return dataclasses.replace(self, source=source, position=position)

    def hidden(self, width: int) -> int:
        """Hidden width of the coefficient MLP over a source of that width: width / reduction, at least 1."""
        return max(1, width // self.reduction)

    def at(self, activation: str) -> str:
        """The source of a block's `first` or `second` activation; "none" for a static ReLU."""
        return self.source if self.position in ("both", activation) else "none"


@dataclass(frozen=True, slots=True)
class HeadConfig:
    """conv: width of the last 1x1 convolution; hidden: width between the two linears."""

    conv: int
    hidden: int

    def __post_init__(self) -> None:
        _check_int("head", "conv", self.conv, 1, 16384)
        _check_int("head", "hidden", self.hidden, 1, 16384)


@dataclass(frozen=True, slots=True)
class MobileFormerConfig:
    """Every number of one Mobile-Former; the arguments follow the paper's Table 1 from top to bottom.

    groups: of every 1x1 convolution on the Mobile path, with channel shuffles if above 1 (the 26M network).
    resolution: input side in pixels. Raises ValueError, naming the field, if the network cannot be built.
    """

    tokens: TokenConfig
    stem: int
    lite: LiteConfig
    blocks: tuple[BlockConfig, ...]
    head: HeadConfig
    former: FormerConfig = field(default=FormerConfig())
    bridges: BridgeConfig = field(default=BridgeConfig())
    dyrelu: DyReLUConfig = field(default=DyReLUConfig())
    groups: int = 1
    resolution: int = 224
    classes: int = 1000

    def __post_init__(self) -> None:
        _check_int("config", "stem", self.stem, 1, 1024)
        _check_int("config", "groups", self.groups, 1, 64)
        _check_int("config", "resolution", self.resolution, 16, 1024)
        _check_int("config", "classes", self.classes, 2, 100_000)
        for name, part in _PARTS.items():
            value = getattr(self, name)
            _check(isinstance(value, part), "config", name, value, f"a {part.__name__}")
        rows = isinstance(self.blocks, tuple) and all(isinstance(row, BlockConfig) for row in self.blocks)
        _check(
            not rows or len(self.blocks) <= MAX_BLOCKS, "config", "blocks", self.blocks, f"at most {MAX_BLOCKS} rows"
        )
        _check(rows and len(self.blocks) > 0, "config", "blocks", self.blocks, "a tuple of at least one BlockConfig")
        self._check_mobile()
        self._check_tokens()

    def _check_mobile(self) -> None:
        groups = self.groups

        def grouped(where: str, name: str, width: int) -> None:
            _check(width % groups == 0, where, name, width, f"divisible by groups = {groups}")

        lite = self.lite
        ok = lite.mobile != "lite" or lite.exp % self.stem == 0
        _check(ok, "lite", "exp", lite.exp, f"a multiple of stem = {self.stem}")
        grouped("lite", "exp", lite.exp)
        grouped("lite", "out", lite.out)
        width = lite.out
        for i, row in enumerate(self.blocks):
            where = f"blocks[{i}]"
            if row.has_tail:
                _check(row.exp % width == 0, where, "exp", row.exp, f"a multiple of the input width {width} (stride 2)")
            grouped(where, "exp", row.exp)
            grouped(where, "out", row.out)
            width = row.out
        grouped("head", "conv", self.head.conv)

    def _check_tokens(self) -> None:
        heads, count, width = self.bridges.heads, self.tokens.count, self.lite.out
        if count:
            touched = self.bridges.final or any(row.bridge != "none" for row in self.blocks)
            _check(touched, "tokens", "count", count, "0 where no block has a bridge and bridges.final is false")
            if any(row.former for row in self.blocks):
                ok = self.tokens.dim % self.former.heads == 0
                _check(ok, "tokens", "dim", self.tokens.dim, f"divisible by former.heads = {self.former.heads}")
        else:
            ok = self.dyrelu.source not in TOKEN_SOURCES
            _check(ok, "dyrelu", "source", self.dyrelu.source, "pooled, static, none or hswish where tokens.count is 0")
            _check(not self.bridges.final, "bridges", "final", True, "false where tokens.count is 0")
        ok = self.dyrelu.source == "static" or not all(row.static for row in self.blocks)
        _check(ok, "dyrelu", "source", self.dyrelu.source, "static where every block is static")
        for i, row in enumerate(self.blocks):
            where = f"blocks[{i}]"
            ok = self.dyrelu.dynamic or not row.static
            _check(ok, where, "static", True, f"false for dyrelu.source {self.dyrelu.source}")
            if not count:
                _check(row.bridge == "none", where, "bridge", row.bridge, "none where tokens.count is 0")
                _check(not row.former, where, "former", row.former, "false where tokens.count is 0")
            if row.to_former:
                ok = width % heads == 0
                _check(ok, where, "in", width, f"divisible by bridges.heads = {heads} (Mobile->Former)")
            if row.to_mobile:
                ok = row.out % heads == 0
                _check(ok, where, "out", row.out, f"divisible by bridges.heads = {heads} (Mobile<-Former)")
            if self.dyrelu.source == "spatial" and not row.static:
                _check(row.to_former, where, "bridge", row.bridge, "both or to_former for dyrelu.source spatial")
            width = row.out
        if self.bridges.final:
            _check(width % heads == 0, "bridges", "heads", heads, f"a divisor of the last width {width}")

    def to_dict(self) -> dict[str, Any]:
        """The config as plain data for JSON or YAML, with the schema version; `from_dict` reads it."""
        data = without_later(dataclasses.asdict(self))
        for row in data["blocks"]:
            if not row["static"]:  # older files lack the key
                del row["static"]
        return {"schema": SCHEMA, **data, "blocks": list(data["blocks"])}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "MobileFormerConfig":
        """The config from `to_dict`; ValueError for an unknown or missing key lists the known ones."""
        if not isinstance(data, Mapping):
            raise ValueError(f"a config must be a mapping, got {type(data).__name__}")
        values = dict(data)
        schema = values.pop("schema", SCHEMA)
        if type(schema) is not int or schema != SCHEMA:
            raise ValueError(f"schema must be {SCHEMA}, got {schema!r:.200}: written by another version of mfsearch")
        for name, part in _PARTS.items():
            if name in values:
                values[name] = _read(part, name, values[name])
        if isinstance(values.get("blocks"), list | tuple):
            values["blocks"] = tuple(_read(BlockConfig, f"blocks[{i}]", row) for i, row in enumerate(values["blocks"]))
        elif "blocks" in values:
            raise ValueError(f"blocks must be a list of rows, got {values['blocks']!r:.200}")
        config: MobileFormerConfig = _read(cls, "config", values)
        return config

    def to_yaml(self) -> str:
        """YAML with one line for each row of blocks, like the paper's table."""
        data = self.to_dict()
        lines = []
        for key, value in data.items():
            if key == "blocks":
                lines.append("blocks:")
                lines += [f"- {_flow(row)}" for row in value]
            else:
                lines.append(f"{key}: {_flow(value)}")
        return "\n".join(lines) + "\n"

    def save(self, path: Path) -> None:
        """Write YAML, or JSON if the name ends in .json."""
        text = json.dumps(self.to_dict(), indent=1) + "\n" if path.suffix == ".json" else self.to_yaml()
        path.write_text(text, encoding="utf-8")

    @property
    def wiring(self) -> Wiring:
        to_former = self.bridges.final or any(row.to_former for row in self.blocks)
        return Wiring(self.tokens.count, any(row.former for row in self.blocks), to_former, self.dyrelu.source)

    @property
    def arch_id(self) -> str:
        """Twelve hex digits that identify the network that is built, at its resolution. Fields without effect, such as
        the token width without tokens or DyReLU's reduction with plain ReLU, are left out."""
        text = json.dumps(_identity(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def table(self) -> str:
        """The network as the paper prints it: one line for each operator, with input size, bridge and Former."""
        side = -(-self.resolution // 2)
        tokens = f"{self.tokens.count}x{self.tokens.dim}" if self.tokens.count else "none"
        act = {"none": "ReLU", "hswish": "h-swish", "static": "learned slopes"}.get(
            self.dyrelu.source, f"DyReLU({self.dyrelu.source})"
        )
        lines = [f"tokens {tokens}   activation {act} ({self.dyrelu.position})   groups {self.groups}"]
        tails = [f" /{b.tail}" if b.has_tail and b.tail != 4 else "" for b in self.blocks]
        names = [f"{b.operator}{tail}" + " static" * b.static for b, tail in zip(self.blocks, tails, strict=True)]
        wide = max(16, *map(len, names))
        lines.append(f"{'input':>9}  {'operator':<{wide}}{'exp':>6}{'out':>6}{'stride':>8}  {'bridge':<10}former")

        def row(size: int, op: str, exp: object, out: int, stride: object, bridge: str = "", former: str = "") -> None:
            line = f"{f'{size}x{size}':>9}  {op:<{wide}}{exp!s:>6}{out:>6}{stride!s:>8}  {bridge:<10}{former}"
            lines.append(line.rstrip())

        row(self.resolution, "conv 3x3", "-", self.stem, 2)
        first = "lite bottleneck" if self.lite.mobile == "lite" else self.lite.row.operator
        row(side, first, self.lite.exp, self.lite.out, self.lite.stride)
        side = -(-side // self.lite.stride)
        for name, b in zip(names, self.blocks, strict=True):
            row(side, name, b.exp, b.out, b.stride, b.bridge, "yes" if b.former else "no")
            side = -(-side // b.stride)
        row(side, "conv 1x1", "-", self.head.conv, 1, "to_former" if self.bridges.final else "none")
        row(side, "pool", "-", self.head.conv + (self.tokens.dim if self.tokens.count else 0), "-")
        row(1, "FC", "-", self.head.hidden, "-")
        row(1, "FC", "-", self.classes, "-")
        return "\n".join(lines)


_PARTS: dict[str, type] = {
    "tokens": TokenConfig,
    "lite": LiteConfig,
    "head": HeadConfig,
    "former": FormerConfig,
    "bridges": BridgeConfig,
    "dyrelu": DyReLUConfig,
}


def _read(kind: type, where: str, values: Any) -> Any:
    if isinstance(values, kind):
        return values
    if not isinstance(values, Mapping):
        raise ValueError(f"{where} must be a mapping, got {values!r:.200}")
    fields = dataclasses.fields(kind)
    known = [f.name for f in fields]
    for key in values:
        if key not in known:
            raise ValueError(f"unknown key {key!r:.200} in {where}: known are {', '.join(known)}")
    for f in fields:
        if f.name not in values and f.default is dataclasses.MISSING:
            raise ValueError(f"{where} lacks {f.name!r:.200}: needed are {', '.join(known)}")
    try:
        return kind(**values)
    except ValueError as error:
        place = str(error)
        if where.startswith("blocks["):
            place = place.replace("block.", f"{where}.", 1)
        raise ValueError(place) from None


def _identity(config: MobileFormerConfig) -> dict[str, Any]:
    """The config as `arch_id` hashes it, without fields that have no effect on the network."""
    data = without_later(dataclasses.asdict(config))
    data["tokens"]["init_std"] = float(config.tokens.init_std)
    data["dyrelu"]["source"] = effective_source(config.dyrelu.source, config.tokens.count)
    data["dyrelu"]["reduction"] = _hidden_widths(config)
    wiring = config.wiring
    for name, rule in RULES.items():
        if not rule(wiring):
            section, _, key = name.partition(".")
            del data[section][key]
    if all(len(row.activated) == 1 for row in config.blocks):
        data["dyrelu"].pop("position", None)
    for row, block in zip(data["blocks"], config.blocks, strict=True):
        if not block.static:
            del row["static"]
        if not block.has_tail:
            del row["tail"]
            if not (block.fused or block.stride == 2):  # its kernels say all: the inverted bottleneck is a form of it
                row.pop("mobile", None)
    return {name: value for name, value in data.items() if value != {}}  # `former` where no layer stands


def without_later(data: dict[str, Any]) -> dict[str, Any]:
    """A config as plain data without the fields of LATER that have their defaults; it is changed in place."""
    for row in (*data["blocks"], data["lite"]):
        for name, default in LATER.items():
            if name in row and row[name] in (default, "lite"):
                del row[name]
    return data


def _hidden_widths(config: MobileFormerConfig) -> list[int]:
    """The hidden widths of DyReLU: one for all if the tokens are the source, else one for each activation."""
    dyrelu = config.dyrelu
    if dyrelu.source in TOKEN_SOURCES:
        return [dyrelu.hidden(config.tokens.dim)]
    return [
        dyrelu.hidden(width)
        for row in config.blocks
        if not row.static
        for at, width in zip(("first", "second"), row.activated, strict=False)
        if dyrelu.of(row).position in ("both", at)
    ]


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000)
    return text.removesuffix("...\n").strip()


def load_config(path: Path) -> MobileFormerConfig:
    """The config in a YAML or JSON file, as `config.save` writes it.

    ValueError names the file and what is wrong with it.
    """
    # JSON has its own parser because YAML 1.1 reads JSON's 1e-05 as a string
    data = read_json(path) if path.suffix == ".json" else read_yaml(path)[0]
    try:
        return MobileFormerConfig.from_dict(data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
