"""What `mfsearch show` and the end of a run print and give as JSON."""

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mfsearch.commands.display import front_table, print_front
from mfsearch.commands.show import summary_of
from mfsearch.search.front import front_numbers
from mfsearch.study.trial import Trial
from tests.analysis.rows import longer_study, study

MANIFEST: dict[str, Any] = {
    "study": "s",
    "objectives": ["top1", "madds"],
    "budget": {"low": 1, "high": 200_000_000, "stated": False},
}
CONFIG = {"tokens": {"count": 6, "dim": 192}, "dyrelu": {"source": "mean_token"}}


def with_configs(rows: list[Trial]) -> list[dict[str, Any]]:
    return [{**row, "config": CONFIG} for row in rows]


def printed(rows: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> str:
    print_front(rows, MANIFEST, Path("s"))
    return capsys.readouterr().out


def test_a_front_of_longer_trainings_shows_spread_seeds_probability_and_ties(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = printed(with_configs(longer_study()), capsys)
    for part in ("72.00 ±0.71", "9x, 2 seeds", "on front", "tied with", "> 99 %", "One 9x training varies by 1.00"):
        assert part in text
    assert "6 trained, 3 of them longer, 1 stopped half way, 0 rejected by latency, 0 failed; 6 on the front" in text


def test_one_seed_each_shows_lengths_and_says_why_there_is_no_probability(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(with_configs(longer_study()[:4]), capsys)
    assert "3x" in text
    assert "one seed each" in text
    assert "on front" not in text


def test_a_front_of_short_trainings_reads_as_ever(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(with_configs(study()), capsys)
    assert text.split("\n")[1].split() == [
        "trial",
        "top1",
        "%",
        "madds",
        "M",
        "params",
        "M",
        "tokens",
        "DyReLU",
        "origin",
    ]
    assert text.endswith("\ns: 9 trained, 2 rejected by latency, 1 failed; 4 on the front of top1, madds\n")


def test_the_widest_table_keeps_within_100_columns() -> None:
    rows = with_configs(longer_study())
    for row in rows:
        row |= {"number": row["number"] + 1000, "origin": "fitted mf-151m", "latency_ms": 17.25}
        row |= {"madds": row["madds"] + 1_000_000_000, "num_params": 11_000_000}
    objectives = ["top1", "madds", "latency_ms"]
    from mfsearch.analysis.front.confidence import confidence

    table = front_table(rows, front_numbers(rows, objectives), objectives, confidence(rows, objectives))
    assert Console(width=200).measure(table).maximum <= 100


def test_the_summary_holds_probability_ties_and_noise_but_no_curves() -> None:
    found = summary_of(MANIFEST, with_configs(longer_study()), Path("s"))
    last = found["front"][-1]
    assert found["top1_noise"][2] == pytest.approx({"std": 0.01, "degrees": 1})
    assert last["tied_with"][0] == 4
    assert 0.5 < last["front_probability"] < 1
    assert all("curve" not in stage for stage in last["stages"])
    assert (found["stopped_half_way"], found["trained_longer"]) == (1, 3)
    short = summary_of(MANIFEST, with_configs(study()), Path("s"))
    assert short["top1_noise"] is None
    assert "front_probability" not in short["front"][0]
