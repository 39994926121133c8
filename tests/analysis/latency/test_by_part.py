"""Costs by part and block: the columns sum to the whole, and predictions come from the study's own measurements."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mfsearch.analysis.figures.network_bars import BAR_METRICS, LOOKS, PREDICTED, draw_parts, part_bars
from mfsearch.analysis.front.compare import row_names
from mfsearch.analysis.latency.by_part import PARTS, fit_study, part_costs, predicted_parts, rates_line
from mfsearch.cost.latency_model import RATES, Prediction, count_work, unmeasured
from mfsearch.cost.madds import count_costs
from mfsearch.presets import MF_52M, MF_151M, PRESETS
from mfsearch.study.frame import study_frame
from mfsearch.study.trial import Trial
from tests.analysis.rows import changed, failed, row
from tests.random_configs import random_config

MEASURED = Path(__file__).parents[3] / "results" / "reference" / "latency" / "measured.json"
CONFIGS = [*PRESETS.values(), *(random_config(seed) for seed in range(60))]


def made_up_ms(config: object) -> float:
    """Milliseconds of a device whose rates are half of those built in."""
    return float(count_work(config) @ np.array(list(RATES.values()))) * 1e-6 / 2  # type: ignore[arg-type]


def timed_rows(count: int) -> list[Trial]:
    configs = [random_config(seed) for seed in range(count)]
    return [row(k, config=config.to_dict(), latency_ms=made_up_ms(config)) for k, config in enumerate(configs)]


def timed(count: int) -> pd.DataFrame:
    return study_frame(timed_rows(count))


def test_costs_by_part_and_block_sum_to_the_whole() -> None:
    rates = unmeasured()
    for config in CONFIGS:
        table, costs = part_costs(config, rates), count_costs(config)
        assert table["madds"].sum() == costs.madds
        assert table["macs"].sum() == costs.macs
        assert table["num_params"].sum() == costs.num_params
        (whole,) = rates.predict(count_work(config)[None])
        assert table["predicted_ms"].sum() == pytest.approx(whole.latency_ms)
        assert set(table["place"]) >= set(row_names(config))
        assert not table.duplicated(["place", "part"]).any()
        assert set(table["part"]) <= set(PARTS)


def test_costs_without_rates_have_no_milliseconds() -> None:
    table = part_costs(MF_52M)
    assert table["predicted_ms"].isna().all()
    assert "run" not in set(table["place"])


def test_a_place_and_its_part_are_those_of_the_closed_form() -> None:
    table = part_costs(MF_151M).set_index(["place", "part"])
    parts = {(one.where, one.part): one for one in count_costs(MF_151M).parts}
    assert table.loc[("s5_2", "dyrelu"), "num_params"] == parts["10", "dyrelu"].num_params
    assert table.loc[("s2_down", "to_former"), "madds"] == parts["0", "to_former"].madds
    assert table.loc[("tokens", "former"), "num_params"] == 6 * 192


def test_the_parts_predicted_sum_to_the_whole() -> None:
    for config in CONFIGS[:20]:
        found = predicted_parts(config, unmeasured())
        (whole,) = unmeasured().predict(count_work(config)[None])
        assert sum(one.latency_ms for one in found.values()) == pytest.approx(whole.latency_ms)
        assert all(0 < one.low_ms < one.latency_ms < one.high_ms for one in found.values())


def test_rates_come_from_eight_measured_networks_or_more() -> None:
    assert fit_study(timed(7)) is None
    found = fit_study(timed(12))
    assert found is not None
    assert (found.measured, found.accuracy.networks) == (12, 12)
    for seed in (100, 101, 102):
        config = random_config(seed)
        assert found.predict(config).latency_ms == pytest.approx(made_up_ms(config), rel=0.15)


@pytest.mark.parametrize("rows", [[], failed(9), [row(0)], [row(k, latency_ms=float("nan")) for k in range(9)]])
def test_studies_that_measured_nothing_predict_nothing(rows: list[Trial]) -> None:
    assert fit_study(study_frame(rows)) is None


def test_unreadable_configs_and_impossible_latencies_are_left_out() -> None:
    rows = timed_rows(10)
    rows[0], rows[1] = changed(rows[0], latency_ms=0.0), changed(rows[1], config={"name": "made up"})
    found = fit_study(study_frame(rows))
    assert found is not None
    assert found.measured == 8


def test_the_line_says_what_predictions_rest_on() -> None:
    assert rates_line(None, 3).endswith("8 are needed, this study has 3.")
    assert rates_line(None, 10).endswith("8 are needed, this study has 10, not all of them readable.")
    found = fit_study(timed(12))
    assert found is not None
    line = rates_line(found, 12)
    assert "12 networks that this study measured" in line
    assert f"median error of {found.accuracy.median_error:.1%}".replace("%", " %") in line


def test_a_measured_device_tells_more_of_the_whole_than_of_its_parts() -> None:
    """The 40 networks that were measured to judge the predictor: the whole within 20 %, a part less sure."""
    measured = [one for one in json.loads(MEASURED.read_text())["networks"] if one["group"] == "spread"]
    rows = [
        row(k, config=one["config"], latency_ms=float(np.median(one["ms"]["blocked"])))
        for k, one in enumerate(measured)
    ]
    found = fit_study(study_frame(rows))
    assert found is not None
    assert found.accuracy.within > 0.7
    whole = found.predict(MF_151M)
    spread = whole.high_ms / whole.low_ms
    parts = predicted_parts(MF_151M, found.rates)
    assert all(one.high_ms / one.low_ms > spread for one in parts.values())


# --- the figure


@pytest.mark.parametrize("metric", BAR_METRICS)
def test_bars_hold_each_cost_once_in_the_units_of_the_axis(metric: str) -> None:
    config = MF_151M
    costs, predicted = part_costs(config, unmeasured()), predicted_parts(config, unmeasured())
    bars = part_bars(costs, metric, predicted)
    scale = {"madds": 1e-6, "num_params": 1e-6, PREDICTED: 1.0}[metric]
    assert sum(bar.total for bar in bars.parts) == pytest.approx(costs[metric].sum() * scale)
    for bar in bars.parts:
        assert len(bar.values) == len(bars.places)
        assert sum(bar.values) == pytest.approx(bar.total)
        assert np.isnan(bar.low) == (metric != PREDICTED)
    assert [bar.part for bar in bars.parts] == [part for part in PARTS if part in {bar.part for bar in bars.parts}]
    assert ("tokens" in bars.places) == (metric == "num_params")
    assert ("run" in bars.places) == (metric == PREDICTED)
    at = bars.places.index("s5_2")
    dyrelu = next(bar for bar in bars.parts if bar.part == "dyrelu")
    cell = costs[(costs["place"] == "s5_2") & (costs["part"] == "dyrelu")][metric].item()
    assert dyrelu.values[at] == pytest.approx(cell * scale)


def test_the_places_stand_in_the_order_of_the_forward_pass() -> None:
    bars = part_bars(part_costs(MF_151M), "madds")
    assert bars.places == ["stem", "lite", *row_names(MF_151M), "final", "head"]


def test_the_figure_tells_parts_by_pattern_too_and_has_units() -> None:
    config = dataclasses.replace(MF_52M, resolution=64, classes=10)
    found = {
        part: Prediction(one.latency_ms, one.low_ms, one.high_ms)
        for part, one in predicted_parts(config, unmeasured()).items()
    }
    for metric in BAR_METRICS:
        figure = draw_parts(part_bars(part_costs(config, unmeasured()), metric, found))
        assert figure.layout.xaxis.title.text.endswith("by part")
        assert "(M)" in figure.layout.xaxis2.title.text or "(ms)" in figure.layout.xaxis2.title.text
    assert len({colour for colour, _ in LOOKS.values()}) == len({shape for _, shape in LOOKS.values()}) == len(PARTS)


def test_an_unknown_metric_is_named() -> None:
    with pytest.raises(ValueError, match="metric must be one of madds"):
        part_bars(part_costs(MF_52M), "top1")
