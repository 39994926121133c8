"""The seven published networks, from the tables of arXiv:2108.05895 (Table 1 and appendix), and those on MobileNetV4.

A row is exp, out, stride. All else is as published: 3x3 depthwise kernels, both bridges with 2 heads, Former with 4
heads and FFN ratio 2, DyReLU from the first token with reduction 4.
"""

import difflib

from mfsearch.config import (
    BlockConfig,
    BridgeConfig,
    DyReLUConfig,
    HeadConfig,
    LiteConfig,
    MobileFormerConfig,
    TokenConfig,
)

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


_V4Row = tuple[str, int, int, int, int, int]


def _mobilenet_v4(lite: LiteConfig, rows: list[_V4Row], exchanges: tuple[int, ...] = ()) -> MobileFormerConfig:
    """exchanges: the rows with both bridges and a Former, if any. Rows before the first have learned slopes."""
    return MobileFormerConfig(
        tokens=TokenConfig(6, 192) if exchanges else TokenConfig(0, 0),
        stem=32,
        lite=lite,
        blocks=tuple(
            BlockConfig(
                exp,
                out,
                stride,
                kernel,
                bridge="both" if k in exchanges else "none",
                former=k in exchanges,
                static=bool(exchanges) and k < exchanges[0],
                mobile=mobile,
                before=before,
            )
            for k, (mobile, before, kernel, exp, out, stride) in enumerate(rows)
        ),
        head=HeadConfig(960, 1280),
        bridges=BridgeConfig(final=bool(exchanges)),
        dyrelu=DyReLUConfig("first_token", "first") if exchanges else DyReLUConfig("none"),
    )


# Tables 11 and 12 of arXiv:2404.10518 as timm builds them: mobile, kernel before the expansion and after it, exp, out,
# stride. timm has an activation after the 1x1 of the first two rows of Conv-Small.
# fmt: off
_SMALL = LiteConfig(32, 32, 2, "conv_pair"), [
    ("conv_pair", 0, 3,  96,  64, 2),
    ("universal", 5, 5, 192,  96, 2),
    ("universal", 0, 3, 192,  96, 1),
    ("universal", 0, 3, 192,  96, 1),
    ("universal", 0, 3, 192,  96, 1),
    ("universal", 0, 3, 192,  96, 1),
    ("universal", 3, 0, 384,  96, 1),
    ("universal", 3, 3, 576, 128, 2),
    ("universal", 5, 5, 512, 128, 1),
    ("universal", 0, 5, 512, 128, 1),
    ("universal", 0, 5, 384, 128, 1),
    ("universal", 0, 3, 512, 128, 1),
    ("universal", 0, 3, 512, 128, 1),
]
_MEDIUM = LiteConfig(128, 48, 2, "fused"), [
    ("universal", 3, 5, 192,  80, 2),
    ("universal", 3, 3, 160,  80, 1),
    ("universal", 3, 5, 480, 160, 2),
    ("universal", 3, 3, 640, 160, 1),
    ("universal", 3, 3, 640, 160, 1),
    ("universal", 3, 5, 640, 160, 1),
    ("universal", 3, 3, 640, 160, 1),
    ("universal", 3, 0, 640, 160, 1),
    ("universal", 0, 0, 320, 160, 1),
    ("universal", 3, 0, 640, 160, 1),
    ("universal", 5, 5, 960, 256, 2),
    ("universal", 5, 5, 1024, 256, 1),
    ("universal", 3, 5, 1024, 256, 1),
    ("universal", 3, 5, 1024, 256, 1),
    ("universal", 0, 0, 1024, 256, 1),
    ("universal", 3, 0, 1024, 256, 1),
    ("universal", 3, 5, 512, 256, 1),
    ("universal", 5, 5, 1024, 256, 1),
    ("universal", 0, 0, 1024, 256, 1),
    ("universal", 0, 0, 1024, 256, 1),
    ("universal", 5, 0, 512, 256, 1),
]
# fmt: on

# The Former beside them. Bridges take a third of the time of mf-151m and bridge every row (docs/LOG.md, twins by time);
# MobileNetV4's own hybrids have attention at 14 and 7 pixels alone. So tokens and map meet where the 14-pixel maps
# begin and end, where the 7-pixel maps end, and in the final bridge: each time after several rows that mix positions.
# Tokens cost next to no time, so they are those of every published network from 151M on. DyReLU stands in the first
# place of a row alone: the second cost 1 ms of 9 there, and showed no gain.
V4_PRESETS: dict[str, MobileFormerConfig] = {
    "mnv4-s": _mobilenet_v4(*_SMALL),
    "mf4-s": _mobilenet_v4(*_SMALL, exchanges=(1, 6, 11, 12)),
    "mnv4-m": _mobilenet_v4(*_MEDIUM),
    "mf4-m": _mobilenet_v4(*_MEDIUM, exchanges=(2, 9, 15, 20)),
}


def _apart(known: str, name: str) -> int:
    """The difference of the numbers in two names."""
    ours, theirs = ("".join(filter(str.isdigit, text)) for text in (known, name))
    return abs(int(ours) - int(theirs or 0))


def preset(name: str) -> MobileFormerConfig:
    """The network of that name: "mf-26m" to "mf-508m", as published, by its millions of multiply-adds; "mnv4-s" and
    "mnv4-m" are MobileNetV4-Conv-Small and -Medium, "mf4-s" and "mf4-m" the same with a Former beside them.

    ValueError lists the known names.
    """
    networks = PRESETS | V4_PRESETS
    if name not in networks:
        near = sorted(difflib.get_close_matches(name, networks), key=lambda known: _apart(known, name))
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(f"unknown preset {name!r:.200}{hint}: known are {', '.join(networks)}")
    return networks[name]
