"""Networks of other families: built, counted, fused, exported. Truth is what their papers and releases print."""

import dataclasses
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from mfsearch.analysis.latency.reference_figures import MUCH, reference_figures
from mfsearch.cost.judge import UNCOUNTED, judge_madds
from mfsearch.cost.onnx_export import export_onnx
from mfsearch.proxy.recipe import default_recipe
from mfsearch.proxy.short_train import TrainingError, build_proxy
from mfsearch.references import PUBLISHED, Reference, find_references
from mfsearch.references.build import build_reference, build_to_train
from mfsearch.references.counts import COUNTS, UNCOUNTED_ELSEWHERE
from mfsearch.references.libraries import import_library

pytestmark = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
ELSEWHERE = [row for row in PUBLISHED if row.built_elsewhere]
# Each that is written in this package, once
WRITTEN = ["WeightNet ShuffleNetV2 1.0, 4x", "T2T-ViT 7", "PVT Tiny", "ViT_C 1GF", "Swin 1G"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def named(name: str) -> Reference:
    (row,) = [row for row in PUBLISHED if row.name == name]
    return row


def test_every_row_of_a_fixed_table_is_built_with_the_published_parameters() -> None:
    """Within 2 %; ConViT's paper prints 6 M, a whole number. The committed counts are of these networks."""
    assert len(ELSEWHERE) == 35
    assert [row.name for row in ELSEWHERE] == list(COUNTS)
    for row in ELSEWHERE:
        with torch.device("meta"):
            num_params = sum(each.numel() for each in build_reference(row).parameters())
        assert num_params == COUNTS[row.name].num_params, row.name
        assert row.num_params is not None
        near = abs(num_params / row.num_params - 1) <= 0.02
        assert near or (row.name == "ConViT Tiny" and round(num_params / 1e6) == 6), row.name


def test_a_count_far_from_the_published_one_is_explained_in_its_row() -> None:
    far = {}
    for each in reference_figures(ELSEWHERE, Path("nowhere")):
        assert each.counts is not None
        if abs(each.counts.madds / each.reference.madds - 1) > MUCH:
            assert each.note, each.reference.name
            far[each.reference.name] = each.note
        if each.counts.timm_gmacs is not None:  # printed with two digits
            assert each.counts.madds / 1e9 == pytest.approx(each.counts.timm_gmacs, abs=0.0051), each.reference.name
    assert far["MobileNetV3 Large 1.0"] == "products alone 216.6"
    assert "7.3 M" in far["Swin 1G"]


@pytest.mark.parametrize("name", ["MobileNetV3 Small 1.0, 160 px", "LeViT 128S", *WRITTEN])
def test_the_committed_counts_are_fvcores(name: str) -> None:
    """Attention's products are counted: DeiT's two of 197 tokens are 2 * 12 * 197**2 * 192 = 179M of 1,258M."""
    row = named(name)
    assert row.resolution is not None
    judged = judge_madds(build_reference(row), row.resolution, UNCOUNTED | UNCOUNTED_ELSEWHERE)
    assert (judged.madds, judged.macs) == (COUNTS[name].madds, COUNTS[name].macs)
    assert set(judged.uncounted) <= UNCOUNTED | UNCOUNTED_ELSEWHERE


def test_attention_of_timm_is_counted() -> None:
    """12 blocks with two products of 197 tokens by 192 channels: fvcore counts nothing of torch's fused attention."""
    judged = judge_madds(build_reference(named("DeiT Tiny")), 224, UNCOUNTED | UNCOUNTED_ELSEWHERE)
    assert judged.by_operator["matmul"] == 12 * 2 * 197**2 * 192


@pytest.mark.parametrize("name", ["RepViT M0.9", "LeViT 128S", "FastViT T8"])
def test_a_re_parameterised_network_is_fused_and_computes_the_same(name: str) -> None:
    row = named(name)
    sized = {"img_size": 64} if row.family == "LeViT" else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        plain = import_library("timm").create_model(row.timm, **sized).eval()
    fused = build_reference(row, 64)
    norms = [
        sum(isinstance(each, nn.BatchNorm2d | nn.BatchNorm1d) for each in model.modules()) for model in (plain, fused)
    ]
    assert norms[1] <= norms[0] / 4
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(fused(image), plain(image), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", [*WRITTEN, "LeViT 128S", "EdgeNeXt XX-Small", "CPUBone Nano"])
def test_onnx_runtime_computes_what_torch_does(name: str, tmp_path: Path) -> None:
    """export_onnx raises above 1e-4; all networks with lively weights: benchmarks/reference_counts.py."""
    assert export_onnx(build_reference(named(name), 64), 64, tmp_path / "model.onnx") <= 1e-4


def test_a_size_that_a_network_cannot_take_is_named() -> None:
    with pytest.raises(ValueError, match="PVT Tiny cannot take images of 100 px: sides are multiples of 32"):
        build_reference(named("PVT Tiny"), 100)
    with pytest.raises(ValueError, match="OFA 151M cannot be built: the input side is searched"):
        build_reference(find_references(["OFA 151M"])[0])


def test_weightnet_gives_each_image_of_a_batch_its_own_weights() -> None:
    model = build_reference(named(WRITTEN[0]))
    images = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        one_by_one = torch.cat([model(image[None]) for image in images])
        assert one_by_one.std(0).max() > 0
        torch.testing.assert_close(model(images), one_by_one, rtol=1e-4, atol=1e-5)


def test_building_draws_nothing_from_the_global_generator() -> None:
    before = torch.get_rng_state()
    first, second = (build_reference(named("ViT_C 1GF"), 64).state_dict() for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_every_network_can_be_trained_on_small_images_with_few_classes() -> None:
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    for row in ELSEWHERE:
        model = build_to_train(row, 64, 5, seed=0)
        assert model.training
        with torch.no_grad():
            assert model(images).shape == (2, 5), row.name


def test_a_size_that_a_network_cannot_be_trained_at_is_a_failed_training() -> None:
    images = default_recipe("digits").load_images("digits", data_dir=None, seed=0)
    small = dataclasses.replace(images, train_images=images.train_images[:, :, :30, :30])
    with pytest.raises(TrainingError, match="PVT Tiny cannot take images of 30 px"):
        build_proxy(named("PVT Tiny"), small, 0)
