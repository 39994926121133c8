"""A large study to look at, made up by a seed: real networks and their exact costs, drawn results, nothing trained.

    python benchmarks/simulated_study.py FOLDER --trials 10000 --seed 0

Networks lie in `mobile_former` between 20M and 150M multiply-adds: mutations of a few solved ones at their widths. A
knob's value is worth so many points of top1 and so much time, drawn once for the study; trainings vary by one point,
latencies by their interval. One in three trainings goes on to three times the length, five finalists are trained in
full with two seeds, the front is measured again. The journal is written line by line as `Ledger` writes it, because
through Optuna 10,000 trials take minutes. 10,000 trials take 6 s and 88 MB.
"""

import argparse
import dataclasses
import json
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from mfsearch.cost.latency_model import Prediction
from mfsearch.cost.madds import Costs, count_costs
from mfsearch.pareto import pareto_mask
from mfsearch.presets import PRESETS
from mfsearch.proxy.curve import SCORES, EpochLog
from mfsearch.search.samplers.ground import Candidate, Ground
from mfsearch.space import find_space
from mfsearch.space.solve import Sized
from mfsearch.study.files import JOURNAL, MANIFEST, write_json
from mfsearch.study.journal import LATENCY, STAGE
from mfsearch.study.manifest import Manifest
from mfsearch.study.trial import FinalLatency, Training, Trial, TrialLatency
from mfsearch.units import parse_budget

SPACE, BUDGET, OBJECTIVES = "mobile_former", "20M..150M", ["top1", "madds", "latency_ms"]
LIMIT_MS = 12.0
SOLVED = 60  # networks whose width is solved, which takes a millisecond; the others are mutations of them
FACTORS, FINALISTS, SEEDS = [1.0, 3.0, 9.0], 5, 2  # as in a search with `--rungs 1,3,9`
EPOCHS = 0.2  # of the short training
NOISE = 0.01  # of the top1 of one training
GAIN = [0.0, 0.10, 0.17]  # of top1, by rung
LOST = {"rejected": 0.006, "stopped": 0.006, "failed": 0.004}  # shares of the trials
MEASURED_AGAIN = 50  # members of the front, at most
BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
WORKER = "simulated"
STATES = {"trained": 1, "stopped": 2, "rejected": 2, "failed": 3}  # optuna.trial.TrialState


def simulate(folder: Path, trials: int, seed: int) -> None:
    """Write a study of so many trials into a new folder, in seconds and in little memory."""
    folder.mkdir(parents=True)
    ground = Ground(find_space(SPACE), parse_budget(BUDGET))
    write_json(folder / MANIFEST, manifest_of(folder.name, ground, trials, seed))
    knobs = {name: list(choices) for name, choices in ground.choices.items()}
    with (folder / JOURNAL).open("w", encoding="utf-8") as journal:
        journal.write(study_line(folder.name, OBJECTIVES))
        journal.writelines(_trial_lines(ground, knobs, trials, seed))


def write_study(folder: Path, manifest: Manifest, trials: Sequence[Trial]) -> None:
    """Write a study that holds these trials, by number; a knob's choices are the values seen."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / MANIFEST, {**manifest.to_dict(), "study": folder.name})
    knobs: dict[str, list[Any]] = {}
    for trial in trials:
        for name, value in trial.params.items():
            known = knobs.setdefault(name, [])
            known += (
                [] if any(value is one or (type(value) is type(one) and value == one) for one in known) else [value]
            )
    with (folder / JOURNAL).open("w", encoding="utf-8") as journal:
        journal.write(study_line(folder.name, manifest.objectives))
        for trial in trials:
            journal.write(trial_line(trial, manifest.objectives, knobs))
            journal.writelines(training_line(trial.number, training) for training in trial.longer)
            if trial.final is not None:
                journal.write(latency_line(trial.number, trial.final))


def study_line(name: str, objectives: Sequence[str]) -> str:
    """The line of a journal that begins a study."""
    return _line({"op_code": 0, "study_name": name, "directions": [2 if key == "top1" else 1 for key in objectives]})


def training_line(number: int, training: Training) -> str:
    """The line that adds a longer training to a trial."""
    return _attribute_line(f"{STAGE} {number} {training.rung} {training.seed}", training.to_dict())


def latency_line(number: int, final: FinalLatency) -> str:
    """The line that adds a latency measured again to a trial."""
    return _attribute_line(f"{LATENCY} {number}", final.to_dict())


def trial_line(trial: Trial, objectives: Sequence[str], knobs: Mapping[str, Sequence[Any]]) -> str:
    """The line that adds a trial after its short training; knobs: what each of its params could be."""
    finished = trial.finished or BEGUN.isoformat()
    values = [trial.top1_short if name == "top1" else getattr(trial, name) for name in objectives]
    return _line(
        {
            "op_code": 4,
            "study_id": 0,
            "datetime_start": finished,
            "state": STATES[trial.outcome],
            "value": None,
            "values": values if trial.outcome == "trained" else None,
            "datetime_complete": finished,
            "distributions": {name: _distribution(tuple(knobs[name])) for name in trial.params},
            "params": {name: _place(knobs[name], value) for name, value in trial.params.items()},
            "user_attrs": trial.to_dict(),
            "system_attrs": {},
            "intermediate_values": {},
        }
    )


def _attribute_line(key: str, value: dict[str, Any]) -> str:
    return _line({"op_code": 2, "study_id": 0, "user_attr": {key: value}})


def _line(log: dict[str, Any]) -> str:
    return json.dumps({"op_code": log.pop("op_code"), "worker_id": WORKER, **log}, separators=(",", ":")) + "\n"


@cache
def _distribution(choices: tuple[Any, ...]) -> str:
    return json.dumps({"name": "CategoricalDistribution", "attributes": {"choices": choices}})


def _place(choices: Sequence[Any], value: Any) -> int:
    return next(at for at, one in enumerate(choices) if type(one) is type(value) and one == value)


def _trial_lines(ground: Ground, knobs: dict[str, list[Any]], trials: int, seed: int) -> Iterator[str]:
    rng = random.Random(seed)
    worth = {name: [rng.gauss(0, 0.005) for _ in choices] for name, choices in knobs.items()}
    slower = {name: [rng.gauss(0, 0.02) for _ in choices] for name, choices in knobs.items()}
    spread = 0.005 * math.sqrt(len(knobs))
    found = np.full((trials, len(OBJECTIVES)), np.nan)  # of the front: minimised
    finalists: list[tuple[float, float, Trial]] = []  # the better the lower, true top1
    now = BEGUN
    for number, (candidate, arch_id, costs) in enumerate(_candidates(ground, trials, rng)):
        places = {name: _place(knobs[name], value) for name, value in candidate.params.items()}
        merit = sum(worth[name][place] for name, place in places.items())
        pace = math.exp(sum(slower[name][place] for name, place in places.items()))
        top1 = 0.30 + 0.06 * math.log2(candidate.madds / 50e6) + merit
        latency = (1.5 + candidate.madds / 2.2e7) * pace
        trial = _results(_known(number, candidate, arch_id, costs), top1, latency, rng)
        now += timedelta(seconds=(trial.train_seconds or 5.0) / 2)  # two workers
        trial = dataclasses.replace(trial, finished=now.isoformat(timespec="seconds"))
        yield trial_line(trial, OBJECTIVES, knobs)
        if trial.outcome != "trained":
            continue
        found[number] = [trial.metric(name) * (-1 if name == "top1" else 1) for name in OBJECTIVES]
        if merit > 0.43 * spread:  # the upper third of a normal distribution
            training = _longer(trial, 1, 0, top1, rng)
            yield training_line(number, training)
            found[number, 0] = -(training.top1 or 0.0)
            finalists = sorted([*finalists, (-merit, top1, trial)], key=lambda one: (one[0], one[2].number))
            del finalists[FINALISTS:]
    for _, top1, trial in finalists:
        for training_seed in range(SEEDS):
            yield training_line(trial.number, _longer(trial, 2, training_seed, top1, rng))
    for number in np.flatnonzero(pareto_mask(found))[:MEASURED_AGAIN].tolist():
        measured = _latency(float(found[number, 2]) * rng.gauss(1, 0.01), rng)
        final = FinalLatency(measured, f"after {trials} trials", now.isoformat(timespec="seconds"))
        yield latency_line(number, final)


def _candidates(ground: Ground, count: int, rng: random.Random) -> Iterator[tuple[Candidate, str, Costs]]:
    """The published networks inside the budget, then mutations of solved ones, none twice, with arch_id and costs."""
    pool: list[Candidate] = []
    for name, config in PRESETS.items():
        costs, params = count_costs(config), ground.space.find_params(config)
        if len(pool) < count and params is not None and ground.budget.low <= costs.madds <= ground.budget.high:
            pool.append(ground.placed(f"preset {name}", Sized(params, 1.0, config, costs.madds)))
            ground.seen.add(config.arch_id)
            yield pool[-1], config.arch_id, costs
    given = len(pool)
    while given < count:
        if len(pool) < SOLVED and (drawn := ground.drawn("random", rng)) is not None:
            pool.append(drawn)
        parent = rng.choice(pool)
        params = ground.mutate(ground.mutate(parent.params, rng), rng)
        try:
            config = ground.space.resolve({k.name: params[k.name] for k in ground.space.knobs}, parent.width)
        except ValueError:  # a combination that cannot be built
            continue
        costs = count_costs(config)
        if not ground.budget.low <= costs.madds <= ground.budget.high or (arch_id := config.arch_id) in ground.seen:
            continue
        ground.seen.add(arch_id)
        child = Candidate(rng.choice(["gp", "tpe", "tpe", "local"]), params, parent.width, config, costs.madds)
        pool[rng.randrange(len(pool))] = child  # the pool drifts through the space
        given += 1
        yield child, arch_id, costs


def _known(number: int, candidate: Candidate, arch_id: str, costs: Costs) -> Trial:
    """What a search knows of a trial before its evaluation."""
    return Trial(
        number=number,
        outcome="trained",
        origin=candidate.origin,
        params=candidate.params,
        proposal=number,
        width=candidate.width,
        arch_id=arch_id,
        config_data=candidate.config.to_dict(),
        madds=costs.madds,
        macs=costs.macs,
        num_params=costs.num_params,
        activation_bytes=costs.activation_bytes,
        resolution=candidate.config.resolution,
        seed=0,
        device="cpu",
    )


def _results(trial: Trial, top1: float, latency: float, rng: random.Random) -> Trial:
    """What came of a trial whose network has that true top1 and latency (ms)."""
    if trial.number >= 8:  # a search predicts from eight measurements on
        guess = latency * rng.gauss(1, 0.03)
        trial = dataclasses.replace(trial, predicted=Prediction(guess, 0.94 * guess, 1.06 * guess), turned_down=0)
    outcome = rng.choices(["trained", *LOST], [1 - sum(LOST.values()), *LOST.values()])[0]
    trial = dataclasses.replace(trial, outcome=outcome)
    if outcome == "rejected":
        latency = LIMIT_MS * (1.01 + rng.expovariate(20))
        reason = f"latency {latency:.2f} ms is over the limit {LIMIT_MS:g} ms"
        return dataclasses.replace(
            trial, reason=reason, measured=_latency(latency, rng), violation_ms=latency - LIMIT_MS
        )
    measured = _latency(latency if latency <= LIMIT_MS else LIMIT_MS * rng.uniform(0.9, 0.999), rng)
    trial = dataclasses.replace(trial, measured=measured)
    if outcome == "failed":
        return dataclasses.replace(trial, reason="loss became NaN")
    half, end = (_log(EPOCHS * share, top1 - 0.08 * (1 - share), rng) for share in (0.5, 1.0))
    seconds = 20 + measured.ms * rng.uniform(5, 6)
    if outcome == "stopped":
        short = Training(top1=half.top1, epochs=EPOCHS / 2, curve=(half,), train_seconds=seconds / 2)
        return dataclasses.replace(trial, reason=f"top1 {half.top1:.2%} half way", short=short)
    short = Training(
        seed=0,
        top1=end.top1,
        score=SCORES["val_loss"](end),
        epochs=EPOCHS,
        curve=(half, end),
        train_seconds=seconds,
        images_per_second=8000 / seconds,
    )
    return dataclasses.replace(trial, short=short)


def _longer(trial: Trial, rung: int, seed: int, top1: float, rng: random.Random) -> Training:
    """A longer training of a trained network of that true short top1."""
    assert trial.short is not None
    assert trial.train_seconds is not None
    ends = [_log(EPOCHS * factor, top1 + gain, rng) for factor, gain in zip(FACTORS, GAIN, strict=True)]
    curve = (*trial.short.curve[:1], *ends[: rung + 1])
    return Training(
        rung=rung,
        seed=seed,
        top1=curve[-1].top1,
        score=SCORES["val_loss"](curve[-1]),
        epochs=EPOCHS * FACTORS[rung],
        curve=curve,
        train_seconds=trial.train_seconds * FACTORS[rung],
        finished=trial.finished,
    )


def _log(epoch: float, top1: float, rng: random.Random) -> EpochLog:
    """One point of a curve, about a true top1."""
    seen = round(min(0.99, max(0.05, rng.gauss(top1, NOISE))), 4)
    loss = 2.6 - 2.4 * seen
    return EpochLog(epoch=epoch, loss=loss + 0.2, top1=seen, val_loss=loss, seconds=300.5 * epoch)


def _latency(latency_ms: float, rng: random.Random) -> TrialLatency:
    half = abs(rng.gauss(0.01, 0.003))
    return TrialLatency(latency_ms, latency_ms * (1 - half), latency_ms * (1 + half), latency_ms / 5, half > 0.01)


def manifest_of(name: str, ground: Ground, trials: int, seed: int) -> dict[str, Any]:
    """What a search's manifest says of it, with the words that nothing of it was measured."""
    knobs = {knob.name: list(knob.choices) for knob in ground.space.knobs}
    budget = {"low": ground.budget.low, "high": ground.budget.high, "stated": True}
    return {
        "schema": 1,
        "study": name,
        "created": BEGUN.isoformat(),
        "budget": budget,
        "objectives": OBJECTIVES,
        "latency_limit_ms": LIMIT_MS,
        "latency_cmd": None,
        "space": {"name": ground.space.name, "digest": ground.space.digest, "knobs": knobs},
        "data": {"name": "simulated", "digest": "", "classes": 10, "train_images": 40000, "val_images": 5000},
        "recipe": {"resolution": 48, "epochs": EPOCHS, "samples": 40000},
        "rungs": {"factors": FACTORS, "keep": 3.0, "finalists": FINALISTS, "seeds": SEEDS, "rank_by": "val_loss"},
        "deployment": {"resolution": 224, "classes": 1000},
        "sampler": "auto",
        "seed": seed,
        "device": "cpu",
        "passport": {"cpu": "simulated, nothing was measured", "cores": 2, "threads": 1},
        "baseline_ms": 5.0,
        "storage": None,
        "command": f"python benchmarks/simulated_study.py {name} --trials {trials} --seed {seed}",
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make up a large study.")
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.folder.exists():
        parser.error(f"{args.folder} is there already")
    simulate(args.folder, args.trials, args.seed)
