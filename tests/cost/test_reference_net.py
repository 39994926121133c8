import pytest
import torch
from torch import Tensor, nn

from mfsearch.cost.reference_net import MOBILENET_V3_LARGE, mobilenet_v3_large


def test_reference_has_the_published_parameters() -> None:
    # torchvision and timm, 1000 classes; the paper rounds to 5.4M
    assert sum(p.numel() for p in mobilenet_v3_large().parameters()) == 5_483_032


def test_other_class_counts_change_the_last_layer_alone() -> None:
    assert sum(p.numel() for p in mobilenet_v3_large(10).parameters()) == 5_483_032 - 990 * 1281


def test_reference_has_the_published_multiply_adds() -> None:
    model = mobilenet_v3_large().eval()
    madds = 0

    def count(layer: nn.Module, _: tuple[Tensor], output: Tensor) -> None:
        nonlocal madds
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        madds += output.numel() * layer.weight[0].numel()

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    with torch.no_grad():
        logits = model(torch.zeros(1, 3, 224, 224))
    assert logits.shape == (1, 1000)
    assert madds == 216_589_760  # the paper rounds to 219M; 217M as timm counts


def test_reference_has_the_published_layers() -> None:
    model = mobilenet_v3_large()
    convs = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    depthwise = [conv for conv in convs if conv.groups > 1]
    assert len(MOBILENET_V3_LARGE) == len(depthwise) == 15
    assert [conv.kernel_size[0] for conv in depthwise] == [3, 3, 3, 5, 5, 5, 3, 3, 3, 3, 3, 3, 5, 5, 5]
    assert [i + 1 for i, conv in enumerate(depthwise) if conv.stride == (2, 2)] == [2, 4, 7, 13]
    # eight squeezes, a quarter of the expansion in multiples of 8, in the order of the paper's table
    assert [conv.out_channels for conv in convs if conv.bias is not None][::2] == [24, 32, 32, 120, 168, 168, 240, 240]


@pytest.mark.parametrize("classes", [0, -1])
def test_a_network_without_classes_is_refused(classes: int) -> None:
    with pytest.raises(ValueError, match=f"classes must be at least 1, got {classes}"):
        mobilenet_v3_large(classes)
