"""A network as one Python file that needs torch alone: model.py of a bundle.

standalone.txt is a template for all networks; the written file keeps only the lines that its network uses. A line that
ends in `#: a and not b` is kept if the condition holds, and so are lines between `#: if a`, `#: else` and `#: end`.
$words are numbers or names. A test compares outputs and gradients with `mfsearch.model` over the whole space.
"""

import dataclasses
import math
import pprint
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

from mfsearch.config import LEARNED_SOURCES, TOKEN_SOURCES, MobileFormerConfig
from mfsearch.cost.madds import count_costs

GENERATOR = 1  # version of the written text; text of another version is not compared
TEMPLATE = Path(__file__).with_name("standalone.txt")


class Normalisation(NamedTuple):
    """(pixels - mean) / std for R, G and B, with pixels on the scale 0 to 1."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the input of a bundle's network, and the meaning of its logits.

    size: side of the input in pixels. trained_size: side used in training, None if untrained or not recorded. resize:
    SHORTER_SIDE brings the shorter side to floor(size / crop_pct) and crops the centre, as `mfsearch train` and timm
    evaluate; CENTRE_SQUARE brings the central square to size, as a search does (crop_pct 1); None if unknown, and then
    crop_pct and interpolation are None too. Shrinking averages over all pixels (antialiasing). jpeg_draft: a JPEG may
    be decoded smaller, as Pillow's draft does. mean, std: on the scale 0 to 1. class_names: in the order of the logits.
    """

    size: int
    trained_size: int | None = None
    resize: str | None = None
    crop_pct: float | None = None
    interpolation: str | None = None
    jpeg_draft: bool = False
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    class_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.resize not in (SHORTER_SIDE, CENTRE_SQUARE, None):
            raise ValueError(f"resize must be {SHORTER_SIDE!r}, {CENTRE_SQUARE!r} or null, got {self.resize!r:.80}")
        if self.crop_pct is not None and not 0.01 <= self.crop_pct <= 2:
            raise ValueError(f"crop_pct must be 0.01 to 2, got {self.crop_pct!r:.80}")
        for name, size in (("size", self.size), ("trained_size", self.trained_size)):
            if size is not None and not 1 <= size <= 65536:
                raise ValueError(f"{name} must be 1 to 65536 pixels, got {size!r:.80}")

    @property
    def normalisation(self) -> Normalisation | None:
        return None if self.mean is None or self.std is None else Normalisation(self.mean, self.std)  # type: ignore[arg-type]

    @property
    def resize_to(self) -> int | None:
        """Pixels that the shorter side, or the central square, is brought to."""
        return None if self.crop_pct is None else math.floor(self.size / self.crop_pct)

    def facts(self) -> dict[str, Any]:
        """All values by name, and the sizes that follow from them."""
        values = dataclasses.asdict(self)
        names = values.pop("class_names")
        return values | {"resize_to": self.resize_to, "crop": self.size, "class_names": names}

    def to_dict(self) -> dict[str, Any]:
        """The content of preprocess.json."""
        return self.facts() | {"steps": self._steps()}

    def _steps(self) -> list[str]:
        """The steps in words, in order."""
        size, how = self.size, f"{self.interpolation} with antialiasing"
        said = ["decode to 8-bit RGB, upright by EXIF, without transparency"]
        if self.jpeg_draft:
            said.append(f"a JPEG may be decoded at 1/2, 1/4 or 1/8, no side below {size} px (Pillow's draft)")
        if self.resize == SHORTER_SIDE:
            said.append(f"shorter side to {self.resize_to} px, the longer in proportion, rounded down; {how}")
            said.append(f"the central {size} x {size} px, offsets rounded half to even")
        elif self.resize == CENTRE_SQUARE:
            said.append(f"central square, edges at fractions of a pixel, to {size} x {size} px; {how}")
        else:
            said.append(f"to {size} x {size} px; how is not known")
        if self.mean is not None and self.std is not None:
            said.append(f"(pixel / 255 - mean) / std, mean {list(self.mean)}, std {list(self.std)} for R, G, B")
        else:
            said.append("pixel / 255, normalised as in the training, which is not known")
        return [*said, f"float32 [N, 3, {size}, {size}]"]


_HALVES = 'stride == 2 and (mobile != "universal" or not kernel)'
SHORTER_SIDE, CENTRE_SQUARE = "shorter side", "centre square"


def write_standalone(
    config: MobileFormerConfig, normalisation: Normalisation | None, preprocessing: Preprocessing | None = None
) -> str:
    """The text of model.py: MobileFormer, build() and load(), with the parameter names of `mfsearch.model`.

    normalisation: of the training images, None if unknown. preprocessing: None for bundles older than preprocess.json.
    """
    facts = _facts(config) | {"normalised": normalisation is not None, "told": preprocessing is not None}
    words = _words(config, normalisation, facts)
    if preprocessing is not None:
        told = {name: repr(value) for name, value in preprocessing.facts().items() if "_names" not in name}
        words |= told | {"class_names": pprint.pformat(preprocessing.class_names, width=78, compact=True)}
    return Template(select(TEMPLATE.read_text(encoding="utf-8"), facts)).substitute(words)


def select(text: str, facts: Mapping[str, bool]) -> str:
    """The lines of a template whose conditions hold, without the conditions."""
    kept: list[str] = []
    open_ifs: list[bool] = []
    for line in text.splitlines():
        words = line.strip()
        if words.startswith("#: if "):
            open_ifs.append(_holds(words.removeprefix("#: if "), facts))
        elif words == "#: else":
            open_ifs[-1] = not open_ifs[-1]
        elif words == "#: end":
            open_ifs.pop()
        elif all(open_ifs):
            code, mark, condition = line.partition("  #: ")
            if not mark or _holds(condition, facts):
                kept.append(code)
    assert not open_ifs
    return "\n".join(kept) + "\n"


def _holds(condition: str, facts: Mapping[str, bool]) -> bool:
    return all(facts[term.removeprefix("not ")] != term.startswith("not ") for term in condition.split(" and "))


def _facts(config: MobileFormerConfig) -> dict[str, bool]:
    """The network's features, by the names in the template's conditions."""
    rows, dyrelu = config.blocks, config.dyrelu
    widths = [config.lite.out, *(row.out for row in rows)]
    skips = [inp == row.out for inp, row in zip(widths, rows, strict=False) if row.stride == 1]
    down, plain = (any(row.has_tail == has_tail for row in rows) for has_tail in (True, False))
    general, v4 = any(row.mobile != "inverted_bottleneck" for row in rows), config.lite.mobile != "lite"
    only_second = dyrelu.position == "second" and any(len(row.activated) == 1 for row in rows)
    tokens = config.tokens.count > 0
    facts = {
        "tokens": tokens,
        "uses_torch": tokens or dyrelu.source in LEARNED_SOURCES,
        "token_dyrelu": dyrelu.source in TOKEN_SOURCES,
        "spatial": dyrelu.source == "spatial",
        "pooled": dyrelu.source == "pooled",
        "full": config.bridges.projections == "full",
        "gate": config.bridges.gate,
        "final": config.bridges.final,
        "former_full": config.former.projections == "full",
        "grouped": config.groups > 1,
        "lite_skip": config.lite.stride == 1 and config.stem == config.lite.out,
        "down": down,
        "plain": plain,
        "both_kinds": general or (down and plain),
        "general": general,
        "either": general and down and plain,
        "v4": v4,
        "multiplies": down or not v4,
        "even": any(2 in (row.kernel, row.before) for row in rows),
        "single": general and only_second and dyrelu.source != "none",
        "calls_single": general and only_second and dyrelu.source in TOKEN_SOURCES,
        "skips": any(skips),
        "all_skip": bool(skips) and all(skips),
        "some_skip": any(skips) and not all(skips),
    }
    for name in ("former", "to_former", "to_mobile"):
        has = [bool(getattr(row, name)) for row in rows]
        facts |= {name: any(has), f"all_{name}": all(has), f"some_{name}": any(has) and not all(has)}
    facts["to_former"] |= config.bridges.final
    facts["ffn"] = facts["former"] and config.former.ffn > 0
    for k, which in enumerate(("first", "second"), 1):
        there = dyrelu.position in ("both", which)
        facts |= {f"dynamic{k}": dyrelu.dynamic and there, f"learned{k}": dyrelu.source in LEARNED_SOURCES and there}
    facts["mixed"] = any(row.static for row in rows)
    facts["learned"] = facts["mixed"] or dyrelu.source == "static"
    return facts


def _words(
    config: MobileFormerConfig, normalisation: Normalisation | None, facts: Mapping[str, bool]
) -> dict[str, object]:
    """The values of the template's $words."""
    costs, dyrelu, rows = count_costs(config), config.dyrelu, config.blocks
    columns = _columns(config, facts)
    K = dyrelu.slopes
    letters = "abc"[:K]
    bases = [f"(1 + {letter})" if letter == "a" else letter for letter in letters]
    lines = [f"{base} * x" for base in bases]
    if dyrelu.intercepts:
        lines = [f"{line} + {letter}0 / 2" for line, letter in zip(lines, letters, strict=True)]
    largest = f"torch.maximum({lines[0]}, {lines[1]})"
    split = [*letters, *(f"{letter}0" for letter in letters if dyrelu.intercepts)]
    token_words = ", z, mix" if facts["spatial"] else ", z" if facts["token_dyrelu"] else ""
    kinds = {"none": "nn.ReLU", "hswish": "nn.Hardswish"}
    kernel_column, tail_column = "kernel" in columns, "tail" in columns
    given, tail = ", kernel" if kernel_column else "", ", tail" if tail_column else ""
    static = ", static" if facts["mixed"] else ""
    plain, down = f"Mobile(inp, exp, out{given}{static})", f"MobileDown(inp, exp, out{given}{tail}{static})"
    dyrelu_class = "LearnedSlopes" if dyrelu.source == "static" else "(LearnedSlopes if static else DyReLU)"
    dyrelu_class = dyrelu_class if facts["learned"] else "DyReLU"
    if facts["general"]:
        plain = f"Mobile(inp, exp, out, stride, kernel, before, mobile{static})"
    both = facts["down"] and facts["plain"]
    mobile = f"{down} if stride == 2 else {plain}" if both else down if facts["down"] else plain
    if len(mobile) > 120 - len("        self.mobile = "):
        mobile = f"(\n            {mobile}\n        )"
    act1 = dyrelu_class if facts["learned1"] else kinds.get(dyrelu.at("first"), "nn.ReLU")
    act2 = dyrelu_class if facts["learned2"] else kinds.get(dyrelu.at("second"), "nn.ReLU")
    wide1, wide2 = ("exp" if facts[f"learned{k}"] else "" for k in (1, 2))
    lite_result = "self.project(F.relu(self.expand(x)))"
    lite_result = f"F.relu({lite_result})" if config.lite.mobile == "conv_pair" else lite_result
    constants = [] if kernel_column else [f"KERNEL = {rows[0].kernel}  # of the depthwise convolutions"]
    if facts["down"] and not tail_column:
        widening = next(row.tail for row in rows if row.has_tail)
        constants.append(f"TAIL = {widening}  # widening in the second half of a block of stride 2")
    table = [[_cell(getattr(row, name)) for name in columns] for row in rows]
    sizes = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    return {
        "arch_id": config.arch_id,
        "madds": f"{costs.madds / 1e6:.1f}M",
        "params": f"{costs.num_params / 1e6:.2f}M",
        "table": config.table(),
        "resolution": config.resolution,
        "classes": config.classes,
        "mean": normalisation and tuple(normalisation.mean),
        "std": normalisation and tuple(normalisation.std),
        "tokens": f"{config.tokens.count}, {config.tokens.dim}",
        "init_std": float(config.tokens.init_std),
        "stem": config.stem,
        "lite": (config.lite.exp, config.lite.out, config.lite.stride),
        "types": ", ".join(type(getattr(rows[0], name)).__name__ for name in columns),
        "columns": ", ".join(columns),
        "blocks": "\n".join(
            f"    ({', '.join(cell.rjust(size) for cell, size in zip(cells, sizes, strict=True))})," for cells in table
        ),
        "constants": "\n".join(constants),
        "head": (config.head.conv, config.head.hidden),
        "heads": config.bridges.heads,
        "former_heads": config.former.heads,
        "ffn": config.former.ffn,
        "reduction": dyrelu.reduction,
        "hidden": dyrelu.hidden(config.tokens.dim),
        "groups": config.groups,
        "lines": f"{K} lines a x + b" if dyrelu.intercepts else f"{K} lines a x",
        "source": {"first_token": "the first token", "mean_token": "the mean token"}.get(
            dyrelu.source, "all tokens, mixed at each position"
        ),
        "vector": "z[:, 0]" if dyrelu.source == "first_token" else "z.mean(1)",
        "coefficients": dyrelu.coefficients,
        "split": ", ".join(split),
        "largest": f"torch.maximum({largest}, {lines[2]})" if K == 3 else largest,
        "scores": ", _" if facts["spatial"] else "",
        "grouped": ", groups=GROUPS" if facts["grouped"] else "",
        "shuffled": ", groups=GROUPS, shuffle=GROUPS" if facts["grouped"] else "",
        "where_equal": "" if facts["all_skip"] else " where widths are equal",
        "kernel": "kernel" if kernel_column else "KERNEL",
        "kernel_type": ", kernel: int" if kernel_column else "",
        "tail": "tail" if tail_column else "TAIL",
        "tail_type": ", tail: int" if tail_column else "",
        "static_type": ", static: bool" if static else "",
        "act1": act1,
        "act2": act2,
        "first": f"{act2}({wide2}) if self.single else nn.ReLU()" if facts["single"] else f"{act1}({wide1})",
        "second": act2 + ("(last)" if facts["learned2"] else "()"),
        "keeps_halving": "self.halves = " + _HALVES if facts["general"] else "self.stride = stride",
        "halving": "self.halves" if facts["general"] else "self.stride == 2",
        "lite_result": f"x + {lite_result}" if facts["lite_skip"] else lite_result,
        "more": token_words,
        "more1": token_words if facts["dynamic1"] else "",
        "more2": token_words if facts["dynamic2"] else "",
        "more_types": token_words.replace("z", "z: Tensor").replace("mix", "mix: Tensor"),
        "mobile": mobile,
        "plain": plain,
        "down": down,
        "steps": _steps(facts),
    }


def _columns(config: MobileFormerConfig, facts: Mapping[str, bool]) -> list[str]:
    """The columns of the table of blocks; a value that all rows share becomes a constant or plain code instead."""
    rows = config.blocks
    varies = {
        "stride": facts["both_kinds"],
        "kernel": len({row.kernel for row in rows}) > 1 or facts["general"],
        "before": facts["general"],
        "mobile": facts["general"],
        "tail": len({row.tail for row in rows if row.has_tail}) > 1,
        "bridge": facts["some_to_former"] or facts["some_to_mobile"],
        "former": facts["some_former"],
        "static": facts["mixed"],
    }
    return ["exp", "out", *(name for name, there in varies.items() if there)]


def _cell(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def _steps(facts: Mapping[str, bool]) -> str:
    names = {"to_former": "ToFormer", "former": "Former", "mobile": "Mobile", "to_mobile": "ToMobile"}
    there = [name for key, name in names.items() if key == "mobile" or facts[f"all_{key}"] or facts[f"some_{key}"]]
    return ", then ".join(there)
