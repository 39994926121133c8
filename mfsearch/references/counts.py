"""Exact costs of the other families' networks as this package builds them, so that the table needs no library."""

from typing import NamedTuple

# What fvcore met in these networks and counted as nothing, beside what it may leave out in a Mobile-Former
# (mfsearch/cost/judge.py): activations, sums, padding, and what makes position tables.
UNCOUNTED_ELSEWHERE = frozenset(
    f"aten::{name}"
    for name in (
        *("clamp_min", "cos", "cumsum", "div_", "exp", "expand_as", "hardswish_", "im2col", "linalg_vector_norm"),
        *("max_pool2d", "pad", "pow", "repeat", "repeat_interleave", "rsub", "sigmoid", "silu_", "sin", "sum"),
    )
)


class BuiltCounts(NamedTuple):
    """Of a network as deployed, re-parameterised ones fused. madds: all that fvcore counts; macs: products alone, both
    of one image; timm_gmacs: as timm's tables print it, in units of 1e9, None where they have no such row."""

    num_params: int
    madds: int
    macs: int
    timm_gmacs: float | None = None


# Made by benchmarks/reference_counts.py with timm 1.0.31, torchvision 0.28, fvcore 0.1.5, at the published resolution.
# The GMACs are from timm's benchmark-infer-amp-nchw-pt291-cu128-4090.csv (Apache-2.0).
# fmt: off
COUNTS: dict[str, BuiltCounts] = {
    "MobileNetV3 Small 1.0, 160 px":   BuiltCounts(  2_542_856,     31_302_976,     29_846_976),
    "MobileNetV3 Small 1.0":           BuiltCounts(  2_542_856,     59_364_160,     56_510_400, 0.06),
    "MobileNetV3 Large 1.0, 160 px":   BuiltCounts(  5_483_032,    116_985_600,    112_472_000),
    "MobileNetV3 Large 0.75":          BuiltCounts(  3_993_528,    162_587_216,    154_560_624, 0.16),
    "MobileNetV3 Large 1.0":           BuiltCounts(  5_483_032,    225_436_416,    216_589_760, 0.23),
    "MobileNetV3 Large 1.25":          BuiltCounts(  7_551_976,    367_245_344,    355_221_920),
    "EfficientNet B0":                 BuiltCounts(  5_288_548,    399_352_864,    385_814_752, 0.4),
    "ShuffleNetV2 1.0":                BuiltCounts(  2_210_952,    140_599_520,    136_808_096),
    "ShuffleNetV2 1.5":                BuiltCounts(  3_503_624,    301_294_432,    295_759_392),
    "ShuffleNetV2 2.0":                BuiltCounts(  5_493_992,    556_926_256,    549_429_648),
    "WeightNet ShuffleNetV2 1.0, 4x":  BuiltCounts(  5_143_896,    145_050_112,    141_208_512),
    "WeightNet ShuffleNetV2 1.5, 4x":  BuiltCounts(  9_624_336,    312_366_208,    306_780_992),
    "WeightNet ShuffleNetV2 2.0, 4x":  BuiltCounts( 18_268_604,    580_910_768,    573_363_984),
    "GhostNet 1.0":                    BuiltCounts(  5_182_508,    148_273_936,    141_150_512, 0.15),
    "GhostNet 1.3":                    BuiltCounts(  7_358_820,    236_239_560,    227_003_256, 0.24),
    "DeiT Tiny":                       BuiltCounts(  5_717_416,  1_258_411_200,  1_253_683_200, 1.26),
    "T2T-ViT 7":                       BuiltCounts(  4_310_222,  1_156_463_296,  1_146_863_616),
    "PVT Tiny":                        BuiltCounts( 13_229_288,  1_942_896_896,  1_932_911_616),
    "ConViT Tiny":                     BuiltCounts(  5_710_512,  1_257_069_120,  1_252_360_320, 1.26),
    "CoaT Lite Tiny":                  BuiltCounts(  5_721_960,  1_598_306_112,  1_589_037_952, 1.6),
    "ViT_C 1GF":                       BuiltCounts(  4_567_936,  1_081_338_816,  1_075_860_096),
    "Swin 1G":                         BuiltCounts(  7_299_634,  1_170_795_648,  1_161_481_728),
    "LeViT 128S":                      BuiltCounts(  7_756_466,    304_660_832,    304_660_832, 0.3),
    "LeViT 128":                       BuiltCounts(  9_188_864,    405_321_728,    405_321_728, 0.41),
    "MobileNetV4 Conv-Small":          BuiltCounts(  3_774_024,    189_981_440,    186_005_568, 0.19),
    "MobileNetV4 Conv-Medium":         BuiltCounts(  9_715_512,  1_095_463_424,  1_080_244_224, 1.1),
    "RepViT M0.9":                     BuiltCounts(  5_067_056,    815_617_344,    815_617_344, 0.82),
    "RepViT M1.0":                     BuiltCounts(  6_810_312,  1_106_136_864,  1_106_136_864, 1.11),
    "FastViT T8":                      BuiltCounts(  3_996_040,    686_880_768,    685_160_448, 0.69),
    "EfficientViT B0":                 BuiltCounts(  3_410_008,    104_190_976,    100_233_216, 0.1),
    "EfficientViT B1":                 BuiltCounts(  9_102_024,    528_153_920,    519_214_592, 0.53),
    "EdgeNeXt XX-Small":               BuiltCounts(  1_327_216,    261_928_200,    257_905_088, 0.26),
    "HGNetV2 B0":                      BuiltCounts(  5_996_550,    325_616_512,    321_326_464, 0.33),
    "CPUBone Nano":                    BuiltCounts(  6_519_700,    189_492_576,    187_292_512),
    "CPUBone B0":                      BuiltCounts( 10_365_560,    524_597_696,    519_710_080),
}
# fmt: on
