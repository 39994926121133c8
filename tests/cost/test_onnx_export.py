import math
import warnings
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

from mfsearch.cost.onnx_export import ExportError, count_nodes, export_onnx


class Moody(nn.Module):
    """Trains and evaluates differently, and checks its input in Python as real networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.linear = nn.Linear(4, 5)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if x_BCHW.sum() > 1e6:
            raise ValueError("the image must be normalised")
        z_BC = self.drop(torch.relu(self.norm(self.conv(x_BCHW)))).mean((2, 3))
        logits_BK: Tensor = self.linear(z_BC)
        return logits_BK


class Frozen(nn.Module):
    """Computes in ONNX what it computed when it was traced: another number on every call in torch."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x_BCHW: Tensor) -> Tensor:
        self.calls += 1
        return x_BCHW.mean((2, 3)) + self.calls


def test_export_agrees_with_torch_and_has_the_promised_interface(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    assert export_onnx(Moody(), 8, path) < 1e-5
    graph = onnx.load(path).graph
    shapes = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in graph.input}
    assert shapes == {"image": [1, 3, 8, 8]}
    assert [value.name for value in graph.output] == ["logits"]
    assert [d.dim_value for d in graph.output[0].type.tensor_type.shape.dim] == [1, 5]


def test_a_batch_is_part_of_the_static_shape(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    assert export_onnx(Moody(), 8, path, batch=3) < 1e-5
    graph = onnx.load(path).graph
    assert [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim] == [3, 3, 8, 8]
    assert [d.dim_value for d in graph.output[0].type.tensor_type.shape.dim] == [3, 5]
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]  # one file, nothing left behind


def test_export_leaves_the_model_and_the_global_state_alone(tmp_path: Path) -> None:
    model = Moody().train()
    model.norm.eval()  # a mixed mode, as when BatchNorm is frozen
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    filters = list(warnings.filters)
    export_onnx(model, 8, tmp_path / "net.onnx")
    assert torch.equal(torch.rand(1), expected)
    assert warnings.filters == filters
    assert [module.training for module in model.modules()] == [True, True, False, True, True]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_export_is_fp32_whatever_the_model_is(tmp_path: Path) -> None:
    model = Moody().double()
    assert export_onnx(model, 8, tmp_path / "net.onnx") < 1e-5
    assert next(model.parameters()).dtype == torch.float64


def test_a_network_that_onnx_computes_differently_is_refused_with_the_figure(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_text("the file of yesterday")
    with pytest.raises(ExportError, match=r"within 0.0001 of the largest logit, got 0\.\d+ for Frozen at 8 px"):
        export_onnx(Frozen(), 8, path)
    assert path.read_text() == "the file of yesterday"
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]


def test_without_check_nothing_is_compared(tmp_path: Path) -> None:
    assert math.isnan(export_onnx(Frozen(), 8, tmp_path / "net.onnx", check=False))


@pytest.mark.parametrize("fill", [math.nan, math.inf])
def test_logits_that_are_not_finite_are_refused(tmp_path: Path, fill: float) -> None:
    model = Moody()
    nn.init.constant_(model.linear.bias, fill)
    with pytest.raises(ExportError, match="got inf"):
        export_onnx(model, 8, tmp_path / "net.onnx")


def test_logits_of_zero_agree(tmp_path: Path) -> None:
    model = Moody()
    nn.init.zeros_(model.linear.weight)
    nn.init.zeros_(model.linear.bias)
    assert export_onnx(model, 8, tmp_path / "net.onnx") == 0.0


def test_wrong_arguments_name_the_value(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="batch must be at least 1 image, got 0"):
        export_onnx(Moody(), 8, tmp_path / "net.onnx", batch=0)
    with pytest.raises(ValueError, match="resolution must be at least 1 pixel, got 0"):
        export_onnx(Moody(), 0, tmp_path / "net.onnx")
    with pytest.raises(ValueError, match=r"existing folder, got .*absent.net\.onnx"):
        export_onnx(Moody(), 8, tmp_path / "absent" / "net.onnx")


def test_count_nodes_counts_operators(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Flatten())
    export_onnx(model, 2, tmp_path / "net.onnx")
    assert count_nodes(tmp_path / "net.onnx") == {"Conv": 2, "Relu": 2, "Flatten": 1}


def test_batchnorm_is_folded_and_layernorm_is_one_node(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.LayerNorm(16))
    export_onnx(model, 2, tmp_path / "net.onnx")
    assert count_nodes(tmp_path / "net.onnx") == {"Conv": 1, "Flatten": 1, "LayerNormalization": 1}
