"""Published ImageNet-1k results to compare with: 224 px and no distillation unless a row says otherwise.

A figure is verified if it was read in the system's own release or in a paper's table. Any other is from memory and must
be shown as unverified. The seven Mobile-Formers have the printed figures of arXiv:2108.05895 (Table 1 and appendix);
`count_costs` gives the exact costs of the presets.
"""

import difflib
from collections.abc import Sequence
from typing import NamedTuple

MOBILE_FORMER = "Mobile-Former"  # the family of the presets


class Reference(NamedTuple):
    """A published network. num_params: parameters, None if unknown; madds: multiply-adds per image; top1: a fraction,
    on ImageNet-1k.

    resolution: input side in pixels, None if it was searched with the network. timm: its name in timm, None if timm
    does not have it; for a Mobile-Former see `preset`.
    """

    family: str
    model: str
    num_params: int | None
    madds: int
    top1: float
    resolution: int | None
    timm: str | None
    verified_top1: bool
    verified_madds: bool
    verified_params: bool
    note: str

    @property
    def verified_cost(self) -> bool:
        """Whether all given costs were verified."""
        return self.verified_madds and (self.verified_params or self.num_params is None)

    @property
    def verified(self) -> bool:
        return self.verified_top1 and self.verified_cost

    @property
    def name(self) -> str:
        return f"{self.family} {self.model}"

    @property
    def arch_id(self) -> str:
        """Under which its trainings are kept; that of a preset is its config's."""
        return self.name

    @property
    def preset(self) -> str | None:
        """The name of its preset, None for other families."""
        return f"mf-{self.model.lower()}" if self.family == MOBILE_FORMER else None

    @property
    def built_elsewhere(self) -> bool:
        """Whether `mfsearch.references.build` builds it: another family's network of a fixed table."""
        return self.preset is None and self.resolution is not None


def _row(
    family: str,
    model: str,
    params_m: float | None,
    madds_m: float,
    top1_percent: float,
    timm: str | None,
    verified: str,
    note: str = "",
    resolution: int | None = 224,
) -> Reference:
    """A row in millions and percent, as printed; `verified` lists the verified figures out of top1, madds, params."""
    known = verified.split()
    return Reference(
        family=family,
        model=model,
        num_params=None if params_m is None else round(params_m * 1e6),
        madds=round(madds_m * 1e6),
        top1=round(top1_percent / 100, 6),
        resolution=resolution,
        timm=timm,
        verified_top1="top1" in known,
        verified_madds="madds" in known,
        verified_params="params" in known,
        note=note,
    )


_ALL, _NONE = "top1 madds params", ""
_AGREES = "agrees with the abstract of arXiv:2108.05895"
_NEWER = "its own release now says {} %"
_TIMM = "figures of timm's tables"
_SEARCHED = "the input side is searched with the network"

# fmt: off
PUBLISHED: list[Reference] = [  # params (M), madds (M), top1 (%)
    _row("Mobile-Former", "26M",   3.2,   26, 64.0, None, _ALL),
    _row("Mobile-Former", "52M",   3.5,   52, 68.7, None, _ALL),
    _row("Mobile-Former", "96M",   4.6,   96, 72.8, None, _ALL),
    _row("Mobile-Former", "151M",  7.6,  151, 75.2, None, _ALL),
    _row("Mobile-Former", "214M",  9.4,  214, 76.7, None, _ALL),
    _row("Mobile-Former", "294M", 11.4,  294, 77.9, None, _ALL),
    _row("Mobile-Former", "508M", 14.0,  508, 79.3, None, _ALL),

    _row("MobileNetV3", "Small 1.0, 160 px", 2.5,  30, 62.8, "mobilenetv3_small_100", _NONE, resolution=160),
    _row("MobileNetV3", "Small 1.0",         2.5,  57, 67.5, "mobilenetv3_small_100", "top1"),
    _row("MobileNetV3", "Large 1.0, 160 px", 5.4, 112, 71.7, "mobilenetv3_large_100", _NONE, resolution=160),
    _row("MobileNetV3", "Large 0.75",        4.0, 155, 73.3, "mobilenetv3_large_075", _ALL),
    _row("MobileNetV3", "Large 1.0",         5.4, 217, 75.2, "mobilenetv3_large_100", _ALL),
    _row("MobileNetV3", "Large 1.25",        7.5, 356, 76.6, None, _NONE, _AGREES),
    _row("EfficientNet", "B0", 5.3, 390, 77.1, "efficientnet_b0", _ALL),

    _row("ShuffleNetV2", "1.0", 2.2, 138, 69.1, None, _ALL),
    _row("ShuffleNetV2", "1.5", 3.5, 299, 72.6, None, _ALL),
    _row("ShuffleNetV2", "2.0", 5.5, 557, 74.5, None, _ALL),
    _row("WeightNet", "ShuffleNetV2 1.0, 4x",  5.1, 141, 72.4, None, _ALL),
    _row("WeightNet", "ShuffleNetV2 1.5, 4x",  9.6, 307, 75.0, None, _ALL),
    _row("WeightNet", "ShuffleNetV2 2.0, 4x", 18.1, 573, 76.5, None, _ALL),
    _row("GhostNet", "1.0", 5.2, 141, 73.9, "ghostnet_100", _ALL),
    _row("GhostNet", "1.3", 7.3, 226, 75.7, "ghostnet_130", _ALL),

    _row("DeiT",    "Tiny",       5.7, 1200, 72.2, "deit_tiny_patch16_224", _NONE, "timm counts 1.26 G, too"),
    _row("T2T-ViT", "7",          4.3, 1200, 71.7, None, _NONE, _NEWER.format("71.2") + "; 1.2 G is rounded up"),
    _row("PVT",     "Tiny",      13.2, 1900, 75.1, None, "top1 params", "timm's pvt_v2 is the later one"),
    _row("ConViT",  "Tiny",       6.0, 1000, 73.1, "convit_tiny", "top1", "its paper rounds to 6 M and 1 G"),
    _row("CoaT",    "Lite Tiny",  5.7, 1600, 76.6, "coat_lite_tiny", _NONE, _NEWER.format("77.5")),
    _row("ViT_C",   "1GF",        4.6, 1100, 75.3, None, _NONE, "early convolutions"),
    _row("Swin",    "1G",         7.3, 1000, 77.3, None, _NONE, "half of Swin-T's widths, which give 7.3 M but 1.17 G"),
    _row("LeViT",   "128S",       7.8,  305, 76.6, "levit_128s", "top1 madds", "distilled, 1000 epochs"),
    _row("LeViT",   "128",        9.2,  410, 78.5, "levit_128", _ALL, f"distilled, 1000 epochs; {_TIMM}"),

    _row("MobileNetV4", "Conv-Small",  3.8,  200, 73.8, "mobilenetv4_conv_small", _NONE, "its paper prints 0.2 G"),
    _row("MobileNetV4", "Conv-Medium", 9.7, 1100, 79.9, "mobilenetv4_conv_medium", _ALL, _TIMM, 256),
    _row("RepViT", "M0.9", 5.1,  800, 78.7, "repvit_m0_9", _ALL, "distilled"),
    _row("RepViT", "M1.0", 6.8, 1100, 80.0, "repvit_m1_0", _ALL, "distilled"),
    _row("FastViT", "T8",  4.0,  690, 76.2, "fastvit_t8", _ALL, _TIMM, 256),
    _row("EfficientViT", "B0", 3.4, 100, 71.4, "efficientvit_b0", _ALL, _TIMM),
    _row("EfficientViT", "B1", 9.1, 520, 79.4, "efficientvit_b1", _ALL),
    _row("EdgeNeXt", "XX-Small", 1.33, 261, 71.2, "edgenext_xx_small", _ALL, resolution=256),
    _row("HGNetV2", "B0", 6.0, 330, 77.4, "hgnetv2_b0", _ALL, f"distilled, more images than ImageNet-1k; {_TIMM}"),
    _row("CPUBone", "Nano", 6.52, 190, 72.7, "cpubone_nano", _ALL),
    _row("CPUBone", "B0",  10.4,  519, 77.6, "cpubone_b0_bfrobust", _ALL),

    _row("OFA", "151M", None, 151, 74.7, None, "top1 madds", _SEARCHED, None),
    _row("OFA", "163M", None, 163, 75.5, None, "top1 madds", _SEARCHED, None),
    _row("OFA", "230M", None, 230, 76.4, None, "top1 madds", _SEARCHED, None),
    _row("OFA", "595M", None, 595, 80.0, None, "top1 madds", _SEARCHED, None),
    _row("AlphaNet", "A0", None, 203, 77.87, None, "top1 madds", _SEARCHED, None),
    _row("AlphaNet", "A6", None, 709, 80.78, None, "top1 madds", _SEARCHED, None),
    _row("ElasticViT", "60M",  None,  60, 67.2, None, "top1 madds", _SEARCHED, None),
    _row("ElasticViT", "800M", None, 800, 80.0, None, "top1 madds", _SEARCHED, None),
]
# fmt: on


def find_references(names: Sequence[str] = ()) -> list[Reference]:
    """The rows of these networks or families in the order of the table, all without names; capitals do not matter.

    A network may be given by its name, its preset or timm's name. ValueError with near names for one that is none.
    """
    known: dict[str, list[Reference]] = {}
    spelled: dict[str, str] = {}
    for row in PUBLISHED:
        for name in {row.family, row.name, row.timm or row.name, row.preset or row.name}:
            known.setdefault(name.casefold(), []).append(row)
            spelled[name.casefold()] = name
    for name in names:
        if name.casefold() not in known:
            near = [key for key in known if name.casefold() in key][:3]
            near = near or difflib.get_close_matches(name.casefold(), known, n=3)
            which = "did you mean" if near else "families are"
            keys = near or [row.family.casefold() for row in PUBLISHED]
            shown = ", ".join(repr(spelled[key]) for key in dict.fromkeys(keys))
            raise ValueError(f"unknown network {name!r:.200}: {which} {shown}")
    chosen = {row.name for name in names for row in known[name.casefold()]}
    return [row for row in PUBLISHED if not names or row.name in chosen]
