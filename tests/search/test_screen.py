"""Candidates that are predicted to be too slow: on a made-up device, and in a search with a user's own program."""

import dataclasses
import json
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from mfsearch.cli import main
from mfsearch.config import MobileFormerConfig
from mfsearch.cost.latency_model import MIN_MEASURED, RATES, REFERENCE_MS, accuracy, count_work, unmeasured
from mfsearch.search.evaluator import TrialResult
from mfsearch.search.loop import RUNNING, finished_trial
from mfsearch.search.pool import Event
from mfsearch.search.proposal import Proposal, Proposer
from mfsearch.search.screen import LatencyScreen, screen_line
from mfsearch.space import find_space
from mfsearch.study.study import Study
from mfsearch.study.trial import Training, Trial, TrialLatency
from mfsearch.units import parse_budget
from tests.search.test_loop import PretendPool, arguments, pretended
from tests.search.test_proposal import first, tiny

__all__ = ["pretended"]  # a fixture
RESULTS = Path(__file__).parents[2] / "results"


def made_up_ms(config: MobileFormerConfig) -> float:
    """A device on which tokens cost three times what RATES say, with 3 % of noise by network."""
    rates = np.array([rate * (3 if "token" in name else 1) for name, rate in RATES.items()])
    noise = (int(config.arch_id[:4], 16) / 0x8000 - 1) * 0.03
    return float(count_work(config) @ rates) * 1e-6 * (1 + noise)


def source(limit_ms: float | None, sampler: str = "random") -> Proposer:
    objectives = ["top1", "madds", "latency_ms"]
    return Proposer(find_space("mobile_former"), parse_budget("150M"), objectives, sampler, 0, limit_ms)


def finished(proposal: Proposal, limit_ms: float) -> Trial:
    """The trial as a run would write it: rejected or trained."""
    ms, top1 = made_up_ms(proposal.config), int(proposal.arch_id[:4], 16) / 0x10000
    result = TrialResult("trained", measured=TrialLatency(ms), short=Training(top1=top1))
    if ms > limit_ms:
        result = TrialResult("rejected", measured=TrialLatency(ms), violation_ms=ms - limit_ms)
    return dataclasses.replace(finished_trial(proposal, result), number=proposal.index)


def searched(proposer: Proposer, count: int, limit_ms: float) -> list[Trial]:
    """Trials one after the other."""
    trials = []
    for _ in range(count):
        proposal = proposer.next()
        assert proposal is not None
        trials.append(finished(proposal, limit_ms))
        proposer.learn(trials[-1])
    return trials


def unpredicted(trials: list[Trial]) -> bool:
    return all(trial.turned_down is None and trial.predicted is None for trial in trials)


def turned_down(trials: list[Trial]) -> int:
    return sum(trial.turned_down or 0 for trial in trials)


@pytest.fixture(scope="module")
def limit_ms() -> float:
    """What a quarter of random networks keep."""
    trials = searched(source(None), 40, 1e9)
    return float(np.quantile([trial.metric("latency_ms") for trial in trials], 0.25))


def test_what_is_predicted_too_slow_is_not_measured(limit_ms: float) -> None:
    trials = searched(source(limit_ms), 30, limit_ms)
    first, later = trials[:MIN_MEASURED], trials[MIN_MEASURED:]
    assert unpredicted(first)
    assert turned_down(later) > len(later)
    assert all(trial.predicted is not None and trial.predicted.low_ms <= limit_ms for trial in later)
    kept = sum(trial.outcome == "trained" for trial in later) / len(later)
    assert kept > 0.5  # a quarter without
    line = screen_line(trials, limit_ms)
    assert line is not None
    assert f"rejected {turned_down(later)} draws without a measurement; predicting each of 30 measured" in line


def test_without_a_limit_nothing_changes(limit_ms: float) -> None:
    free = searched(source(None), 12, 1e9)
    assert unpredicted(free)
    limited = searched(source(limit_ms), 12, limit_ms)
    assert [trial.arch_id for trial in limited[:MIN_MEASURED]] == [trial.arch_id for trial in free[:MIN_MEASURED]]
    assert screen_line(free, None) is None


@pytest.mark.parametrize("sampler", ["random", "auto", "tpe"])
def test_a_search_that_goes_on_proposes_what_the_undisturbed_one_does(
    monkeypatch: pytest.MonkeyPatch, limit_ms: float, sampler: str
) -> None:
    monkeypatch.setattr("mfsearch.search.loop.now", lambda: "2026-11-28T12:00:00+00:00")  # trials are compared whole
    whole = searched(source(limit_ms, sampler), 20, limit_ms)
    assert turned_down(whole) > 0
    again = source(limit_ms, sampler)
    for trial in whole[:16]:
        params, values = json.loads(json.dumps([trial.params, trial.to_dict()]))
        again.learn(Trial.from_dict(trial.number, params, values))
        again.index = values["proposal"] + 1
    assert searched(again, 4, limit_ms) == whole[16:]


def test_where_all_are_too_slow_the_fastest_is_measured() -> None:
    proposer = source(0.001)
    last = searched(proposer, MIN_MEASURED + 1, 0.001)[-1]
    assert last.predicted is not None
    assert last.predicted.low_ms > 0.001
    assert last.predicted.latency_ms == min(ms for ms, _ in proposer.turned_down)
    assert turned_down([last]) > 100


def test_rates_are_fitted_to_the_latest_networks(monkeypatch: pytest.MonkeyPatch, limit_ms: float) -> None:
    trials = searched(source(None), 20, limit_ms)
    monkeypatch.setattr("mfsearch.search.screen.FITTED", 12)
    every, latest = LatencyScreen(limit_ms), LatencyScreen(limit_ms)
    for k, trial in enumerate(trials):
        every.learn(dataclasses.replace(trial, measured=TrialLatency(1e3)) if k < 8 else trial)
    for trial in trials[8:]:
        latest.learn(trial)
    config = trials[0].config
    assert every.predict(config) == latest.predict(config)


class Killed(BaseException):
    """What nothing catches."""


class TimedPool(PretendPool):
    """Workers that train nothing and measure on the made-up device."""

    def wait(self, timeout: float) -> list[Event[TrialResult]]:
        worked = {number: work for number, (_, work) in self.working.items()}
        events = super().wait(timeout)
        limit_ms = self.job.latency_limit_ms
        assert limit_ms is not None
        measured = []
        for event in events:
            assert event.result is not None
            ms = made_up_ms(worked[event.worker].config)
            result = dataclasses.replace(event.result, measured=TrialLatency(ms))
            if ms > limit_ms:
                result = dataclasses.replace(result, outcome="rejected", short=None, violation_ms=ms - limit_ms)
            measured.append(dataclasses.replace(event, result=result))
        return measured


class KilledPool(TimedPool):
    """The same until eleven trainings are done."""

    def wait(self, timeout: float) -> list[Event[TrialResult]]:
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
        trials = sorted(Study.open(tmp_path / name / "s").trials, key=lambda trial: trial.proposal or 0)
        names = ("proposal", "arch_id", "origin", "outcome", "turned_down", "predicted")
        found.append([[getattr(trial, name) for name in names] for trial in trials])
    assert found[0] == found[1]
    for item in pending:
        *_, turned, predicted = found[1][item["proposal"]]
        assert (turned, list(predicted)) == (item["turned_down"], item["predicted"])


@pytest.mark.usefixtures("pretended")
def test_a_run_says_what_it_turned_down_and_goes_on_as_if_undisturbed(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mfsearch.search.loop.Pool", TimedPool)
    found = []
    for name, stops in (("whole", ("12",)), ("in_two", ("6", "12"))):
        for count in stops:
            assert main(arguments(image_folder, tmp_path / name, *limited(), "--trials", count)) == 0
        trials = list(Study.open(tmp_path / name / "s").trials)
        found.append([(trial.arch_id, trial.predicted, trial.turned_down) for trial in trials])
    assert found[0] == found[1]
    assert turned_down(trials) > 0
    assert f"predicted latency rejected {turned_down(trials)} draws without a measurement" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "before", "now"), [("fast151", 6, 0), ("fast151-random", 8, 2)])
def test_the_first_proposals_are_not_wasted(name: str, before: int, now: int) -> None:
    """Committed measurements under 5 ms: of the first eight proposals so many were measured and rejected, and so many
    are with the shipped rates; no network of the study that keeps the limit is skipped."""
    study = Study.open(RESULTS / "reference" / name)
    screen = LatencyScreen(5.0, study.manifest.baseline_ms)
    skipped = []
    for trial in study.trials:
        skipped.append(screen.is_too_slow(screen.predict(trial.config)))
        if not skipped[-1]:
            screen.learn(trial)
    rejected = [trial.outcome == "rejected" for trial in study.trials]
    assert sum(rejected[:8]) == before
    assert sum(one and not skip for one, skip in zip(rejected[:8], skipped[:8], strict=True)) == now
    assert not any(skip and not one for one, skip in zip(rejected, skipped, strict=True))


def test_a_search_with_the_reference_network_s_time_predicts_from_the_first_trial_on(limit_ms: float) -> None:
    proposer = Proposer(
        find_space("mobile_former"), parse_budget("150M"), ["top1", "latency_ms"], "random", 0, limit_ms, REFERENCE_MS
    )
    assert all(trial.predicted is not None for trial in searched(proposer, MIN_MEASURED, limit_ms))


def test_the_shipped_rates_are_those_of_the_committed_measurements() -> None:
    measured = json.loads((RESULTS / "reference" / "latency" / "measured.json").read_text())
    assert measured["baseline_ms"] == pytest.approx(REFERENCE_MS, rel=1e-3)
    rows = [row for row in measured["networks"] if row["group"] != "held_out"]
    work = np.stack([count_work(MobileFormerConfig.from_dict(row["config"])) for row in rows])
    ms = np.array([np.median(row["ms"]["blocked"]) for row in rows])
    found = accuracy(unmeasured(REFERENCE_MS).predict(work), ms)
    assert found.median_error < 0.05
    assert found.within > 0.85
