"""Candidates that are predicted to be too slow: on a made-up device, and in a search with a user's own program."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mfsearch.cli import main
from mfsearch.config import MobileFormerConfig
from mfsearch.cost.latency_model import MIN_MEASURED, RATES, count_work
from mfsearch.search.loop import RUNNING, proposed
from mfsearch.search.pool import Event
from mfsearch.search.proposal import Proposal, Proposer
from mfsearch.search.screen import LatencyScreen, screen_line
from mfsearch.space import find_space
from mfsearch.study.ledger import read_trials
from mfsearch.units import parse_budget
from tests.search.test_loop import PretendPool, arguments, pretended
from tests.search.test_proposal import first, tiny

__all__ = ["pretended"]  # a fixture


def made_up_ms(config: MobileFormerConfig) -> float:
    """A device on which tokens cost three times what RATES say, with 3 % of noise by network."""
    rates = np.array([rate * (3 if "token" in name else 1) for name, rate in RATES.items()])
    noise = (int(config.arch_id[:4], 16) / 0x8000 - 1) * 0.03
    return float(count_work(config) @ rates) * 1e-6 * (1 + noise)


def source(limit_ms: float | None, sampler: str = "random") -> Proposer:
    objectives = ["top1", "madds", "latency_ms"]
    return Proposer(find_space("mobile_former"), parse_budget("150M"), objectives, sampler, 0, limit_ms)


def finished(proposal: Proposal, limit_ms: float) -> dict[str, Any]:
    """The trial as a run would write it: rejected or trained."""
    ms, top1 = made_up_ms(proposal.config), int(proposal.arch_id[:4], 16) / 0x10000
    row = {**proposed(proposal), "number": proposal.index, "latency_ms": ms}
    if ms > limit_ms:
        return row | {"outcome": "rejected", "top1": None, "violation_ms": ms - limit_ms}
    return row | {"outcome": "trained", "top1": top1}


def searched(proposer: Proposer, count: int, limit_ms: float) -> list[dict[str, Any]]:
    """Trials one after the other."""
    rows = []
    for _ in range(count):
        proposal = proposer.next()
        assert proposal is not None
        rows.append(finished(proposal, limit_ms))
        proposer.learn(rows[-1])
    return rows


@pytest.fixture(scope="module")
def limit_ms() -> float:
    """What a quarter of random networks keep."""
    rows = searched(source(None), 40, 1e9)
    return float(np.quantile([row["latency_ms"] for row in rows], 0.25))


def test_what_is_predicted_too_slow_is_not_measured(limit_ms: float) -> None:
    rows = searched(source(limit_ms), 30, limit_ms)
    first, later = rows[:MIN_MEASURED], rows[MIN_MEASURED:]
    assert not any("turned_down" in row or "predicted_latency_ms" in row for row in first)
    assert sum(row["turned_down"] for row in later) > len(later)
    assert all(row["predicted_low_ms"] <= limit_ms for row in later)
    kept = sum(row["outcome"] == "trained" for row in later) / len(later)
    assert kept > 0.5  # a quarter without
    line = screen_line(rows, limit_ms)
    assert line is not None
    turned_down = sum(row["turned_down"] for row in later)
    assert f"rejected {turned_down} draws without a measurement; predicting each of 30 measured" in line


def test_without_a_limit_nothing_changes(limit_ms: float) -> None:
    free = searched(source(None), 12, 1e9)
    assert not any("turned_down" in row or "predicted_latency_ms" in row for row in free)
    limited = searched(source(limit_ms), 12, limit_ms)
    assert [row["arch_id"] for row in limited[:MIN_MEASURED]] == [row["arch_id"] for row in free[:MIN_MEASURED]]
    assert screen_line(free, None) is None


@pytest.mark.parametrize("sampler", ["random", "auto", "tpe"])
def test_a_search_that_goes_on_proposes_what_the_undisturbed_one_does(limit_ms: float, sampler: str) -> None:
    whole = searched(source(limit_ms, sampler), 24, limit_ms)
    assert sum(row.get("turned_down", 0) for row in whole) > 0
    again = source(limit_ms, sampler)
    for row in json.loads(json.dumps(whole[:17])):
        again.learn(row)
        again.index = row["proposal"] + 1
    assert searched(again, 7, limit_ms) == whole[17:]


def test_where_all_are_too_slow_the_fastest_is_measured() -> None:
    proposer = source(0.001)
    rows = searched(proposer, MIN_MEASURED + 1, 0.001)
    last = rows[-1]
    assert last["predicted_low_ms"] > 0.001
    assert last["predicted_latency_ms"] == min(ms for ms, _ in proposer.turned_down)
    assert last["turned_down"] > 100


def test_rates_are_fitted_to_the_latest_networks(monkeypatch: pytest.MonkeyPatch, limit_ms: float) -> None:
    rows = searched(source(None), 20, limit_ms)
    monkeypatch.setattr("mfsearch.search.screen.FITTED", 12)
    every, latest = LatencyScreen(limit_ms), LatencyScreen(limit_ms)
    for k, row in enumerate(rows):
        every.learn(row | ({"latency_ms": 1e3} if k < 8 else {}))
    for row in rows[8:]:
        latest.learn(row)
    config = MobileFormerConfig.from_dict(rows[0]["config"])
    assert every.predict(config) == latest.predict(config)


class Killed(BaseException):
    """What nothing catches."""


class TimedPool(PretendPool):
    """Workers that train nothing and measure on the made-up device."""

    def wait(self, timeout: float) -> list[Event[dict[str, Any]]]:
        worked = {number: work for number, (_, work) in self.working.items()}
        events = super().wait(timeout)
        limit_ms = self.job.latency_limit_ms
        assert limit_ms is not None
        for event in events:
            assert event.result is not None
            ms = made_up_ms(worked[event.worker].config)
            event.result.update(latency_ms=ms, latency_low_ms=None, latency_high_ms=None)
            event.result.update(latency_ratio=None, latency_disturbed=None)
            if ms > limit_ms:
                event.result.update(outcome="rejected", top1=None, curve=None, violation_ms=ms - limit_ms)
        return events


class KilledPool(TimedPool):
    """The same until eleven trainings are done."""

    def wait(self, timeout: float) -> list[Event[dict[str, Any]]]:
        if self.waits == 11:
            raise Killed
        return super().wait(timeout)


def limited() -> tuple[str, ...]:
    """A search at random under a limit that half of the networks keep."""
    known = first(Proposer(tiny(), parse_budget("0.5M"), ["top1"], "random", 1), 20)
    limit = f"{np.median([made_up_ms(proposal.config) for proposal in known]):.3f}"
    program = shlex.join([sys.executable, "-c", f"print('{{\"latency_ms\": {limit}}}')"])
    return "--latency", f"{limit}ms", "--latency-cmd", program, "--sampler", "random"


@pytest.mark.usefixtures("pretended")
def test_a_pending_proposal_goes_on_with_the_prediction_it_was_made_with(
    image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers, killed while both hold a proposal with a prediction: made anew the first would have another one."""
    monkeypatch.setattr("mfsearch.search.loop.Pool", TimedPool)
    found = []
    for name in ("whole", "killed"):
        command = arguments(image_folder, tmp_path / name, *limited(), "--workers", "2", "--trials", "16")
        if name == "killed":
            with monkeypatch.context() as patched:
                patched.setattr("mfsearch.search.loop.Pool", KilledPool)
                with pytest.raises(Killed):
                    main(command)
            pending = json.loads((tmp_path / name / "s" / RUNNING).read_text())
            assert len(pending) == 2
            assert all(item["predicted"] for item in pending)
            assert any(item["turned_down"] for item in pending)
        assert main(command) == 0
        rows = sorted(read_trials(tmp_path / name / "s"), key=lambda row: row["proposal"])
        names = ("proposal", "arch_id", "origin", "outcome", "turned_down")
        expected = ("predicted_latency_ms", "predicted_low_ms", "predicted_high_ms")
        found.append([[row.get(name) for name in (*names, *expected)] for row in rows])
    assert found[0] == found[1]
    for item in pending:
        row = found[1][item["proposal"]]
        assert row[4:] == [item["turned_down"], *item["predicted"]]


@pytest.mark.usefixtures("pretended")
def test_a_run_says_what_it_turned_down_and_goes_on_as_if_undisturbed(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mfsearch.search.loop.Pool", TimedPool)
    found = []
    for name, stops in (("whole", ("12",)), ("in_two", ("6", "12"))):
        for trials in stops:
            assert main(arguments(image_folder, tmp_path / name, *limited(), "--trials", trials)) == 0
        rows = read_trials(tmp_path / name / "s")
        found.append([(row["arch_id"], row.get("predicted_latency_ms"), row.get("turned_down")) for row in rows])
    assert found[0] == found[1]
    turned_down = sum(row.get("turned_down", 0) for row in rows)
    assert turned_down > 0
    assert f"predicted latency rejected {turned_down} draws without a measurement" in capsys.readouterr().out
