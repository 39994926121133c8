import json
from dataclasses import replace
from pathlib import Path

import pytest

from mfsearch.analysis.figures.latency_bars import SizePoint, draw_parts, draw_resolutions, part_bar, resolution_lines
from mfsearch.analysis.latency.kept_latency import (
    PARTS,
    REST,
    append_lines,
    by_passport,
    kept_folders,
    kept_line,
    latest,
    parts_of,
    passport_differences,
    passport_text,
    read_kept,
    scaled_in_words,
    setting_in_words,
)
from mfsearch.cli import main
from mfsearch.presets import MF_26M
from tests.analysis.rows import MARKUP

PASSPORT: dict[str, object] = {
    "cpu": "A slow CPU",
    "cores": 2,
    "governor": "unknown",
    "threads": 1,
    "runtime": "onnxruntime",
    "runtime_version": "1.32.0",
    "provider": "CPUExecutionProvider",
    "system": "Linux x86_64",
}
PARTS_MS = {"mobile": 2.0, "dyrelu": 1.0, "to_former": 0.5, "former": 0.25, "to_mobile": 0.5, "head": 0.75}


def line(name: str = "mf-26m", resolution: int = 224, **more: object) -> dict[str, object]:
    """A kept line; `more` replaces what was measured, or the passport."""
    measured = {
        "arch_id": f"{name}-{resolution}",
        "madds": 26_000_000,
        "batch": 1,
        "latency_ms": 5.5,
        "latency_low_ms": 5.4,
        "latency_high_ms": 5.6,
        "ratio": 0.9,
        "disturbed": False,
    }
    return kept_line(name, resolution, measured, PASSPORT, threads=1) | more


def with_parts(name: str = "mf-26m", **more: object) -> dict[str, object]:
    return line(name, parts_ms=PARTS_MS, sum_ms=5.0, whole_ms=5.25, nodes=100) | more


def test_parts_are_named_as_a_breakdown_names_them() -> None:
    from mfsearch.cost import breakdown

    assert list(PARTS.items()) == list(breakdown.PARTS.items())


def test_what_is_appended_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "latency" / "breakdown.jsonl"
    append_lines(path, [with_parts()])
    append_lines(path, [with_parts("mf-52m", disturbed=True), line("whole")])
    found = read_kept([path, tmp_path / "absent.jsonl"])
    assert [row.name for row in found.rows] == ["mf-26m", "mf-52m", "whole"]
    assert found.unread == 0
    first = found.rows[0]
    assert (first.arch_id, first.resolution, first.batch, first.threads) == ("mf-26m-224", 224, 1, 1)
    assert (first.latency_ms, first.latency_low_ms, first.disturbed) == (5.5, 5.4, False)
    assert first.passport == PASSPORT
    assert first.parts_ms == PARTS_MS
    assert found.rows[2].parts_ms == {}
    assert found.rows[2].whole_ms is None


def test_a_cut_last_line_is_passed_over_and_the_next_append_begins_a_line_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    append_lines(path, [line("one")])
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    assert [row.name for row in read_kept([path]).rows] == ["one"]
    assert read_kept([path]).unread == 0
    append_lines(path, [line("two")])
    found = read_kept([path])
    assert [row.name for row in found.rows] == ["one", "two"]
    assert found.unread == 1  # the cut line has an end now, and is none of ours


@pytest.mark.parametrize(
    "odd",
    [
        *("[]", "7", "null", "{}", "no json", '{"name": "x"}'),
        *(json.dumps(line() | odd) for odd in ({"passport": "x"}, {"parts_ms": {"tail": 1.0}}, {"parts_ms": [1]})),
    ],
)
def test_lines_that_are_none_of_ours_are_counted(odd: str, tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    path.write_bytes(f"{odd}\n\n{json.dumps(line())}\n".encode() + b"\xff\xfe\n")
    found = read_kept([path])
    assert len(found.rows) == 1
    assert found.unread == 2


def test_folders_are_those_of_the_results_their_reference_and_beside_the_study(tmp_path: Path) -> None:
    results = tmp_path / "results"
    assert kept_folders(results, results / "mine") == []
    for folder in (results / "latency", results / "reference" / "latency", tmp_path / "far" / "latency"):
        folder.mkdir(parents=True)
    assert kept_folders(results, results / "mine") == [results / "latency", results / "reference" / "latency"]
    assert kept_folders(results, results / "reference" / "theirs") == kept_folders(results, results / "mine")
    assert kept_folders(results, tmp_path / "far" / "study")[-1] == tmp_path / "far" / "latency"
    assert kept_folders(results / "reference", results / "reference" / "x") == [results / "reference" / "latency"]


def test_figures_of_two_passports_are_apart_the_last_measured_first(tmp_path: Path) -> None:
    other = PASSPORT | {"runtime_version": "1.33.0"}
    path = tmp_path / "kept.jsonl"
    append_lines(path, [line("a", measured="2026-11-01T00:00:00+00:00")])
    append_lines(path, [line("b", passport=other, measured="2026-11-03T00:00:00+00:00")])
    append_lines(path, [line("c", passport=dict(reversed(PASSPORT.items())), measured="2026-11-02T00:00:00+00:00")])
    groups = by_passport(read_kept([path]).rows)
    assert [[row.name for row in rows] for _, rows in groups] == [["b"], ["a", "c"]]
    assert groups[0][0] == other
    assert by_passport([]) == []


def test_the_latest_measurement_of_a_network_at_a_size_stands(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    append_lines(path, [line("a", latency_ms=2.0, measured="2026-11-02"), line("a", 160), line("b")])
    append_lines(path, [line("a", latency_ms=1.0, measured="2026-11-01"), line("a", batch=8)])
    append_lines(path, [line("MobileNetV3-Large", arch_id=None, madds=None)])
    found = latest(read_kept([path]).rows)
    assert [(row.name, row.resolution, row.batch) for row in found] == [
        ("a", 224, 1),
        ("a", 160, 1),
        ("b", 224, 1),
        ("a", 224, 8),
        ("MobileNetV3-Large", 224, 1),
    ]
    assert found[0].latency_ms == 2.0


def test_the_rest_is_what_a_run_takes_beyond_its_parts_and_never_less_than_nothing(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    append_lines(
        path,
        [
            with_parts(latency_ms=5.25),
            with_parts(latency_ms=5.0, whole_ms=4.0),
            with_parts(latency_ms=1.0, whole_ms=None, parts_ms={"mobile": 1.0}),
        ],
    )
    whole, short, bare = (parts_of(row) for row in read_kept([path]).rows)
    assert list(whole) == [*PARTS, REST]
    assert whole == PARTS_MS | {REST: 0.25}
    assert short == PARTS_MS | {REST: 0.0}
    assert bare == dict.fromkeys(PARTS, 0.0) | {"mobile": 1.0, REST: 0.0}


def test_parts_are_scaled_to_the_latency_of_their_line(tmp_path: Path) -> None:
    """A profiled run of 6 ms, 4.5 of them in two parts, and 4 ms in turns: two thirds of each."""
    path = tmp_path / "kept.jsonl"
    two = {"mobile": 3.0, "head": 1.5}
    append_lines(
        path,
        [
            with_parts(latency_ms=4.0, whole_ms=6.0, parts_ms=two),
            with_parts(latency_ms=0.0, whole_ms=6.0, parts_ms=two),
        ],
    )
    row, broken = read_kept([path]).rows
    parts = parts_of(row)
    assert (parts["mobile"], parts["head"], parts[REST]) == pytest.approx((2.0, 1.0, 1.0))
    assert sum(parts.values()) == pytest.approx(4.0)
    assert (
        scaled_in_words(row) == "Shares of a typical profiled run (6.0 ms), scaled to the measured latency of 4.0 ms."
    )
    assert parts_of(broken)["mobile"] == 3.0


def test_the_committed_parts_add_up_to_the_latency_beside_them() -> None:
    folder = Path(__file__).resolve().parents[3] / "results" / "reference" / "latency"
    rows = read_kept([folder / "breakdown.jsonl"]).rows
    assert rows
    for row in rows:
        assert sum(parts_of(row).values()) == pytest.approx(row.latency_ms)


def test_what_figures_were_measured_with_is_read_off_them(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    append_lines(path, [line(), line(threads=2), line(batch=8, threads=None)])
    one, two, program = read_kept([path]).rows
    assert setting_in_words([one]) == "1 image per batch, 1 thread"
    assert setting_in_words([two]) == "1 image per batch, 2 threads"
    assert setting_in_words([two, program, one]) == "1 or 8 images per batch, 1 or 2 threads"
    assert setting_in_words([program]) == "8 images per batch"
    assert setting_in_words([]) == ""


def test_bars_are_stacked_by_part_and_names_are_text(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    append_lines(path, [with_parts(), with_parts(MARKUP, disturbed=True, latency_low_ms=None, latency_high_ms=None)])
    figure = draw_parts([part_bar(row, row.name) for row in read_kept([path]).rows])
    assert [trace.name for trace in figure.data] == [
        "Mobile",
        "DyReLU",
        "Mobile-&gt;Former",
        "Former",
        "Mobile&lt;-Former",
        "head",
        "Between operators",
    ]
    assert sum(trace.x[0] for trace in figure.data) == pytest.approx(5.5)
    assert figure.layout.yaxis.ticktext == ("mf-26m", "&lt;img src=x onerror=alert *")
    assert "<img" not in figure.to_json()


def test_kept_rows_are_what_the_figure_by_size_takes(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    append_lines(path, [line("a", 224), line("a", 160, latency_ms=3.0, latency_low_ms=None, latency_high_ms=None)])
    rows = read_kept([path]).rows
    lines = resolution_lines(
        [SizePoint(row.name, row.resolution, row.latency_ms, row.latency_low_ms, row.latency_high_ms) for row in rows]
    )
    assert lines[0].sides == [160, 224]
    assert lines[0].ms == [3.0, 5.5]
    assert len(draw_resolutions(lines, "here").data) == 1


def test_passports_in_words() -> None:
    text = "A slow CPU, 2 cores, governor unknown, 1 thread, onnxruntime 1.32.0, CPUExecutionProvider, Linux x86_64"
    assert passport_text(PASSPORT) == text
    assert passport_text({"device": "my phone"}) == "my phone"
    assert passport_text({"device": None}) == "a device without a name"
    assert passport_text(None) == "an unrecorded device"
    other = PASSPORT | {"threads": 2, "clock": "fast"}
    assert passport_differences(PASSPORT, other, ("here", "there")) == [
        "threads: 1 here, 2 there",
        "clock: not recorded here, fast there",
    ]
    assert passport_differences(PASSPORT, PASSPORT, ("here", "there")) == []


@pytest.mark.slow
def test_a_measured_breakdown_is_kept_with_its_passport(
    tmp_path: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["latency", "mf-26m", "--breakdown", "--resolution", "32", "--results", str(tmp_path), "--json"]
    assert main(argv) == 0
    said = json.loads(capsys.readouterr().out)["mf-26m"]
    (row,) = read_kept([tmp_path / "latency" / "breakdown.jsonl"]).rows
    config = replace(MF_26M, resolution=32)
    assert (row.name, row.arch_id, row.resolution, row.batch, row.threads) == ("mf-26m", config.arch_id, 32, 1, 1)
    assert row.parts_ms == said["breakdown"]["parts_ms"]
    assert (row.whole_ms, row.latency_ms) == (said["breakdown"]["whole_ms"], said["latency_ms"])
    assert row.passport == said["passport"]
    assert row.measured[:2] == "20"


def test_figures_that_are_no_numbers_count_as_unread(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    nan, inf = float("nan"), float("inf")
    append_lines(path, [line(), line(latency_ms=nan), line(latency_ms=inf), line(parts_ms={"mobile": nan})])
    found = read_kept([path])
    assert (len(found.rows), found.unread) == (1, 3)
