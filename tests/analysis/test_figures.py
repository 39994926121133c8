import math
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest

from mfsearch.analysis.figures.curves import curve_lines, draw_curves, draw_progress, progress_points
from mfsearch.analysis.figures.latency_bars import SizePoint, draw_resolutions, resolution_lines
from mfsearch.analysis.figures.style import GREY, figure_html, finish, hover_html
from mfsearch.analysis.figures.tradeoff import (
    CELLS,
    COSTS,
    Brush,
    draw_published,
    draw_space,
    draw_tradeoff,
    measured_marks,
    tradeoff_points,
)
from mfsearch.analysis.front.cut import pareto_front
from mfsearch.analysis.latency.kept_latency import append_lines, read_kept
from mfsearch.analysis.metrics import label, ranked_trials, with_confidence
from mfsearch.study.frame import study_frame
from mfsearch.study.trial import Trial
from tests.analysis.latency.test_kept_latency import line
from tests.analysis.rows import MARKUP, changed, failed, kept_parent, longer_study, point, row, study

EMPTY = pytest.mark.parametrize("rows", [[], failed(3), [row(0, None)]], ids=["empty", "failed", "no top1"])


@EMPTY
@pytest.mark.parametrize("cost", COSTS)
def test_nothing_trained_gives_no_points_and_still_draws(rows: list[Trial], cost: str) -> None:
    points = tradeoff_points(study_frame(rows), cost, ["top1", "madds"], {"madds": 1e8})
    assert len(points.dominated.numbers) == 0
    assert not points.front
    assert not points.steps
    draw_tradeoff(points)
    assert progress_points(study_frame(rows)).best == []
    draw_progress(progress_points(study_frame(rows)))


@pytest.mark.parametrize("cost", COSTS)
def test_one_point_is_the_front(cost: str) -> None:
    points = tradeoff_points(study_frame([row(3, latency_ms=5.0)]), cost, ["top1", "madds"])
    assert [point.number for point in points.front] == [3]
    draw_tradeoff(points)


def test_points_are_in_the_units_of_the_axes() -> None:
    timed = {"latency_ms": 5.0, "latency_low_ms": 4.9, "latency_high_ms": 5.2}
    frame = study_frame([row(0, 0.61, 149_800_000, **timed)])
    (point,) = tradeoff_points(frame, "madds", ["top1", "madds"]).front
    assert (point.cost, point.top1) == pytest.approx((149.8, 61.0))
    (point,) = tradeoff_points(frame, "latency_ms", ["top1", "madds"]).front
    assert (point.cost_low, point.cost, point.cost_high) == (4.9, 5.0, 5.2)


def test_trials_fall_into_front_dominated_beyond_and_rejected() -> None:
    rows = [
        row(0, 0.50, 100_000_000),
        row(1, 0.55, 120_000_000),
        row(2, 0.60, 160_000_000),  # over the limit
        row(3, 0.52, 110_000_000, origin="preset mf-96m"),
        row(4, 0.51, 170_000_000, origin="fitted mf-52m"),
        row(5, None, 130_000_000, outcome="rejected", reason="too slow"),
        row(6, None, 130_000_000, outcome="failed"),
        row(7, 0.45, 115_000_000),
    ]
    points = tradeoff_points(study_frame(rows), "madds", ["top1", "madds"], {"madds": 150e6})
    assert points.dominated.numbers.tolist() == [7]
    assert [(point.number, point.name) for point in points.published] == [(3, "mf-96m"), (4, "mf-52m fitted")]
    assert points.beyond.numbers.tolist() == [2, 4]
    assert [point.number for point in points.front] == [0, 3, 1]
    assert [(number, cost) for number, cost, _ in points.rejected] == [(5, 130.0)]
    assert np.allclose(points.steps[""], [(100, 50), (110, 52), (120, 55)])
    assert points.limit == 150.0


@pytest.mark.parametrize("seed", range(12))
def test_feasible_sets_and_fronts_of_random_studies_equal_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = ("madds", "latency_ms", "num_params", "activation_bytes")
    rows = []
    for number in range(int(rng.integers(1, 40))):
        # few values, so that ties are common; some trials lack a latency or were never trained
        costs = {name: int(value) for name, value in zip(names, rng.integers(1, 9, 4), strict=True)}
        lost: dict[str, object] = {"outcome": "rejected", "top1": None, "curve": []} if rng.random() < 0.1 else {}
        gap = {"latency_ms": None} if rng.random() < 0.1 else {}
        rows.append(changed(row(number, float(rng.integers(1, 9)) / 10), **{**costs, **gap, **lost}))
    limits = {name: float(rng.integers(3, 9)) for name in names if rng.random() < 0.7}
    objectives = ["top1", "madds", "latency_ms"][: int(rng.integers(2, 4))]

    def value(trial: Trial, name: str) -> float:
        known = trial.metric(name)
        return math.inf if math.isnan(known) else known * (-1 if name == "top1" else 1)

    drawn = [trial for trial in rows if trial.top1 is not None]
    inside = [trial for trial in drawn if all(value(trial, name) <= limit for name, limit in limits.items())]
    able = [trial for trial in inside if all(value(trial, name) < math.inf for name in objectives)]
    front = {
        trial.number
        for trial in able
        if not any(
            all(value(other, name) <= value(trial, name) for name in objectives)
            and any(value(other, name) < value(trial, name) for name in objectives)
            for other in able
        )
    }
    points = tradeoff_points(study_frame(rows), "madds", objectives, limits)
    assert {point.number for point in points.front} == front
    assert set(points.dominated.numbers.tolist()) == {trial.number for trial in inside} - front
    assert set(points.beyond.numbers.tolist()) == {t.number for t in drawn} - {t.number for t in inside}


def test_with_three_objectives_a_fast_trial_is_on_the_front_below_the_staircase() -> None:
    rows = [row(0, 0.6, 100, latency_ms=9.0), row(1, 0.5, 100, latency_ms=2.0), row(2, 0.4, 100, latency_ms=9.0)]
    points = tradeoff_points(study_frame(rows), "madds", ["top1", "madds", "latency_ms"])
    assert [point.number for point in points.front] == [0, 1]
    assert len(points.steps[""]) == 1


def test_a_limit_on_the_other_cost_cuts_the_front_too_but_draws_no_line() -> None:
    rows = [row(0, 0.5, 100, latency_ms=5.0), row(1, 0.6, 110, latency_ms=9.0)]
    points = tradeoff_points(study_frame(rows), "madds", ["top1", "madds"], {"latency_ms": 6.0})
    assert [point.number for point in points.front] == [0]
    assert points.beyond.numbers.tolist() == [1]
    assert points.limit is None


def test_an_unknown_cost_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(ValueError, match="madds, latency_ms, num_params"):
        tradeoff_points(study_frame([row(0)]), "seconds", ["top1"])


@pytest.mark.parametrize("cost", COSTS)
def test_drawn_points_carry_trial_numbers_and_rejected_ones_wait_in_the_legend(cost: str) -> None:
    frame = study_frame(study())
    points = tradeoff_points(frame, cost, ["top1", "madds", "latency_ms"], {"madds": 110e6})
    figure = draw_tradeoff(points, chosen=3)
    traces = {trace.name: trace for trace in figure.data}
    assert list(traces["dominated"].customdata) == points.dominated.numbers.tolist()
    assert list(traces["front"].customdata) == [point.number for point in points.front]
    assert list(traces["trial 3"].customdata) == [3]
    assert traces["rejected"].visible == "legendonly"
    assert traces["best top-1"].line.shape == "hv"
    assert figure.layout.xaxis.title.text == label(cost)
    assert figure.layout.yaxis.title.text == "Top-1 (%)"


def test_hover_tells_number_origin_metrics_and_knobs() -> None:
    (ranked,) = ranked_trials(study_frame([row(17, 0.613, 149_800_000, latency_ms=7.5)]))
    text = hover_html(ranked, ["tokens.count"])
    for part in ("trial 17", "tpe", "Top-1 61.3 %", "Multiply-adds 149.8 M", "Latency 7.50 ms", "tokens.count = 6"):
        assert part in text


def test_texts_of_a_study_do_not_become_markup() -> None:
    rows = [
        row(n, 0.5 + n / 100, 100 + n, origin=f"preset {MARKUP}", params={MARKUP: MARKUP + str(n)}) for n in range(3)
    ]
    rows.append(row(3, None, outcome="rejected", reason=MARKUP))
    frame = study_frame(rows)
    figures = [
        draw_tradeoff(tradeoff_points(frame, "madds", ["top1", "madds"])),
        draw_progress(progress_points(frame)),
        draw_curves(curve_lines(frame)),
    ]
    for figure in figures:
        assert "&lt;img" in str(figure.to_dict())
        assert "<img" not in str(figure.to_dict())
        assert "<img" not in figure_html(figure, "name")


def test_best_so_far_only_rises_and_knows_the_limits() -> None:
    tops = (0.5, 0.4, 0.9, 0.625, 0.6)
    rows = [row(number, top1, 300 if number == 2 else 100) for number, top1 in enumerate(tops)]
    progress = progress_points(study_frame(rows), {"madds": 200})
    assert progress.best == [(0, 50.0), (1, 50.0), (3, 62.5), (4, 62.5)]


def test_curves_skip_trials_without_one_and_keep_gaps() -> None:
    gap = [point(1, math.nan, 2.5), point(2, 0.5, 2.0)]
    lines = curve_lines(study_frame([row(0, curve=[]), row(1, curve=None), row(2, curve=gap, origin="preset mf-52m")]))
    assert [(line.number, line.name) for line in lines] == [(2, "mf-52m")]
    assert lines[0].epochs == [1.0, 2.0]
    assert math.isnan(lines[0].top1[0])
    assert lines[0].top1[1] == 50.0
    assert lines[0].loss == [2.5, 2.0]
    assert [axis.title.text for axis in draw_curves(lines).select_yaxes()] == ["Top-1 (%)", "Training loss (nats)"]


def test_of_thousands_of_trials_the_density_is_drawn_and_each_tells_its_metrics() -> None:
    rows = [row(number, 0.9 - number / 1e5, 100_000_000 + number) for number in range(3000)]
    rows[2000] = row(2000, 0.9 - 1999 / 1e5, 100_000_000 + 1999)  # two in one place
    frame = study_frame(rows)
    points = tradeoff_points(frame, "madds", ["top1", "madds"])
    assert points.dominated.hovers is None
    density, cloud = [trace for trace in draw_tradeoff(points).data if trace.name == "dominated"]
    assert (density.type, cloud.type, cloud.marker.maxdisplayed) == ("heatmap", "scatter", 1)
    assert density.legendgroup == cloud.legendgroup
    at = (points.dominated.cost.astype(np.float64), points.dominated.top1.astype(np.float64))
    counts, x, y = np.histogram2d(*at, bins=CELLS)
    assert np.array_equal(density.z > 0, counts.T > 0)
    assert density.z[counts.max() == counts.T].tolist() == [255] * int((counts == counts.max()).sum())
    assert density.x0 - density.dx / 2 == pytest.approx(x[0])
    assert density.y0 + (len(density.z) - 0.5) * density.dy == pytest.approx(y[-1])
    assert density.colorscale[0][1].endswith(" 0.00)")  # where there is no trial, nothing is drawn
    assert cloud.customdata[5][0] == points.dominated.numbers[5] == 6
    assert cloud.customdata[5][1] == pytest.approx(100.000006)
    assert np.isnan(cloud.customdata[5][2])


def test_the_density_stays_within_bounds_where_all_lie_in_one_place_or_one_lies_nowhere() -> None:
    rows = [row(number, 0.5, 100_000_000, latency_ms=5.0) for number in range(1500)]
    rows.append(row(1500, 0.9, 90_000_000, latency_ms=4.0))
    rows[7] = changed(rows[7], latency_ms=math.inf)
    for cost in ("madds", "latency_ms"):
        points = tradeoff_points(study_frame(rows), cost, ["top1", "madds"])
        (density,) = [trace for trace in draw_tradeoff(points).data if trace.type == "heatmap"]
        assert sorted(np.unique(density.z).tolist()) == [0, 255]
        assert int((density.z == 255).sum()) == 1


def test_a_front_given_serves_where_all_its_members_have_the_cost() -> None:
    rows = [row(0, 0.50, 100_000_000, latency_ms=5.0), row(1, 0.55, 90_000_000), row(2, 0.40, 95_000_000)]
    rows[2] = changed(rows[2], latency_ms=4.0)
    frame = study_frame(rows)
    front = pareto_front(frame, ["top1", "madds"])
    assert front["number"].tolist() == [1]
    by_madds, by_latency = (
        tradeoff_points(frame, cost, ["top1", "madds"], front=front) for cost in ("madds", "latency_ms")
    )
    assert [point.number for point in by_madds.front] == [1]
    assert [point.number for point in by_latency.front] == [2, 0]


def test_every_figure_keeps_room_for_its_ticks() -> None:
    figure = finish(go.Figure(go.Scatter(x=[1], y=[1])), 300)
    for axis in ("xaxis", "yaxis"):
        assert figure.layout[axis].automargin is True
    assert figure.layout.template.layout.autotypenumbers == "strict"
    assert figure.layout.template.layout.font.color == GREY


def test_longer_trainings_have_bars_lengths_ties_and_their_short_top1_on_hover() -> None:
    frame = with_confidence(study_frame(longer_study()), ["top1", "madds"])
    points = tradeoff_points(frame, "madds", ["top1", "madds"])
    assert [point.length for point in points.front] == ["1x", "1x", "1x", "3x", "9x", "9x"]
    assert [number for number, _, _ in points.stopped] == [6]
    assert "Top-1 half way 20.0 %" in points.stopped[0][2]
    last = points.front[-1]
    assert last.top1_error == pytest.approx(100 * 0.01 / math.sqrt(2))
    for part in (
        "Top-1 72.0 ± 0.7 % (9x, 2 seeds; 45.0 % after the short training)",
        "Probability of being on the front",
        "Tied with 4",
    ):
        assert part in last.hover
    assert (5, 4) in points.ties
    traces = {trace.name: trace for trace in draw_tradeoff(points).data}
    assert [name for name in traces if name.startswith("front")] == ["front, 1x", "front, 3x", "front, 9x"]
    assert len({traces[f"front, {length}"].marker.symbol for length in ("1x", "3x", "9x")}) == 3
    assert traces["front, 9x"].error_y.array[-1] == last.top1_error
    assert traces["front, 1x"].error_y.array[0] == pytest.approx(1.0)  # one seed
    assert [name for name in traces if name.startswith("best top-1")] == [f"best top-1, {n}x" for n in (1, 3, 9)]
    assert len({traces[f"best top-1, {n}x"].line.dash for n in (1, 3, 9)}) == 3
    joined = list(zip(traces["tied"].x[::3], traces["tied"].x[1::3], strict=True))
    assert (150.0, 140.0) in joined
    assert traces["stopped half way"].visible == "legendonly"


def test_the_front_is_coloured_by_a_metric_and_the_best_is_named() -> None:
    rows = [row(k, top1, 100 + k, latency_ms=9.0 - k) for k, top1 in enumerate((0.4, 0.55, 0.56, 0.57))]
    points = tradeoff_points(study_frame(rows), "madds", ["top1", "madds"], colour="latency_ms", pins=[2])
    assert [point.colour for point in points.front] == [9.0, 8.0, 7.0, 6.0]
    assert points.best == 3
    figure = draw_tradeoff(points, chosen=1)
    traces = {trace.name: trace for trace in figure.data}
    assert (traces["front"].marker.cmin, traces["front"].marker.cmax) == (6.0, 9.0)
    assert traces["front"].marker.colorbar.title.text == "Latency (ms)"
    assert list(traces["pinned"].customdata) == [2]
    assert "best" in [note.text for note in figure.layout.annotations]


def test_what_is_not_asked_for_is_not_drawn() -> None:
    frame = study_frame(study())
    points = tradeoff_points(frame, "madds", ["top1", "madds", "latency_ms"], {"madds": 110e6})
    names = {trace.name for trace in draw_tradeoff(points, dominated=False, beyond=False, untrained=True).data}
    assert not names & {"dominated", "over a limit"}
    traces = {trace.name: trace for trace in draw_tradeoff(points, untrained=True).data}
    assert traces["rejected"].visible is True


def test_a_dominated_trial_can_be_chosen_and_a_brush_is_drawn_on_its_own_cost_alone() -> None:
    points = tradeoff_points(study_frame(study()), "madds", ["top1", "madds"])
    number = int(points.dominated.numbers[0])
    figure = draw_tradeoff(points, chosen=number, brush=Brush("madds", 70, 90, 40, 50))
    (ring,) = [trace for trace in figure.data if trace.name == f"trial {number}"]
    assert ring.x[0] == pytest.approx(points.dominated.cost[0])
    assert [(shape.x0, shape.x1) for shape in figure.layout.shapes] == [(70, 90)]
    assert not draw_tradeoff(points, brush=Brush("latency_ms", 1, 2, 40, 50)).layout.shapes


def test_published_systems_stand_in_a_figure_of_their_own_and_say_what_is_unverified() -> None:
    """A study of other images has no axis that ImageNet's top1 could stand on."""
    points = tradeoff_points(study_frame([row(0, 0.3, 20_000_000), row(1)]), "madds", ["top1", "madds"])
    marks = points.elsewhere
    own = [mark for mark in marks if mark.own]
    assert [(mark.cost, mark.top1) for mark in own][:2] == [(26.0, 64.0), (52.0, 68.7)]
    figure = draw_published(marks)
    assert [trace.name for trace in figure.data] == ["Mobile-Formers as published", "other systems as published"]
    (deit,) = [mark for mark in marks if mark.name == "DeiT Tiny"]
    assert "Not verified" in deit.hover
    assert figure.layout.yaxis.title.text == "ImageNet top-1 as published (%)"
    drawn = draw_tradeoff(points)
    assert not [trace for trace in drawn.data if "as published" in (trace.name or "")]
    assert "yaxis2" not in drawn.to_dict()["layout"]


def test_published_systems_stand_at_the_milliseconds_measured_on_one_device(tmp_path: Path) -> None:
    kept = [("LeViT 128S", 224, 3.2), ("LeViT 128S", 160, 2.0), ("mf-52m", 224, 4.0), ("LeViT 128S", 224, 3.5)]
    append_lines(tmp_path / "kept", [line(name, side, arch_id=None, latency_ms=ms) for name, side, ms in kept])
    marks = measured_marks(read_kept([tmp_path / "kept"]).rows)
    assert [(mark.name, mark.cost, mark.top1) for mark in marks] == [("LeViT 128S", 3.5, 76.6)]
    assert "measured here: 3.50 ms" in marks[0].hover
    assert draw_published(marks, "latency_ms").layout.xaxis.title.text == "Latency (ms)"


def test_the_names_of_published_systems_run_inwards_from_both_edges() -> None:
    for trace in draw_published(tradeoff_points(study_frame([]), "madds", ["top1", "madds"]).elsewhere).data:
        sides = dict(zip(trace.x, trace.textposition, strict=True))
        assert sides[min(sides)] == "middle right"
        assert sides[max(sides)] == "middle left"


def test_the_reference_of_the_measurements_is_a_line_in_milliseconds() -> None:
    rows = [row(k, 0.4 + k / 10, latency_ms=5.0 + k, latency_ratio=(5.0 + k) / 6.25) for k in range(3)]
    points = tradeoff_points(study_frame(rows), "latency_ms", ["top1", "latency_ms"])
    assert points.baseline == pytest.approx(6.25)
    notes = [note.text for note in draw_tradeoff(points).layout.annotations]
    assert "MobileNetV3-Large, measured here" in notes
    assert tradeoff_points(study_frame(study()), "latency_ms", ["top1"]).baseline is None


def test_in_three_dimensions_a_trial_has_both_costs() -> None:
    frame = study_frame(study())
    objectives = ["top1", "madds", "latency_ms"]
    both = [tradeoff_points(frame, cost, objectives) for cost in ("madds", "latency_ms")]
    figure = draw_space(both[0], both[1], chosen=9)
    traces = {trace.name: trace for trace in figure.data}
    assert (traces["trial 9"].x[0], traces["trial 9"].y[0]) == (123.0, 6.25)
    assert len(traces["dominated"].x) == len(both[0].dominated.numbers)
    assert len(traces["front"].x) == len(both[0].front)
    empty = tradeoff_points(study_frame([]), "madds", objectives)
    assert len(draw_space(empty, empty).data) == 1


def test_a_study_of_short_trainings_has_neither_bars_nor_lengths() -> None:
    points = tradeoff_points(study_frame(study()), "madds", ["top1", "madds"])
    assert {point.length for point in points.front} == {""}
    assert set(points.dominated.lengths) == {""}
    traces = {trace.name: trace for trace in draw_tradeoff(points).data}
    assert traces["front"].error_y.array is None


def test_progress_compares_short_trainings_and_says_so() -> None:
    progress = progress_points(study_frame(longer_study()))
    assert [top1 for _, top1, _ in progress.found] == pytest.approx([40, 41, 42, 43, 44, 45])
    assert draw_progress(progress).layout.yaxis.title.text == "Top-1 (%) after the short training"


def test_the_curve_of_a_finalist_is_that_of_its_longest_training() -> None:
    (line,) = curve_lines(study_frame(longer_study()[5:6]))
    assert line.epochs == [9.0]
    assert line.top1 == [72.5]


def test_resolution_lines_rise_and_hold_what_was_measured() -> None:
    points = [SizePoint("a", 224, 4.0, 3.5, 4.5), SizePoint("b", 224, 5.0, None, None)]
    a, b = resolution_lines([*points, SizePoint("a", 160, 2.0, 1.9, 2.5)])
    assert a == ("a", [160, 224], [2.0, 4.0], [1.9, 3.5], [2.5, 4.5])
    assert (b.name, b.sides, b.ms) == ("b", [224], [5.0])
    assert np.isnan(b.low_ms + b.high_ms).all()
    drawn = draw_resolutions([a, b], "my <phone>, batch 1")
    assert drawn.layout.title.text == "my &lt;phone&gt;, batch 1"
    assert [trace.name for trace in drawn.data] == ["a", "b"]
    assert np.allclose(drawn.data[0].error_y.array, [0.5, 0.5])
    assert np.allclose(drawn.data[0].error_y.arrayminus, [0.1, 0.5])


def test_the_parent_is_a_mark_of_its_own_and_no_member_of_the_front() -> None:
    frame = study_frame(study())
    alone = tradeoff_points(frame, "madds", ["top1", "madds"], {"madds": 1e8})
    points = tradeoff_points(frame, "madds", ["top1", "madds"], {"madds": 1e8}, parent=kept_parent())
    assert points.parent is not None
    assert (points.parent.cost, points.parent.top1, points.parent.name) == (120.0, 60.0, "parent bundle")
    assert points.parent.hover.startswith("<b>parent bundle</b>")
    assert [point.number for point in points.front] == [point.number for point in alone.front]
    assert points.steps == alone.steps
    figure = draw_tradeoff(points)
    (mark,) = [trace for trace in figure.data if trace.name == "parent"]
    assert mark.customdata is None  # a click chooses nothing
    assert figure.layout.xaxis.range[1] > 120
    untimed = tradeoff_points(frame, "latency_ms", ["top1", "madds"], parent=kept_parent(latency_ms=None))
    assert untimed.parent is None
    assert "parent" not in [trace.name for trace in draw_tradeoff(untimed).data]
