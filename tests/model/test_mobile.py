"""The Mobile path: channel shuffle, skips, strides and the order of its operators."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mfsearch.config import BlockConfig, DyReLUConfig, LiteConfig
from mfsearch.model.mobile import (
    ConvNorm,
    LiteBottleneck,
    Mobile,
    MobileDown,
    Stem,
    depthwise,
    shuffle,
)

RELU = DyReLUConfig("none")
GROUPS = (1, 2, 4)


def lively(module: nn.Module) -> nn.Module:
    """In eval mode and double, with weights, running means and variances that are all their own."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                value.normal_(0.3, 0.5, generator=generator)
                if name.endswith("running_var"):
                    value.abs_().add_(0.1)
    return module.double().eval()


def image(channels: int, side: int = 6) -> Tensor:
    return torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(6), dtype=torch.float64)


def conv_norm(module: ConvNorm, x: Tensor, *, kernel: int = 1, stride: int = 1, groups: int = 1) -> Tensor:
    """Convolution and BatchNorm from the state alone, padded to keep the map's size, without any shuffle."""
    s: dict[str, Tensor] = module.state_dict()
    assert s["conv.weight"].shape[2:] == (kernel, kernel)
    y = F.conv2d(x, s["conv.weight"], None, stride, kernel // 2, groups=groups)
    scale = s["norm.weight"] / (s["norm.running_var"] + 1e-5).sqrt()
    shift = s["norm.bias"] - s["norm.running_mean"] * scale
    return y * scale[:, None, None] + shift[:, None, None]


def shuffled(x: Tensor, groups: int) -> Tensor:
    """The literal definition: channel i of group g goes to place i * groups + g."""
    per_group = x.shape[1] // groups
    y = torch.empty_like(x)
    for g in range(groups):
        for i in range(per_group):
            y[:, i * groups + g] = x[:, g * per_group + i]
    return y


@pytest.mark.parametrize(("channels", "groups"), [(12, 1), (12, 2), (12, 3), (12, 4), (12, 12), (1, 1)])
def test_shuffle_interleaves_the_groups(channels: int, groups: int) -> None:
    x = image(channels)
    assert torch.equal(shuffle(x, groups), shuffled(x, groups))
    assert torch.equal(shuffle(x.contiguous(memory_format=torch.channels_last), groups), shuffled(x, groups))


def test_after_a_multiplying_depthwise_each_group_sees_every_input() -> None:
    """4 inputs, 3 outputs each, shuffled by the inputs: each run of 4 channels holds one output of each input."""
    inputs_of = torch.arange(4).repeat_interleave(3)
    order = shuffle(inputs_of.view(1, 12, 1, 1), depthwise(4, 12, 3, 1, groups=4).shuffle).flatten()
    assert order.tolist() == [0, 1, 2, 3] * 3
    assert depthwise(4, 12, 3, 1, groups=1).shuffle == 1
    assert depthwise(4, 4, 3, 1, groups=4).shuffle == 1


def test_the_stem_halves_the_image_and_clips_at_6() -> None:
    stem = lively(Stem(4))
    assert isinstance(stem, Stem)
    x = 10 * image(3, 7)
    y = stem(x)
    assert y.shape == (2, 4, 4, 4)
    torch.testing.assert_close(y, conv_norm(stem.conv, x, kernel=3, stride=2).clamp(0, 6))
    assert y.max() == 6


@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize(("stride", "out", "skip"), [(1, 8, True), (1, 12, False), (2, 8, False)])
def test_the_lite_bottleneck_skips_where_shapes_allow(stride: int, out: int, skip: bool, groups: int) -> None:
    lite = lively(LiteBottleneck(LiteConfig(16, out, stride), 8, groups))
    assert isinstance(lite, LiteBottleneck)
    x = image(8)
    y = conv_norm(lite.depthwise, x, kernel=3, stride=stride, groups=8)
    y = y if groups == 1 else shuffled(y, 8)
    y = conv_norm(lite.project, y.clamp(0, 6), groups=groups)
    torch.testing.assert_close(lite(x), x + y if skip else y)


@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("out", [8, 12])
def test_a_stride_1_row_skips_only_where_widths_are_equal(out: int, kernel: int, groups: int) -> None:
    mobile = lively(Mobile(BlockConfig(16, out, 1, kernel), 8, groups, RELU, 0))
    assert isinstance(mobile, Mobile)
    assert mobile.depthwise is not None
    x = image(8)
    y = shuffled(conv_norm(mobile.expand, x, groups=groups), groups).clamp(min=0)
    y = conv_norm(mobile.depthwise, y, kernel=kernel, groups=16).clamp(min=0)
    y = shuffled(conv_norm(mobile.project, y, groups=groups), groups)
    torch.testing.assert_close(mobile(x, None, None), x + y if out == 8 else y)


@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize(("exp", "tail"), [(8, 1), (24, 4)])
def test_a_stride_2_row_has_its_residual_around_the_second_half(exp: int, tail: int, kernel: int, groups: int) -> None:
    mobile = lively(MobileDown(BlockConfig(exp, 12, 2, kernel, tail=tail), 8, groups, RELU, 0))
    assert isinstance(mobile, MobileDown)
    x, wide = image(8, 7), 12 * tail
    half = conv_norm(mobile.depthwise1, x, kernel=kernel, stride=2, groups=8)
    half = shuffled(half, 8) if groups > 1 else half
    half = conv_norm(mobile.project1, half.clamp(min=0), groups=groups)
    y = conv_norm(mobile.depthwise2, half, kernel=kernel, groups=12)
    y = shuffled(y, 12) if groups > 1 and wide > 12 else y
    y = conv_norm(mobile.project2, y.clamp(min=0), groups=groups)
    assert half.shape == (2, 12, 4, 4)
    torch.testing.assert_close(mobile(x, None, None), half + y)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_two_activations_of_a_row_have_coefficients_of_their_own(stride: int) -> None:
    row = BlockConfig(16, 12, stride, tail=3)
    mobile = (MobileDown if stride == 2 else Mobile)(row, 8, 1, DyReLUConfig(), 32)
    assert mobile.act2 is not None
    channels = [act.channels for act in (mobile.act1, mobile.act2)]
    assert channels == ([16, 36] if stride == 2 else [16, 16])
    assert mobile.act1.expand is not mobile.act2.expand


def test_no_convolution_of_the_path_has_a_bias() -> None:
    for module in (Stem(4), LiteBottleneck(LiteConfig(8, 8, 1), 4, 1), Mobile(BlockConfig(16, 8), 8, 1, RELU, 0)):
        convolutions = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
        assert convolutions
        assert all(conv.bias is None for conv in convolutions)
