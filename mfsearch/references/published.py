"""Published ImageNet-1k results to compare with: 224 px and no distillation unless a row says otherwise.

A figure is verified if it was read in the system's own release or in a paper's table. Any other is from memory and must
be shown as unverified. The seven Mobile-Formers have the printed figures of arXiv:2108.05895 (Table 1 and appendix);
`count_costs` gives the exact costs of the presets.
"""

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
    def preset(self) -> str | None:
        """The name of its preset, None for other families."""
        return f"mf-{self.model.lower()}" if self.family == MOBILE_FORMER else None


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

    _row("DeiT",    "Tiny",       5.7, 1200, 72.2, "deit_tiny_patch16_224", _NONE),
    _row("T2T-ViT", "7",          4.3, 1200, 71.7, None, _NONE, _NEWER.format("71.2")),
    _row("PVT",     "Tiny",      13.2, 1900, 75.1, None, "top1 params", "timm's pvt_v2 is the later one"),
    _row("ConViT",  "Tiny",       6.0, 1000, 73.1, "convit_tiny", "top1"),
    _row("CoaT",    "Lite Tiny",  5.7, 1600, 76.6, "coat_lite_tiny", _NONE, _NEWER.format("77.5")),
    _row("ViT_C",   "1GF",        4.6, 1100, 75.3, None, _NONE, "early convolutions"),
    _row("Swin",    "1G",         7.3, 1000, 77.3, None, _NONE, "narrowed"),
    _row("LeViT",   "128S",       7.8,  305, 76.6, "levit_128s", "top1 madds", "distilled, 1000 epochs"),
    _row("MobileNetV4", "Conv-Small", 3.8, 200, 73.8, "mobilenetv4_conv_small", _NONE),

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
