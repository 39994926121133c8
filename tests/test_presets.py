"""The seven published networks against the rules that stand behind the paper's table (arXiv:2108.05895)."""

import pytest

from mfsearch.config import BridgeConfig, DyReLUConfig, FormerConfig, MobileFormerConfig
from mfsearch.presets import MF_26M, MF_52M, PRESETS, preset

# Tokens, stem, lite (exp, out, stride), number of rows, last 1x1 and first FC, as in Table 1.
SHAPE = {
    "mf-26m": ((3, 128), 8, (24, 12, 2), 8, (576, 1024)),
    "mf-52m": ((3, 128), 8, (24, 12, 2), 8, (576, 1024)),
    "mf-96m": ((4, 128), 12, (24, 12, 1), 8, (768, 1280)),
    "mf-151m": ((6, 192), 12, (24, 12, 1), 11, (768, 1280)),
    "mf-214m": ((6, 192), 12, (24, 12, 1), 11, (960, 1600)),
    "mf-294m": ((6, 192), 16, (32, 16, 1), 11, (1152, 1920)),
    "mf-508m": ((6, 192), 24, (48, 24, 1), 11, (1440, 1920)),
}
every_preset = pytest.mark.parametrize("config", PRESETS.values(), ids=PRESETS)


def test_the_frame_of_each_network_is_the_papers() -> None:
    assert list(PRESETS) == list(SHAPE)
    for name, config in PRESETS.items():
        tokens = (config.tokens.count, config.tokens.dim)
        lite = (config.lite.exp, config.lite.out, config.lite.stride)
        head = (config.head.conv, config.head.hidden)
        assert (tokens, config.stem, lite, len(config.blocks), head) == SHAPE[name]


@every_preset
def test_expansions_are_3_4_or_6_and_6_wherever_a_row_strides_or_widens(config: MobileFormerConfig) -> None:
    width = config.lite.out
    for row in config.blocks:
        assert row.exp in (3 * width, 4 * width, 6 * width)
        if row.stride == 2 or row.out > width:
            assert row.exp == 6 * width
        assert row.out >= width
        width = row.out
    assert config.head.conv == 6 * width


@every_preset
def test_widths_are_multiples_of_4(config: MobileFormerConfig) -> None:
    rows = [width for row in config.blocks for width in (row.exp, row.out)]
    widths = [config.stem, config.lite.exp, config.lite.out, *rows, config.head.conv, config.head.hidden]
    assert [width % 4 for width in widths] == [0] * len(widths)


@every_preset
def test_five_halvings_take_224_pixels_to_7(config: MobileFormerConfig) -> None:
    strides = [2, config.lite.stride, *(row.stride for row in config.blocks)]
    assert strides.count(2) == 5
    assert config.resolution == 224
    assert config.classes == 1000


@every_preset
def test_what_a_table_does_not_say_is_as_published(config: MobileFormerConfig) -> None:
    assert config.former == FormerConfig(heads=4, ffn=2, projections="tied")
    assert config.bridges == BridgeConfig(heads=2, gate=True, projections="published", final=True)
    assert config.dyrelu == DyReLUConfig("first_token", "both", slopes=2, intercepts=False, reduction=4)
    assert {(row.kernel, row.bridge, row.former, row.tail) for row in config.blocks} == {(3, "both", True, 4)}
    assert config.tokens.init_std == 1.0
    assert config.groups == (4 if config is MF_26M else 1)


def test_26m_is_52m_in_four_groups() -> None:
    assert MF_26M.blocks == MF_52M.blocks
    assert len({config.arch_id for config in PRESETS.values()}) == 7


def test_an_unknown_preset_names_the_nearest_and_all() -> None:
    assert preset("mf-151m") is PRESETS["mf-151m"]
    with pytest.raises(
        ValueError, match=r"unknown preset 'mf-51m' \(did you mean mf-52m\?\): known are mf-26m, mf-52m"
    ):
        preset("mf-51m")
    with pytest.raises(ValueError, match="unknown preset 'resnet50': known are mf-26m"):
        preset("resnet50")
    with pytest.raises(ValueError, match="unknown preset ''"):
        preset("")
