import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from mfsearch.cost.onnx_export import count_nodes, export_onnx
from mfsearch.cost.quantize import agreement, logits_of, write_int8


def images(count: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, 3, 16, 16), dtype=np.float32)


@pytest.fixture(scope="module")
def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5))


def test_int8_answers_nearly_as_fp32(small: nn.Module, tmp_path: Path) -> None:
    fp32, int8 = tmp_path / "fp32.onnx", tmp_path / "int8.onnx"
    export_onnx(small, 16, fp32)
    write_int8(fp32, int8, images(16))
    nodes = count_nodes(int8)
    assert nodes["QuantizeLinear"] >= 2  # the input of the convolution and that of the linear layer
    assert nodes["DequantizeLinear"] > nodes["QuantizeLinear"]  # the weights as well
    expected_NK, found_NK = logits_of(fp32, images(16)), logits_of(int8, images(16))
    assert expected_NK.shape == found_NK.shape == (16, 5)
    found = agreement(expected_NK, found_NK)
    assert found.images == 16
    assert 0 < found.largest_deviation < 0.03  # a step is 1/255 of a range
    assert logging.getLogger().level == logging.WARNING  # as it was


def test_a_batch_is_calibrated_on_batches(small: nn.Module, tmp_path: Path) -> None:
    fp32, int8 = tmp_path / "fp32.onnx", tmp_path / "int8.onnx"
    export_onnx(small, 16, fp32, batch=4)
    write_int8(fp32, int8, images(7))  # one batch and a rest
    assert count_nodes(int8)["QuantizeLinear"] >= 2
    with pytest.raises(ValueError, match="int8 calibration needs at least 4 images, one batch, got 3"):
        write_int8(fp32, int8, images(3))


def test_agreement_is_that_worked_by_hand() -> None:
    fp32_NK = np.array([[1, 2, 0], [3, 1, 0], [-4, 0, 1], [0, 0, 2]], dtype=np.float32)
    int8_NK = np.array([[1, 2, 0], [3, 1, 0], [-4, 2, 1], [0, 0, 1]], dtype=np.float32)
    assert agreement(fp32_NK, int8_NK) == (4, 0.75, 0.5)  # the third changes its class, by 2 of 4
    zeros = np.zeros((1, 2), dtype=np.float32)
    assert agreement(zeros, zeros).largest_deviation == 0
    assert agreement(zeros, zeros + 1).largest_deviation == math.inf


def test_no_sum_of_two_products_overflows(small: nn.Module, tmp_path: Path) -> None:
    """x86 without VNNI adds two products of uint8 and int8 in 16 bits: 2 x 255 x 64 is 32,640, of 32,767 at most."""
    fp32, int8 = tmp_path / "fp32.onnx", tmp_path / "int8.onnx"
    export_onnx(small, 16, fp32)
    write_int8(fp32, int8, images(4))
    tensors = {one.name: onnx.numpy_helper.to_array(one) for one in onnx.load(int8).graph.initializer}
    weights = [value for value in tensors.values() if value.dtype == np.int8 and value.ndim > 1]
    assert len(weights) == 2
    assert [int(np.abs(value.astype(int)).max()) for value in weights] == [64, 64]


def test_what_others_log_meanwhile_is_theirs(
    small: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The quantiser advises on the root logger, which may have no handler: it has none afterwards either."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    fp32 = tmp_path / "fp32.onnx"
    export_onnx(small, 16, fp32)

    class Talking(np.ndarray):
        """Images that log a line when a batch of them is taken."""

        def __getitem__(self, key: Any) -> Any:
            logging.getLogger("another").warning("of another library")
            return np.asarray(super().__getitem__(key))

    write_int8(fp32, tmp_path / "int8.onnx", images(1).view(Talking))
    assert (root.handlers, root.filters, root.level) == ([], [], logging.WARNING)
    assert capsys.readouterr().err == "of another library\n"
