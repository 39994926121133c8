"""What the figures of knobs, twins and calibrations show, as data."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

from mfsearch.analysis.figures.effects import (
    NOT_USED,
    draw_parallel,
    draw_shares,
    draw_slices,
    draw_twins,
    parallel_lines,
    share_dots,
    slice_groups,
    twin_dots,
)
from mfsearch.analysis.figures.tau import draw_forest, draw_short_long, forest, short_long
from mfsearch.analysis.knobs.importance import KnobShare, code_knobs
from mfsearch.analysis.knobs.twin_pairs import twin_folders, twins_note
from mfsearch.analysis.knobs.variance import Share
from mfsearch.analysis.ranking.trust import (
    calibrate_command,
    differences,
    fitting_calibration,
    read_calibrations,
    readings,
    study_reading,
    twins_command,
    verdict,
)
from mfsearch.proxy.recipe import default_recipe
from mfsearch.space import find_space
from mfsearch.study.calibration_file import GROUPS, Reading, study_calibration
from mfsearch.study.frame import study_frame
from mfsearch.study.manifest import Manifest
from mfsearch.study.trial import Trial
from mfsearch.study.twins_file import Effect, Twin, read_twins
from tests.analysis.rows import MANIFEST, MARKUP, manifest, row, with_knobs

RESULTS = Path(__file__).parents[2] / "results"
OBJECTIVES = ["top1", "madds"]
THREE = with_knobs("blocks.s2.repeat", "blocks.s2.kernel", "dyrelu.source")


def frame_of(count: int = 12) -> Any:
    """Odd trials have s2, so that its kernel has a say in them alone; top1 and madds both rise with the number."""
    rows = []
    for k in range(count):
        params = {"blocks.s2.repeat": k % 2, "blocks.s2.kernel": 3 + 2 * (k % 3 == 0), "dyrelu.source": "pooled"}
        rows.append(row(k, 0.3 + 0.01 * k, (100 + k) * 1_000_000, params=params))
    return study_frame(rows)


def test_dots_are_in_percent_and_sorted_into_above_and_not() -> None:
    shares = [
        KnobShare("blocks.s2.kernel", Share(0.4, 0.2, 0.6, 0.1, 50, 2)),
        KnobShare(MARKUP, Share(0.05, math.nan, math.nan, 0.1, 50, 3)),
    ]
    dots = share_dots(shares)
    assert [(dot.name, dot.key) for dot in dots.above] == [("s2 kernel", "blocks.s2.kernel")]
    assert dots.above[0][1:4] == pytest.approx((40, 20, 60))
    assert "<img" not in dots.others[0].name + dots.others[0].hover
    assert dots.chance[0][0] == "s2 kernel"
    assert dots.chance[0][1] == pytest.approx(10)
    assert len(share_dots(shares, most=1).chance) == 1
    assert len(draw_shares(dots, "top1").data) == 3
    assert len(draw_shares(share_dots([]), "top1").data) == 1


def test_a_slice_has_a_group_a_value_and_one_for_trials_without_a_say() -> None:
    frame = frame_of()
    coded = code_knobs(frame, THREE)
    groups = {group.value: group for group in slice_groups(frame, coded, "blocks.s2.kernel", "top1")}
    assert {value: group.numbers for value, group in groups.items()} == {
        "3": [1, 5, 7, 11],
        "5": [3, 9],
        NOT_USED: [0, 2, 4, 6, 8, 10],
    }
    assert groups["5"].metric == pytest.approx([33, 39])
    madds = slice_groups(frame, coded, "blocks.s2.repeat", "madds")
    assert [len(group.numbers) for group in madds] == [6, 6]
    assert slice_groups(frame, coded, "blocks.s2.repeat", "latency_ms") == []
    figure = draw_slices({"top1": list(groups.values()), "latency_ms": []}, "blocks.s2.kernel")
    assert figure.layout.xaxis.ticktext[-1].startswith(NOT_USED)
    assert draw_slices({}, "x").data == ()


def test_lines_keep_the_front_whole_and_draw_the_rest_by_seed() -> None:
    rows = [row(k, 0.5 + 0.01 * k, (100 + k) * 1_000_000, params={"x": k % 3}) for k in range(5)]
    rows += [row(k, 0.1 + 0.001 * (k % 50), 200_000_000, params={"x": k % 3}) for k in range(5, 300)]
    frame = study_frame([*rows, row(300, None, params={"x": 1}), row(301, 0.4, outcome="failed", params={"x": 1})])
    coded = code_knobs(frame, with_knobs("x"))

    def lines(seed: int) -> Any:
        return parallel_lines(frame, coded, ["x"], ["top1", "madds"], "top1", OBJECTIVES, most=40, seed=seed)

    points = lines(0)
    assert points.of == 300
    assert len(points.lines) == 40
    assert sorted(line.number for line in points.lines if line.on_front) == [0, 1, 2, 3, 4]
    assert points.lines[-1].on_front
    assert points == lines(0)
    assert points != lines(1)
    assert all(0 <= place <= 1 for line in points.lines for place in line.places)
    best = next(line for line in points.lines if line.number == 4)
    assert best.shade == 1
    assert best.places[1] == 1


def test_what_is_over_a_limit_is_not_on_the_front_of_the_lines() -> None:
    frame = study_frame([row(k, 0.3 + k / 10, 100_000_000 + k, latency_ms=5.0 + k) for k in range(3)])
    coded = code_knobs(frame, MANIFEST)
    limited = parallel_lines(frame, coded, [], ["top1"], "top1", ["top1", "latency_ms"], limits={"latency_ms": 6.5})
    assert {line.number: line.on_front for line in limited.lines} == {0: True, 1: True, 2: False}


def test_an_idle_knob_has_a_place_of_its_own_on_its_axis() -> None:
    frame = frame_of()
    points = parallel_lines(frame, code_knobs(frame, THREE), ["blocks.s2.kernel"], ["top1"], "top1", OBJECTIVES)
    assert points.axes[0].texts == ["3", "5", NOT_USED]
    idle = [line.places[0] for line in points.lines if line.number % 2 == 0]
    used = [line.places[0] for line in points.lines if line.number % 2]
    assert min(idle) > 2 / 3 > max(used)
    assert draw_parallel(points).layout.annotations[0].text == "3"


def test_values_of_a_knob_stay_apart_and_no_line_runs_over_their_texts() -> None:
    frame = frame_of()
    points = parallel_lines(frame, code_knobs(frame, THREE), ["blocks.s2.kernel"], ["top1"], "top1", OBJECTIVES)
    axis = points.axes[0]
    apart = axis.places[1] - axis.places[0]
    for line in points.lines:
        assert min(abs(line.places[0] - place) for place in axis.places) < apart / 8
    figure = draw_parallel(points)
    for note, place in zip(figure.layout.annotations, axis.places, strict=True):
        assert note.x >= max([place, *(x for x in (line.places[0] for line in points.lines) if x < place + apart / 2)])
        assert note.xanchor == "left"
    assert figure.layout.yaxis.ticktext[0] == "<b>s2 kernel</b>"
    assert figure.layout.yaxis.ticktext[1].startswith("<b>Top-1</b><br>")


@pytest.mark.parametrize("rows", [[], [row(0)], [row(0, None), row(1, float("nan"))]], ids=["empty", "one", "NaN"])
def test_figures_of_hardly_any_trials_can_be_drawn(rows: list[Trial]) -> None:
    frame = study_frame(rows)
    coded = code_knobs(frame, MANIFEST)
    points = parallel_lines(frame, coded, coded.names, ["top1", "madds"], "top1", OBJECTIVES)
    assert len(points.lines) == sum(trial.top1 == 0.5 for trial in rows)
    draw_parallel(points)
    for name in coded.names:
        draw_slices({"top1": slice_groups(frame, coded, name, "top1")}, name)


def test_text_from_a_study_is_escaped() -> None:
    frame = study_frame([row(k, 0.3 + k / 10, params={MARKUP: MARKUP if k else 3}, origin=MARKUP) for k in range(3)])
    coded = code_knobs(frame, with_knobs(MARKUP))
    points = parallel_lines(frame, coded, [MARKUP], ["top1"], "top1", OBJECTIVES)
    slices = draw_slices({"top1": slice_groups(frame, coded, MARKUP, "top1")}, MARKUP)
    for figure in (draw_parallel(points), slices):
        assert "<img" not in figure.to_json().replace("\\u003c", "<")


def test_the_committed_twins_are_read_as_they_were_printed() -> None:
    folders = twin_folders([RESULTS, RESULTS / "reference" / ".."])
    assert [folder.name for folder in folders] == ["mf-151m-cifar10", "mf-151m-time"]
    report = read_twins(folders[1])
    assert report.parent.name == "mf-151m"
    assert report.parent.latency_ms == pytest.approx(8.66, abs=0.01)  # docs/LOG.md, as the next lines
    by_change = {row.change: row for row in report.twins}
    none = by_change["bridges.blocks both -> none"]
    ms = none.latency
    assert ms is not None
    found = (ms.difference_ms, ms.difference_low_ms, ms.difference_high_ms)
    assert found == pytest.approx((-2.80, -2.85, -2.74), abs=0.01)
    assert none.verdict == "no effect shown"
    tokens = by_change["tokens.count 6 -> 3"]
    assert tokens.verdict == "gain shown alone, not after the correction for all"
    assert "1 of 8 intervals leave out 0, 0.4 would" in twins_note(report)
    dots = twin_dots(report)
    assert (len(dots.shown), len(dots.unshown), len(dots.quiet), len(dots.disturbed)) == (1, 7, 3, 5)
    assert len(draw_twins(dots).data) == 4
    assert len(draw_twins(twin_dots(read_twins(folders[0]))).data) == 2


def test_a_verdict_is_in_words() -> None:
    def twin(effect: Effect, p_holm: float | None = None, reason: str = "") -> Twin:
        return Twin("tokens.count", "6", "3", effect=effect, p_holm=p_holm, reason=reason)

    assert twin(Effect(0), reason="cannot be built").verdict == "not compared: cannot be built"
    assert twin(Effect(1, 0.01)).verdict == "one pair has no interval"
    assert twin(Effect(3, 0.01, -0.01, 0.03, 0.2), 0.4).verdict == "no effect shown"
    assert twin(Effect(3, -0.02, -0.03, -0.01, 0.001), 0.002).verdict == "loss shown"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"parent": {}}', '{"parent": null}'])
def test_a_report_of_twins_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "twins.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"twins\.json"):
        read_twins(tmp_path)


def manifest_of(name: str, **values: object) -> Manifest:
    """The manifest of a committed study; `values` replace some of its file's."""
    return Manifest.from_dict({**Manifest.read(RESULTS / "reference" / name).kept, **values})


def test_the_committed_calibration_fits_the_committed_study_but_for_its_budget() -> None:
    kept, unread = read_calibrations([RESULTS, RESULTS])
    assert (len(kept), unread) == (1, [])
    figures, own = kept[0].figures, manifest_of("fast151")
    assert fitting_calibration([RESULTS], own) == figures
    faster = manifest_of("fast151", recipe={**own.kept["recipe"], "lr": 0.1})
    assert fitting_calibration([RESULTS], faster) is None
    assert fitting_calibration([RESULTS], MANIFEST) is None
    assert differences(figures, own) == ["budget: up to 50.0M multiply-adds, here 152.1M"]
    changed = manifest_of(
        "fast151",
        space={"name": "paper", "digest": "x", "knobs": {}},
        data={**own.kept["data"], "digest": "x"},
        recipe={**own.kept["recipe"], "lr": 0.1, "epochs": 3},
    )
    assert differences(figures, changed)[:4] == [
        "space: mobile_former, here paper",
        "data: another version of cifar10",
        "lr of the short training: 0.0025, here 0.1",
        "short training: read after 0.05, 0.1, 0.2 epochs, here it takes 3",
    ]
    assert study_reading(figures, own) == Reading("val_loss", 0.1)


def test_a_calibration_of_before_networks_were_costed_for_the_classes_fits_as_in_a_run() -> None:
    own = manifest_of("fast151")
    space = find_space("mobile_former").deployed(224, 10)
    ten = {"name": space.name, "digest": space.digest, "knobs": own.kept["space"]["knobs"]}
    new = manifest_of("fast151", space=ten, deployment={"resolution": 224, "classes": 10})
    figures = read_calibrations([RESULTS])[0][0].figures
    assert study_calibration(RESULTS, new, space) == figures  # as `mfsearch run` does
    assert fitting_calibration([RESULTS], new) == figures
    budget = "budget: up to 50.0M multiply-adds, here 152.1M"
    assert differences(figures, new) == ["classes at deployment: 1000, here 10", budget]
    unknown = manifest_of("fast151", space={**ten, "digest": "x"}, deployment={"resolution": 224, "classes": 10})
    assert fitting_calibration([RESULTS], unknown) is None
    assert differences(figures, unknown)[0] == "space: another version of mobile_former"


def test_the_verdict_says_tau_interval_networks_and_what_costs_nothing() -> None:
    """The figures that README.md prints."""
    figures = read_calibrations([RESULTS])[0][0].figures
    words = verdict(figures, "band", Reading("val_loss", 0.1))
    assert "Inside the band validation loss after 0.1 epochs ranks 16 networks" in words
    assert "tau 0.57 [0.10, 0.87]; multiply-adds -0.25, parameters -0.27. It is better than chance" in words
    assert "may be no better than chance" in verdict(figures, "band", Reading("top1", 0.05))
    assert "multiply-adds 0.47" in verdict(figures, "across", Reading("val_loss", 0.1))
    across = verdict(figures, "across", Reading("val_loss", 0.1))
    assert (
        "It is better than chance, not shown to be better than multiply-adds, not shown to be better than parameters"
        in across
    )
    assert "better than chance, better than multiply-adds" in words
    assert across.endswith("a rise of tau from 0.55 to 0.70 is 28 %; 80 % takes 54.")
    assert "ranks nothing" in verdict(figures, "band", Reading("unheard", 1.0))


def test_the_forest_shows_every_reading_and_the_scatter_every_network() -> None:
    figures = read_calibrations([RESULTS])[0][0].figures
    for group in GROUPS:
        found = figures.groups[group]
        plot = forest(found, Reading("val_loss", 0.1))
        assert len(plot.names) == 20
        assert (len(plot.trained), len(plot.costs), len(plot.zero_cost), len(plot.ceilings)) == (15, 2, 3, 15)
        assert [name for name in plot.names if name.startswith("<b>")] == ["<b>validation loss, 0.1 epochs</b>"]
        assert len(draw_forest(plot).data) == 4
        for reading in readings(figures, group):
            points = short_long(found, reading, figures.long_noise)
            assert len(points.points) == found.n
            assert sum(point.best for point in points.points) == 5
            draw_short_long(points, reading.epochs)
    by_loss = short_long(figures.groups["band"], Reading("val_loss", 0.1), figures.long_noise)
    first = figures.groups["band"].networks[0]
    assert by_loss.points[0].short == pytest.approx(first.short[1].val_loss)
    assert by_loss.reversed
    assert by_loss.noise == pytest.approx(1.264, abs=0.001)
    assert math.isnan(short_long(figures.groups["band"], Reading("madds", None), None).noise)


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 0}', '{"schema": 1}'])
def test_a_calibration_that_cannot_be_read_is_a_sentence(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "calibrations" / "broken"
    folder.mkdir(parents=True)
    (folder / "calibration.json").write_text(text, encoding="utf-8")
    kept, unread = read_calibrations([tmp_path])
    assert kept == []
    assert "`mfsearch calibrate` writes it again" in unread[0]
    assert fitting_calibration([tmp_path], manifest_of("fast151")) is None


def test_the_command_has_the_settings_of_the_study() -> None:
    command = calibrate_command(manifest_of("fast151"))
    assert command.startswith("mfsearch calibrate --budget 152.1M --data cifar10")
    odd = manifest(
        budget={"low": 120_000_000, "high": 150_000_000, "stated": True},
        request={"data": "my photos", "trials": 40, "workers": 2},
        space={"name": "paper", "digest": "0", "knobs": {}},
        recipe={**dataclasses.asdict(default_recipe("my photos")), "epochs": 2, "lr": 0.01},
        rungs={"factors": [1.0, 3.0]},
    )
    assert calibrate_command(odd) == (
        "mfsearch calibrate --budget 120M..150M --data 'my photos' --space paper --classes 1000 --epochs 2 --lr 0.01"
    )
    damaged = manifest_of("fast151", request={"data": "my photos", "skip_damaged": True})
    assert " --data 'my photos' --skip-damaged " in calibrate_command(damaged)
    assert " --data 'my photos' --skip-damaged " in twins_command(damaged, "mf-151m")
    budget = {"low": 1_000_000, "high": 2_000_000, "stated": False}
    usual = {"space": {"name": "mobile_former", "digest": "0", "knobs": {}}}
    plain = manifest(budget=budget, recipe=dataclasses.asdict(default_recipe("digits")), **usual)
    assert calibrate_command(plain) == "mfsearch calibrate --budget 2M --data digits --classes 1000"
