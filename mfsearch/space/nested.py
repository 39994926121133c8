"""The space inside a parent network: which blocks, channels, tokens, bridges and Formers of it stay.

Every network of such a space is the parent with parts left out, so it can start from the parent's trained weights
(`mfsearch.proxy.cutting`). The file has the form of any space, with the parent's own values as defaults:

- widths and expansions (`out`, `expand`, `head`) are fractions of the parent's. `expand` is a share of the ratio to the
  input, so narrower blocks have fewer channels inside as well.
- a row of `blocks` is a run of blocks of one width, named by its stage: s4, then s4_2. `repeat` is how many of its
  blocks with a skip stay, always the first ones; `kernel` is the widest kernel that stays.
- a bridge keeps the directions that both the file and the parent have; a Former stays where both say so.
- `dyrelu.STAGE: static` freezes the DyReLUs of a stage to their mean coefficients.
- `resolution` is the input side where costs are counted; without it, that of the deployment.
- `width: solve` scales the fractions, up to 1, until the network meets its budget.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from mfsearch.config import (
    TOKEN_SOURCES,
    BlockConfig,
    HeadConfig,
    LiteConfig,
    MobileFormerConfig,
    TokenConfig,
)
from mfsearch.cost.madds import count_madds
from mfsearch.living import check_living, living
from mfsearch.plain_files import parse_yaml
from mfsearch.space.channels import Demand, fitting_multipliers, fitting_widths, nearest
from mfsearch.space.knobs import KNOBS, Rule, Value, row_stages
from mfsearch.space.read import SpaceFile
from mfsearch.space.search_space import Knob, Params, SearchSpace
from mfsearch.space.solve import Sized
from mfsearch.space.yaml_lines import key_lines, load_with_lines

FRACTIONS = (0.5, 0.625, 0.75, 0.875, 1.0)
FRACTION: Rule = (lambda value: type(value) in (int, float) and 0 < value <= 1, "a fraction above 0 and up to 1")
SIDES: Rule = (lambda value: type(value) is int and 16 <= value <= 1024, "a whole number from 16 to 1024")
STEM, LITE = -2, -1  # where a stream begins, if not in a block


class Stream(NamedTuple):
    """The layers that share one residual sum and so one choice of channels.

    start: the block that begins it, or STEM or LITE. skips: the blocks with a skip after that.
    """

    start: int
    skips: tuple[int, ...]


def find_streams(config: MobileFormerConfig) -> list[Stream]:
    """The streams of a network from the stem on; a lite bottleneck with a skip belongs to the stem's."""
    lite = config.lite
    starts: list[tuple[int, list[int]]] = [(STEM, [])]
    if lite.stride == 2 or lite.out != config.stem:
        starts.append((LITE, []))
    width = lite.out
    for k, row in enumerate(config.blocks):
        if row.stride == 1 and row.out == width:
            starts[-1][1].append(k)
        else:
            starts.append((k, []))
        width = row.out
    return [Stream(start, tuple(skips)) for start, skips in starts]


def stream_width(config: MobileFormerConfig, stream: Stream) -> int:
    """The channels of a stream."""
    widths = {STEM: config.stem, LITE: config.lite.out}
    return widths[stream.start] if stream.start < 0 else config.blocks[stream.start].out


def stream_demands(config: MobileFormerConfig) -> list[Demand]:
    """What the layers of each stream ask of its channels."""
    streams = find_streams(config)
    demands, rows = [], config.blocks
    lite_at = LITE if any(stream.start == LITE for stream in streams) else STEM
    for stream, after in zip(streams, [*streams[1:], None], strict=True):
        writers = [rows[k] for k in (stream.start, *stream.skips) if k >= 0]
        shuffles = stream.start == lite_at and config.lite.mobile != "lite"
        readers = [rows[k] for k in (*stream.skips, after.start if after else -1) if k >= 0]
        final = after is None and config.bridges.final
        touched = final or any(row.to_mobile for row in writers) or any(row.to_former for row in readers)
        demands.append(
            Demand(
                groups=config.groups,
                heads=config.bridges.heads if touched else 1,
                interleaved=config.groups > 1 and (shuffles or any(not row.has_tail for row in writers)),
                to_head=config.groups > 1 and after is None,
            )
        )
    return demands


def match(parent: MobileFormerConfig, config: MobileFormerConfig) -> tuple[int, ...]:
    """The parent's block from which each block of `config` comes; ValueError says why `config` does not lie inside.

    A block without a skip always stays, and of those with a skip the first ones of each stream. So the config alone
    decides. Classes and resolution do not matter.
    """
    theirs, ours = find_streams(parent), find_streams(config)
    if len(theirs) != len(ours):
        raise ValueError(f"a network inside the parent must keep its {len(theirs)} widths, got {len(ours)}")
    rows: list[int] = []
    for whole, part in zip(theirs, ours, strict=True):
        if len(part.skips) > len(whole.skips) or min(whole.start, 0) != min(part.start, 0):
            raise ValueError(f"blocks {(part.start, *part.skips)} must be among the parent's {whole}")
        rows += [k for k in (whole.start, *whole.skips[: len(part.skips)]) if k >= 0]
    check_inside(parent, config, rows)
    return tuple(rows)


def check_inside(parent: MobileFormerConfig, config: MobileFormerConfig, rows: list[int] | tuple[int, ...]) -> None:
    """Raise ValueError unless every part of `config`, whose blocks come from `rows`, is a part of the parent's."""

    def check(ok: bool, name: str, value: object, allowed: object) -> None:
        if not ok:
            raise ValueError(f"{name} must be {allowed} for a network inside its parent, got {value}")

    def at_most(name: str, part: int, whole: int) -> None:
        check(part <= whole, name, part, f"at most {whole}")

    def same(name: str, part: object, whole: object) -> None:
        check(part == whole, name, part, whole)

    same("groups", config.groups, parent.groups)
    if config.tokens.count:
        at_most("tokens.count", config.tokens.count, parent.tokens.count)
        same("tokens.dim", config.tokens.dim, parent.tokens.dim)
        for name in ("heads", "projections"):
            same(f"former.{name}", getattr(config.former, name), getattr(parent.former, name))
        at_most("former.ffn", config.former.ffn, parent.former.ffn)
        for name in ("heads", "projections", "gate"):
            same(f"bridges.{name}", getattr(config.bridges, name), getattr(parent.bridges, name))
        at_most("bridges.final", config.bridges.final, parent.bridges.final)
    if not (config.dyrelu.source == "static" and parent.dyrelu.dynamic):
        same("dyrelu.source", config.dyrelu.source, parent.dyrelu.source)
    same("dyrelu", dataclasses.replace(config.dyrelu, source=parent.dyrelu.source), parent.dyrelu)
    at_most("stem", config.stem, parent.stem)
    at_most("lite.out", config.lite.out, parent.lite.out)
    if parent.lite.mobile == "lite":
        at_most("lite.expand", config.lite.exp // config.stem, parent.lite.exp // parent.stem)
    at_most("lite.exp", config.lite.exp, parent.lite.exp)
    same("lite.stride", config.lite.stride, parent.lite.stride)
    same("lite.mobile", config.lite.mobile, parent.lite.mobile)
    at_most("head.conv", config.head.conv, parent.head.conv)
    at_most("head.hidden", config.head.hidden, parent.head.hidden)
    for k, row in zip(rows, config.blocks, strict=True):
        whole, at = parent.blocks[k], f"blocks[{k}]"
        for name in ("exp", "out", "kernel", "former", "to_former", "to_mobile"):
            at_most(f"{at}.{name}", getattr(row, name), getattr(whole, name))
        same(f"{at}.stride", row.stride, whole.stride)
        same(f"{at}.mobile", row.mobile, whole.mobile)
        for name in ("kernel", "before"):
            part, old = getattr(row, name), getattr(whole, name)
            check(part == old or (part, old) == (3, 5), f"{at}.{name}", part, old if old < 5 else "5 or its centre 3")
        check(row.static or not whole.static or config.dyrelu.source == "static", f"{at}.static", False, True)
        if row.has_tail:
            at_most(f"{at}.tail", row.tail, whole.tail)


def named_streams(config: MobileFormerConfig) -> dict[str, Stream]:
    """The rows of `blocks` in the file of a nested space, by name: s4, then s4_2, with the stream of each."""
    named: dict[str, Stream] = {}
    stages = row_stages(config)
    for stream in find_streams(config):
        if stream.start < 0 and not stream.skips:
            continue
        stage = stages[stream.start if stream.start >= 0 else stream.skips[0]]
        count = sum(name.partition("_")[0] == stage for name in named)
        named[stage if not count else f"{stage}_{count + 1}"] = stream
    return named


@dataclass(frozen=True)
class NestedSpace(SearchSpace):
    """The networks inside `parent`; knobs, draws and digest as of any space. `rows` is empty.

    `resolve(params, width)` multiplies the fractions by `width`, up to 1, and rounds to widths that can be cut.
    """

    parent: MobileFormerConfig = field(kw_only=True)

    @cached_property
    def _demands(self) -> dict[Stream, Demand]:
        return dict(zip(find_streams(self.parent), stream_demands(self.parent), strict=True))

    @cached_property
    def _rows(self) -> dict[str, Stream]:
        return named_streams(self.parent)

    @cached_property
    def _stages(self) -> list[str]:
        return row_stages(self.parent)

    def resolve(self, params: Params, width: float = 1.0) -> MobileFormerConfig:
        """The network of `params`, all of it alive; with every value full it is the parent."""
        self._check(params)
        get: dict[str, Any] = {**dict(self.constants), **params}
        width = width * float(get.get("width", 1.0))
        parent, groups = self.parent, self.parent.groups
        streams = list(self._demands)

        def out(stream: Stream, name: str, besides: int = 0) -> int:
            """The width of a stream. besides: a width that would give a block a skip that the parent lacks."""
            whole = stream_width(parent, stream)
            widths = [each for each in fitting_widths(self._demands[stream], whole) if each != besides]
            if not widths:
                raise ValueError(f"{name} must differ from the {besides} channels before it")
            return nearest(widths, whole * min(1.0, get[name] * width))

        def multiple(times: int, fraction: float, inp: int) -> int:
            fitting = [t for t in fitting_multipliers(times, groups) if t * inp % groups == 0]
            return nearest(fitting, times * fraction)

        stem = out(streams[0], "stem.out")
        lite, lite_out = parent.lite, stem
        if len(streams) > 1 and streams[1].start == LITE:
            lite_out = out(streams[1], "lite.out", stem if lite.stride == 1 else 0)
        lite_share = get["lite.expand"]
        if lite.mobile == "lite":
            lite_exp = stem * multiple(lite.exp // parent.stem, lite_share, stem)
        else:
            lite_exp = nearest(fitting_widths(Demand(groups), lite.exp), lite.exp / parent.stem * lite_share * stem)

        has_bridge = self._reached(get)
        blocks: list[BlockConfig] = []
        inp = lite_out
        for k, name in self._standing(get):
            row, at, stage = parent.blocks[k], f"blocks.{name}.", self._stages[k]
            whole_inp = parent.blocks[k - 1].out if k else lite.out
            share, stream = get[at + "expand"], self._rows[name]
            after = out(stream, at + "out", inp if row.stride == 1 else 0) if stream.start == k else inp
            inner = Demand(groups, interleaved=groups > 1 and not row.fused)
            if row.has_tail:
                exp, tail = inp * multiple(row.exp // whole_inp, share, inp), multiple(row.tail, share, after)
            else:
                exp, tail = nearest(fitting_widths(inner, row.exp), row.exp / whole_inp * share * inp), row.tail
            widest = get.get(at + "kernel", 5)
            bridge = _both(row.bridge, get.get(f"bridges.{stage}", "none")) if has_bridge else "none"
            blocks.append(
                BlockConfig(
                    exp=exp,
                    out=after,
                    stride=row.stride,
                    kernel=min(row.kernel, widest),
                    bridge=bridge,
                    former=has_bridge and row.former and bool(get.get(f"former.{stage}")),
                    tail=tail,
                    static=row.static or self._frozen(get, stage, bridge, has_bridge),
                    mobile=row.mobile,
                    before=min(row.before, widest),
                )
            )
            inp = after
        dyrelu = parent.dyrelu
        if dyrelu.dynamic and all(row.static for row in blocks):
            dyrelu = dataclasses.replace(dyrelu, source="static")
            blocks = [dataclasses.replace(row, static=False) for row in blocks]
        head, tokens, former = parent.head, parent.tokens, parent.former
        config = MobileFormerConfig(
            tokens=dataclasses.replace(tokens, count=get["tokens.count"])
            if has_bridge
            else TokenConfig(0, 0)
            if tokens.count
            else tokens,
            stem=stem,
            lite=LiteConfig(lite_exp, lite_out, lite.stride, lite.mobile),
            blocks=tuple(blocks),
            head=HeadConfig(
                nearest(fitting_widths(Demand(groups), head.conv), head.conv * min(1.0, get["head.conv"] * width)),
                nearest(fitting_widths(Demand(), head.hidden), head.hidden * get["head.hidden"]),
            ),
            former=dataclasses.replace(former, ffn=get["former.ffn"]) if "former.ffn" in get else former,
            bridges=dataclasses.replace(parent.bridges, final=has_bridge and get["bridges.final"]),
            dyrelu=dyrelu,
            groups=groups,
            resolution=get.get("resolution", self.resolution),
            classes=self.classes,
        )
        return living(config)

    def _standing(self, get: Params) -> Iterator[tuple[int, str]]:
        """The parent's blocks that stay, each with the name of its row in the file."""
        for name, stream in self._rows.items():
            if stream.start >= 0:
                yield stream.start, name
            for k in stream.skips[: int(get.get(f"blocks.{name}.repeat", 0))]:
                yield k, name

    def _reached(self, get: Params) -> bool:
        """Whether the image reaches the tokens."""
        if not self.parent.tokens.count:
            return False
        rows, stages = self.parent.blocks, self._stages
        bridges = [_both(rows[k].bridge, get[f"bridges.{stages[k]}"]) for k, _ in self._standing(get)]
        return bool(get["bridges.final"]) or any(bridge in ("both", "to_former") for bridge in bridges)

    def _frozen(self, get: Params, stage: str, bridge: str, has_bridge: bool) -> bool:
        """Whether the DyReLUs of a block have learned slopes: as chosen, or because nothing is there to read."""
        source = self.parent.dyrelu.source
        if not self.parent.dyrelu.dynamic:
            return False
        unread = not has_bridge or (source == "spatial" and bridge not in ("both", "to_former"))
        return get[f"dyrelu.{stage}"] == "static" or (source in TOKEN_SOURCES and unread)

    def shows(self, name: str, params: Params) -> bool:
        """Whether the network of `params` has the blocks, the stage or the tokens that the knob `name` describes."""
        get = {**dict(self.constants), **params}
        section, _, key = name.partition(".")
        row, _, of_row = key.partition(".")
        standing = dict(self._standing(get))
        if section == "blocks":
            return of_row == "repeat" or row in standing.values()
        if key in self._stages and not any(self._stages[k] == key for k in standing):
            return False
        return section not in ("tokens", "former") or self._reached(get)

    def find_params(self, config: MobileFormerConfig) -> dict[str, Value] | None:
        """The params of the parent if `config` is the parent, else None."""
        full = {name: values[0] for name, values in parent_values(self.parent).items()}
        full |= {"width": 1.0, "resolution": self.resolution}
        params = {knob.name: full[knob.name] for knob in self.knobs}
        whole = dataclasses.replace(config, resolution=self.resolution, classes=self.classes)
        try:
            return params if self.resolve(params) == whole else None
        except ValueError:  # the file leaves the parent's own value out
            return None

    def to_yaml(self) -> str:
        """The file of the space; `read_nested` reads it."""
        data: dict[str, Any] = {"name": self.name, "parent": self.parent.arch_id}
        for name, values in self.values().items():
            *path, key = name.split(".")
            place = data
            for part in path:
                place = place.setdefault(part, {})
            place[key] = list(values) if len(values) > 1 else values[0]
        rows = data.pop("blocks", {})
        order = ("name", "parent", "tokens", "former", "bridges", "dyrelu", "stem", "lite")
        lines = [f"{key}: {_flow(data.pop(key))}" for key in order if key in data]
        lines += ["blocks:"] + [f"  {name}: {_flow(row)}" for name, row in rows.items()]
        lines += [f"{key}: {_flow(value)}" for key, value in data.items()]
        return "\n".join([*lines, *(["width: solve"] if self.solved else [])]) + "\n"


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000)
    return text.removesuffix("...\n").strip()


def _both(ours: str, theirs: object) -> str:
    """The directions of a bridge that two values of it have in common."""
    if ours == theirs or theirs == "both":
        return ours
    return str(theirs) if ours == "both" else "none"


def parent_values(parent: MobileFormerConfig) -> dict[str, tuple[Value, ...]]:
    """Every name of the space inside a parent with its values: first the parent's own, then those that leave more out.

    Fractions may have other values as well. A name is there only if the parent has that part.
    """
    values: dict[str, tuple[Value, ...]] = {}
    rows, stages, fractions = parent.blocks, row_stages(parent), FRACTIONS[::-1]
    by_stage = {stage: [row for row, at in zip(rows, stages, strict=True) if at == stage] for stage in stages}
    if parent.tokens.count:
        counts = sorted({*(c for c in range(1, parent.tokens.count) if c in KNOBS["tokens.count"].choices)})
        values["tokens.count"] = (parent.tokens.count, *counts[::-1])
        formers = [stage for stage in by_stage if any(row.former for row in by_stage[stage])]
        if formers:
            values["former.ffn"] = tuple(ffn for ffn in (4, 2, 1, 0) if ffn <= parent.former.ffn)
            values |= {f"former.{stage}": (True, False) for stage in formers}
        values["bridges.final"] = (True, False) if parent.bridges.final else (False,)
        for stage, here in by_stage.items():
            to_former, to_mobile = any(row.to_former for row in here), any(row.to_mobile for row in here)
            ways = {
                (True, True): "both",
                (True, False): "to_former",
                (False, True): "to_mobile",
                (False, False): "none",
            }
            kept = [ways[a, b] for a in (True, False) for b in (True, False) if a <= to_former and b <= to_mobile]
            values[f"bridges.{stage}"] = tuple(kept)
    if parent.dyrelu.dynamic:
        for stage, here in by_stage.items():
            values[f"dyrelu.{stage}"] = ("static",) if all(row.static for row in here) else ("dynamic", "static")
    values |= {"stem.out": fractions, "lite.expand": fractions}
    if any(stream.start == LITE for stream in find_streams(parent)):
        values["lite.out"] = fractions
    for name, stream in named_streams(parent).items():
        at, here = f"blocks.{name}.", [rows[k] for k in (stream.start, *stream.skips) if k >= 0]
        if stream.skips:
            values[at + "repeat"] = tuple(range(len(stream.skips), -1, -1))
        values[at + "expand"] = fractions
        if stream.start >= 0:
            values[at + "out"] = fractions
        if any(5 in (row.kernel, row.before) for row in here):
            values[at + "kernel"] = (5, 3)
    return values | {"head.conv": fractions, "head.hidden": fractions}


def starting_points(
    space: NestedSpace, low: float, high: float, fit: Callable[[Params], Sized | None]
) -> list[tuple[str, Sized]]:
    """Plain parts of the parent with `low` to `high` multiply-adds, by name; those that the space allows, each once.
    fit: solves the width of params.

    narrow: all widths by one fraction. shallow: as `_shallow`, then narrower as far as needed. light: the smallest
    Formers and the fewest tokens, then narrower.
    """
    own, full, light = parent_values(space.parent), dict[str, Value](), dict[str, Value]()
    for knob in space.knobs:
        values = own.get(knob.name, FRACTIONS[::-1])
        fullest = max(knob.choices) if values == FRACTIONS[::-1] else min(knob.choices, key=values.index)
        full[knob.name] = light[knob.name] = fullest
        if knob.name in ("former.ffn", "tokens.count"):
            light[knob.name] = min(knob.choices)
    points = dict[str, tuple[str, Sized]]()  # by arch_id
    for name in ("narrow", "shallow", "light"):
        with contextlib.suppress(ValueError):  # the space leaves out a value that this needs
            params = {"narrow": full, "light": light}.get(name) or _shallow(space, full, low, high)
            if (sized := fit(params)) is not None:
                points.setdefault(sized.config.arch_id, (name, sized))
    return list(points.values())


def _shallow(space: NestedSpace, params: dict[str, Value], low: float, high: float) -> dict[str, Value]:
    """The params without the last blocks of the longest run, one by one, until at most `high` multiply-adds are left,
    or until the next block would leave fewer than `low`."""
    while count_madds(space.resolve(params)) > high:
        runs = [
            (int(params[knob.name]), k)
            for k, knob in enumerate(space.knobs)
            if knob.name.endswith(".repeat") and params[knob.name] != min(knob.choices)
        ]
        if not runs:
            break
        longest, k = max(runs)
        knob = space.knobs[k]
        fewer = params | {knob.name: max(count for count in knob.choices if int(count) < longest)}
        if count_madds(space.resolve(fewer)) < low:
            break
        params = fewer
    return params


def nested_space(parent: MobileFormerConfig, name: str = "inside") -> NestedSpace:
    """Everything that can be left out of a parent, with widths solved; ValueError for a parent with dead parts.

    Image side and classes are the parent's until `deployed` says otherwise.
    """
    check_living(parent, "parent")
    values = {key: tuple(reversed(choices)) for key, choices in parent_values(parent).items()}  # the smallest first
    whole = find_streams(parent)
    if all(s.start < 0 for s in whole):  # one block must stay
        first = next(iter(named_streams(parent)))
        values[f"blocks.{first}.repeat"] = values[f"blocks.{first}.repeat"][1:]
    return NestedSpace(
        name=name,
        knobs=tuple(Knob(key, choices) for key, choices in values.items() if len(choices) > 1),
        constants=tuple((key, choices[0]) for key, choices in values.items() if len(choices) == 1),
        rows=(),
        solved=True,
        resolution=parent.resolution,
        classes=parent.classes,
        parent=parent,
    )


def read_nested(path: Path, parent: MobileFormerConfig) -> NestedSpace:
    """The space in a file, inside that parent; ValueError names the file, the line, the key and what is allowed."""
    data, lines = load_with_lines(path, str(path))
    return _read(SpaceFile(str(path), lines), data, parent, path.stem)


def parse_nested(text: str, parent: MobileFormerConfig, name: str = "inside") -> NestedSpace:
    """The space in a text, as of a file of that name."""
    data, node = parse_yaml(text, name)
    return _read(SpaceFile(name, key_lines(node, name)), data, parent, name)


def _read(file: SpaceFile, data: Any, parent: MobileFormerConfig, title: str) -> NestedSpace:
    full = nested_space(parent)
    allowed = parent_values(parent)
    sections = list(dict.fromkeys(name.partition(".")[0] for name in allowed))
    top = file.mapping(data, (), ("name", "parent", *sections, "resolution", "width"))
    if not isinstance(top.get("name", title), str):
        raise file.fail(("name",), f"name must be a word, got {top['name']!r:.200}")
    if "parent" in top and top["parent"] != parent.arch_id:
        raise file.fail(
            ("parent",), f"parent must be {parent.arch_id}, the network that is given, got {top['parent']!r:.200}"
        )
    for section in sections:
        keys = [name.partition(".")[2] for name in allowed if name.startswith(f"{section}.")]
        given = file.mapping(top.get(section, {}), (section,), {key.partition(".")[0]: None for key in keys})
        for row in {key.partition(".")[0]: None for key in keys if "." in key}:
            file.mapping(
                given.get(row, {}), (section, row), [k.partition(".")[2] for k in keys if k.startswith(f"{row}.")]
            )
    for name, choices in allowed.items():
        value: Any = top
        for part in name.split("."):
            value = value.get(part, {})
        value = choices[0] if value == {} else value
        if choices == FRACTIONS[::-1]:
            file.value(tuple(name.split(".")), value, FRACTION, float)
        else:
            file.value(tuple(name.split(".")), value, _among(choices))
    if "resolution" in top:
        file.value(("resolution",), top["resolution"], SIDES)
    resolution = file.constants.pop("resolution", parent.resolution)
    width = top.get("width", 1.0)
    if width != "solve":
        file.value(("width",), width, FRACTION, float)
    space = dataclasses.replace(
        full,
        name=top.get("name", title),
        knobs=tuple(file.knobs),
        constants=tuple(file.constants.items()),
        solved=width == "solve",
        resolution=int(resolution),
    )
    file.try_values(space)
    return space


def _among(choices: tuple[Value, ...]) -> Rule:
    shown = ", ".join(str(choice).lower() if isinstance(choice, bool) else str(choice) for choice in choices)
    return (lambda value: any(type(value) is type(one) and value == one for one in choices)), f"among {shown}"
