"""The seven published networks, from the tables of arXiv:2108.05895 (Table 1 and appendix).

A row is exp, out, stride. All else is as published: 3x3 depthwise kernels, both bridges with 2 heads, Former with 4
heads and FFN ratio 2, DyReLU from the first token with reduction 4.
"""

import difflib

from mfsearch.config import BlockConfig, HeadConfig, LiteConfig, MobileFormerConfig, TokenConfig

_Row = tuple[int, int, int]


def _network(
    tokens: tuple[int, int],
    stem: int,
    lite: _Row,
    rows: list[_Row],
    head: tuple[int, int],
    groups: int = 1,
) -> MobileFormerConfig:
    return MobileFormerConfig(
        tokens=TokenConfig(*tokens),
        stem=stem,
        lite=LiteConfig(*lite),
        blocks=tuple(BlockConfig(*row) for row in rows),
        head=HeadConfig(*head),
        groups=groups,
    )


# fmt: off
_ROWS_52M = [
    (  36,  12, 1),
    (  72,  24, 2),
    (  72,  24, 1),
    ( 144,  48, 2),
    ( 192,  48, 1),
    ( 288,  64, 1),
    ( 384,  96, 2),
    ( 576,  96, 1),
]
MF_26M = _network((3, 128), 8, (24, 12, 2), _ROWS_52M, (576, 1024), groups=4)
MF_52M = _network((3, 128), 8, (24, 12, 2), _ROWS_52M, (576, 1024))
MF_96M = _network((4, 128), 12, (24, 12, 1), [
    (  72,  16, 2),
    (  96,  32, 2),
    (  96,  32, 1),
    ( 192,  64, 2),
    ( 256,  64, 1),
    ( 384,  88, 1),
    ( 528, 128, 2),
    ( 768, 128, 1),
], (768, 1280))
MF_151M = _network((6, 192), 12, (24, 12, 1), [
    (  72,  16, 2),
    (  48,  16, 1),
    (  96,  32, 2),
    (  96,  32, 1),
    ( 192,  64, 2),
    ( 256,  64, 1),
    ( 384,  88, 1),
    ( 528,  88, 1),
    ( 528, 128, 2),
    ( 768, 128, 1),
    ( 768, 128, 1),
], (768, 1280))
MF_214M = _network((6, 192), 12, (24, 12, 1), [
    (  72,  20, 2),
    (  60,  20, 1),
    ( 120,  40, 2),
    ( 160,  40, 1),
    ( 240,  80, 2),
    ( 320,  80, 1),
    ( 480, 112, 1),
    ( 672, 112, 1),
    ( 672, 160, 2),
    ( 960, 160, 1),
    ( 960, 160, 1),
], (960, 1600))
MF_294M = _network((6, 192), 16, (32, 16, 1), [
    (  96,  24, 2),
    (  96,  24, 1),
    ( 144,  48, 2),
    ( 192,  48, 1),
    ( 288,  96, 2),
    ( 384,  96, 1),
    ( 576, 128, 1),
    ( 768, 128, 1),
    ( 768, 192, 2),
    (1152, 192, 1),
    (1152, 192, 1),
], (1152, 1920))
MF_508M = _network((6, 192), 24, (48, 24, 1), [
    ( 144,  40, 2),
    ( 120,  40, 1),
    ( 240,  72, 2),
    ( 216,  72, 1),
    ( 432, 128, 2),
    ( 512, 128, 1),
    ( 768, 176, 1),
    (1056, 176, 1),
    (1056, 240, 2),
    (1440, 240, 1),
    (1440, 240, 1),
], (1440, 1920))
# fmt: on

PRESETS: dict[str, MobileFormerConfig] = {
    "mf-26m": MF_26M,
    "mf-52m": MF_52M,
    "mf-96m": MF_96M,
    "mf-151m": MF_151M,
    "mf-214m": MF_214M,
    "mf-294m": MF_294M,
    "mf-508m": MF_508M,
}


def _apart(known: str, name: str) -> int:
    """The difference of the numbers in two names."""
    ours, theirs = ("".join(filter(str.isdigit, text)) for text in (known, name))
    return abs(int(ours) - int(theirs or 0))


def preset(name: str) -> MobileFormerConfig:
    """The published network of that name: "mf-26m" to "mf-508m", by its millions of multiply-adds.

    ValueError lists the known names.
    """
    if name not in PRESETS:
        near = sorted(difflib.get_close_matches(name, PRESETS), key=lambda known: _apart(known, name))
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(f"unknown preset {name!r:.200}{hint}: known are {', '.join(PRESETS)}")
    return PRESETS[name]
