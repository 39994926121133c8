import importlib.util
import json

import pytest

from mfsearch.cli import main
from mfsearch.cost.madds import count_costs
from mfsearch.presets import PRESETS
from mfsearch.references import PUBLISHED, Reference
from mfsearch.train.parts import import_timm


def named(family: str, model: str) -> Reference:
    (found,) = [row for row in PUBLISHED if (row.family, row.model) == (family, model)]
    return found


def test_figures_are_in_base_units_and_possible() -> None:
    assert len({row.name for row in PUBLISHED}) == len(PUBLISHED) == 7 + 35 + 8
    for row in PUBLISHED:
        assert 0.6 < row.top1 < 0.82, row
        assert 20e6 < row.madds < 2e9, row
        assert row.num_params is None or 1e6 < row.num_params < 20e6, row
        assert row.resolution in (160, 224, 256, None), row
    assert {row.resolution for row in PUBLISHED if "160 px" in row.model} == {160}


def test_rows_as_their_sources_print_them() -> None:
    """arXiv:2108.05895: EfficientNet-B0 5.3M, 390M, 77.1; Mobile-Former-294M 11.4M, 294M, 77.9."""
    assert named("EfficientNet", "B0")[2:6] == (5_300_000, 390_000_000, 0.771, 224)
    assert named("Mobile-Former", "294M")[2:6] == (11_400_000, 294_000_000, 0.779, 224)
    assert named("AlphaNet", "A0").top1 == 0.7787


def test_the_published_mobile_formers_are_the_presets() -> None:
    """Parameters to the digit that the paper prints, multiply-adds within one percent."""
    own = {row.preset: row for row in PUBLISHED if row.preset is not None}
    assert list(own) == list(PRESETS)
    for name, row in own.items():
        costs = count_costs(PRESETS[name])
        assert row.num_params == round(costs.num_params, -5), name
        assert abs(costs.madds / row.madds - 1) < 0.01, name
        assert row.verified


def test_what_was_verified_is_kept_apart_for_accuracy_and_each_cost() -> None:
    small = named("MobileNetV3", "Small 1.0")
    assert (small.verified_top1, small.verified_cost, small.verified) == (True, False, False)
    pvt = named("PVT", "Tiny")
    assert (pvt.verified_top1, pvt.verified_madds, pvt.verified_params, pvt.verified_cost) == (True, False, True, False)
    levit = named("LeViT", "128S")
    assert (levit.verified_madds, levit.verified_params, levit.verified_cost) == (True, False, False)
    assert named("OFA", "230M").verified  # no parameters are given, so none lack a source
    assert not named("DeiT", "Tiny").verified_top1


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
def test_timm_knows_the_names() -> None:
    timm = import_timm()
    assert [row for row in PUBLISHED if row.timm is not None and not timm.is_model(row.timm)] == []


def test_the_command_marks_what_is_unverified_and_shows_the_exact_costs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["references"]) == 0
    lines = {line[:34].strip(): line for line in capsys.readouterr().out.splitlines()}
    assert "3.233, 26.05" in lines["Mobile-Former 26M"]
    assert "?" not in lines["Mobile-Former 26M"]
    assert lines["DeiT Tiny"].count("?") == 3
    assert main(["references", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == len(PUBLISHED)
    assert rows[0]["built"]["num_params"] == count_costs(PRESETS["mf-26m"]).num_params
    assert rows[-1]["built"] is None
