"""How well latency is predicted from a few measured networks: beside a fit to multiply-adds, by how many are measured.

    python benchmarks/latency_model.py --measure [--passes 2]     # about half an hour; again: goes on
    python benchmarks/latency_model.py [--json]                   # the figures from the file, in seconds

Networks of the space mobile_former between 26M and 300M multiply-adds: 40 chosen to spread over what the predictor
does not know, 40 drawn at random, and 30 drawn at random that no fit ever sees. Each is measured once in each pass,
in turns, and its latency is the median over the passes. The second device is this machine without ONNX Runtime's
blocked layout (graph level EXTENDED), on which networks take 1.5 to 2.5 times as long: other kernels, as on another
processor. Fits to fewer than 40 are averaged over 20 choices of which. "From nothing" and "rates unknown" leave every
rate a factor of seven; else fits begin at the built-in rates, which came later from the 80 networks that are fitted to.

Last figures: AMD EPYC with 2 cores, ONNX Runtime 1.32.0, 2 passes of 8 rounds, load average about 4 all along. Two
passes of one network differ by 4.8 % (median), so no prediction of a single measurement can do better.

    on 30 held out, 3.2 to 14.8 ms     within 10%  median error  Spearman  in 95 % interval
      40 spread out                           93%          3.5%      0.98          97%
      40 at random                            87%          3.4%      0.99         100%
      40, one pass                            90%          5.1%      0.98         100%
      40, rates unknown                       97%          3.4%      0.98          97%
      multiply-adds                           23%         14.9%      0.87          97%
      parameters                              17%         29.7%      0.61          97%
      10, 15, 20, 30 spread out    78 80 88 93 %   6.2 5.5 4.5 3.8 %
      10, 15, 20, 30 at random     80 84 84 87 %   5.1 4.7 4.4 4.0 %
    the second device, from the first
      10, 15, 20, 30, 40        53 67 72 78 80 %   10.0 6.6 5.7 4.9 4.6 %
    the same, from nothing
      10, 15, 20, 30, 40        46 63 70 76 80 %   11.4 7.8 6.1 5.0 4.2 %

So forty networks chosen to spread out are no better than forty drawn at random, by what 30 networks can tell, and what
is known of one device helps little on another whose kernels are so different.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import onnxruntime
from scipy.stats import spearmanr

from mfsearch.config import MobileFormerConfig
from mfsearch.cost.latency_model import (
    NOISE,
    WITHIN,
    Array,
    Prediction,
    Rates,
    accuracy,
    count_work,
    fit_rates,
    leave_one_out,
    unmeasured,
)
from mfsearch.cost.madds import count_costs
from mfsearch.cost.meter import LatencyMeter
from mfsearch.space import find_space
from mfsearch.space.solve import fit

MEASURED = Path("results/reference/latency/measured.json")
LOW, HIGH = 26e6, 300e6  # multiply-adds
COUNTS = {"spread": 40, "random": 40, "held_out": 30}
POOL = 400  # random networks that `spread` is chosen from
ROUNDS = 8
STEPS = (10, 15, 20, 30, 40)
SUBSETS = 20  # choices of fewer than 40, over which figures are averaged
LOOSE = 2.0  # standard deviation of log rates, for a fit that knows next to nothing beforehand


class Network(NamedTuple):
    """A network and what was measured of it: milliseconds of each pass by device."""

    group: str
    config: MobileFormerConfig
    ms: dict[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--measure", action="store_true", help="measure first, or go on with it")
    parser.add_argument("--passes", type=int, default=2, help="measurements of each network (default: %(default)s)")
    parser.add_argument("--file", type=Path, default=MEASURED, help="measurements (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args()
    if args.measure:
        measure(args.file, args.passes)
    figures = evaluate(read(args.file))
    print(json.dumps(figures, indent=1) if args.json else as_text(figures))


# --- networks


def draws(seed: int, count: int) -> list[MobileFormerConfig]:
    """Random networks of the space, their multiply-adds log-uniform."""
    space, rng = find_space("mobile_former"), random.Random(seed)
    found: list[MobileFormerConfig] = []
    while len(found) < count:
        params, target = space.draw(rng), LOW * (HIGH / LOW) ** rng.random()
        try:
            sized = fit(space, params, 0.85 * target, target)
        except ValueError:
            continue
        if sized is not None:
            found.append(sized.config)
    return found


def spread_out(pool: list[MobileFormerConfig], count: int) -> list[MobileFormerConfig]:
    """Those of the pool that tell the most about the rates, each given the ones before it (greedy D-optimal)."""
    prior = unmeasured()
    parts = np.stack([count_work(config) for config in pool]) * np.exp(prior.log_rates)
    shares, covariance, chosen = parts / parts.sum(1)[:, None], prior.covariance, []
    for _ in range(count):
        variance = np.einsum("nk,kl,nl->n", shares, covariance, shares)
        k = int(variance.argmax())
        told = covariance @ shares[k]
        covariance = covariance - np.outer(told, told) / (NOISE**2 + variance[k])
        chosen.append(pool[k])
    return chosen


# --- measuring


def measure(path: Path, passes: int) -> None:
    """Measure what the file lacks; written anew after every network."""
    from mfsearch.cost.onnx_export import export_onnx
    from mfsearch.model import MobileFormer

    meter = LatencyMeter.open()
    if path.exists():
        networks = read(path)
    else:
        sets = {
            "spread": spread_out(draws(0, POOL), COUNTS["spread"]),
            "random": draws(3, COUNTS["random"]),
            "held_out": draws(2, COUNTS["held_out"]),
        }
        networks = [Network(group, config, {"blocked": [], "plain": []}) for group, of in sets.items() for config in of]
    order = random.Random(0).sample(range(len(networks)), len(networks))  # what drifts hits all groups alike
    plan = [(device, k) for device in DEVICES for k in range(passes)]
    with tempfile.TemporaryDirectory() as folder:
        onnx = Path(folder) / "network.onnx"
        for device, number in plan:
            for network in (networks[k] for k in order):
                if len(network.ms[device]) > number or (device == "plain" and network.group == "random"):
                    continue
                export_onnx(MobileFormer(network.config), network.config.resolution, onnx, check=False)
                with DEVICES[device]():
                    latency = meter.measure(onnx, min_rounds=ROUNDS, max_rounds=ROUNDS)
                network.ms[device].append(round(latency.latency_ms, 4))
                write(path, networks, meter)


@contextmanager
def _blocked() -> Iterator[None]:
    yield


@contextmanager
def _plain() -> Iterator[None]:
    """Sessions without the blocked layout; the reference network keeps its time, so that milliseconds are real."""
    make, level = onnxruntime.InferenceSession, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    reference = LatencyMeter.open().reference

    def session(onnx: bytes, options: Any, **more: Any) -> Any:
        if onnx != reference:
            options.graph_optimization_level = level
        return make(onnx, options, **more)

    with mock.patch("onnxruntime.InferenceSession", session):
        yield


DEVICES: dict[str, Callable[[], Any]] = {"blocked": _blocked, "plain": _plain}


def write(path: Path, networks: list[Network], meter: LatencyMeter) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"group": n.group, "ms": n.ms, "config": n.config.to_dict()} for n in networks]
    head = {"passport": meter.passport.as_dict(), "baseline_ms": meter.baseline_ms, "rounds": ROUNDS}
    head["date"] = date.today().isoformat()
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(head)[:-1] + ', "networks": [\n' + lines + "\n]}\n")
    os.replace(part, path)  # noqa: PTH105, os.replace is what makes it atomic


def read(path: Path) -> list[Network]:
    rows = json.loads(path.read_text())["networks"]
    return [Network(row["group"], MobileFormerConfig.from_dict(row["config"]), row["ms"]) for row in rows]


# --- figures


class Set(NamedTuple):
    """Work [N, K], multiply-adds, parameters and latency [N] of some networks on one device."""

    work: Array
    madds: Array
    num_params: Array
    ms: Array


def gathered(networks: list[Network], device: str, *groups: str, passes: slice = slice(None)) -> Set:
    chosen = [n for group in groups for n in networks if n.group == group and n.ms[device]]
    costs = [count_costs(n.config) for n in chosen]
    ms = [np.median(n.ms[device][passes]) for n in chosen]
    return Set(
        work=np.stack([count_work(n.config) for n in chosen]),
        madds=np.array([cost.madds for cost in costs], dtype=np.float64),
        num_params=np.array([cost.num_params for cost in costs], dtype=np.float64),
        ms=np.array(ms, dtype=np.float64),
    )


def loose() -> Rates:
    """Next to nothing known beforehand: every rate within a factor of about seven."""
    known = unmeasured()
    return known._replace(covariance=known.covariance + LOOSE**2 * np.eye(len(known.log_rates)))


def judged(predicted: list[Prediction], truth: Array) -> dict[str, float]:
    found = accuracy(predicted, truth)
    guesses = np.array([one.latency_ms for one in predicted])
    return {**found._asdict(), "spearman": float(spearmanr(guesses, truth).statistic)}


def averaged(known: Set, count: int, prior: Rates, held_out: Set) -> dict[str, float]:
    """The figures of fits to some of the known networks, the mean over seeded choices of which."""
    rng, found = np.random.default_rng(0), []
    for _ in range(SUBSETS if count < len(known.ms) else 1):
        few = rng.permutation(len(known.ms))[:count]
        found.append(judged(fit_rates(known.work[few], known.ms[few], prior).predict(held_out.work), held_out.ms))
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def line(known: Array, ms: Array, asked: Array) -> list[Prediction]:
    """A fit of log latency to one cost, a line, with the 95 % interval of its residuals."""
    x = np.stack([np.ones(len(known)), np.log(known)], axis=1)
    weights = np.linalg.lstsq(x, np.log(ms), rcond=None)[0]
    half = math.exp(2.02 * float((np.log(ms) - x @ weights).std(ddof=2)))
    guesses = np.exp(weights[0] + weights[1] * np.log(asked)).tolist()
    return [Prediction(guess, guess / half, guess * half) for guess in guesses]


def evaluate(networks: list[Network]) -> dict[str, Any]:
    """All figures, as plain data."""
    spread, drawn, held_out = (gathered(networks, "blocked", group) for group in ("spread", "random", "held_out"))
    once = gathered(networks, "blocked", "spread", passes=slice(1))
    unseen = gathered(networks, "blocked", "held_out", "random")
    rates = fit_rates(spread.work, spread.ms, unmeasured())
    table = {
        "40 spread out": judged(rates.predict(held_out.work), held_out.ms),
        "40 spread out, on 70": judged(rates.predict(unseen.work), unseen.ms),
        "40 at random": judged(fit_rates(drawn.work, drawn.ms, unmeasured()).predict(held_out.work), held_out.ms),
        "40, one pass": judged(fit_rates(once.work, once.ms, unmeasured()).predict(held_out.work), held_out.ms),
        "40, rates unknown": judged(fit_rates(spread.work, spread.ms, loose()).predict(held_out.work), held_out.ms),
        "multiply-adds": judged(line(drawn.madds, drawn.ms, held_out.madds), held_out.ms),
        "parameters": judged(line(drawn.num_params, drawn.ms, held_out.num_params), held_out.ms),
    }
    by_count = {
        str(count): {
            "spread out": averaged(spread, count, unmeasured(), held_out),
            "at random": averaged(drawn, count, unmeasured(), held_out),
            "spread out, from nothing": averaged(spread, count, loose(), held_out),
        }
        for count in STEPS
    }
    pairs = np.array([n.ms["blocked"][:2] for n in networks if len(n.ms["blocked"]) > 1])
    figures: dict[str, Any] = {
        "networks": len(networks),
        "ms": [float(held_out.ms.min()), float(held_out.ms.max())],
        "repeat_error": float(np.median(np.abs(pairs[:, 1] / pairs[:, 0] - 1))) if len(pairs) else None,
        "leave_one_out": leave_one_out(spread.work, spread.ms, unmeasured())._asdict(),
        "held_out": table,
        "by_count": by_count,
    }
    if any(n.ms["plain"] for n in networks):
        figures["elsewhere"] = elsewhere(networks, rates)
    return figures


def elsewhere(networks: list[Network], rates: Rates) -> dict[str, Any]:
    """The second device by number of measurements and by what is known of its rates beforehand."""
    spread, held_out = (gathered(networks, "plain", group) for group in ("spread", "held_out"))
    here = gathered(networks, "blocked", "held_out")
    ratios = held_out.ms / here.ms[: len(held_out.ms)]
    found: dict[str, Any] = {"times_slower": [float(ratios.min()), float(ratios.max())]}
    for count in (5, *STEPS):
        found[str(count)] = {
            "from the first device": averaged(spread, count, rates.elsewhere(), held_out),
            "from the built-in rates": averaged(spread, count, unmeasured(), held_out),
            "from nothing": averaged(spread, count, loose(), held_out),
        }
    found["40"]["multiply-adds"] = judged(line(spread.madds, spread.ms, held_out.madds), held_out.ms)
    return found


def as_text(figures: dict[str, Any]) -> str:
    repeat = "-" if figures["repeat_error"] is None else f"{figures['repeat_error']:.1%}"
    lines = [
        f"{figures['networks']} networks, held out {figures['ms'][0]:.1f} to {figures['ms'][1]:.1f} ms",
        f"two passes differ by {repeat} (median)",
        f"{'on 30 held out':36} within {WITHIN:.0%}  median error  Spearman  in interval",
        *(row(name, found) for name, found in figures["held_out"].items()),
        row("40 spread out, leave one out", {**figures["leave_one_out"], "spearman": math.nan}),
        "by number of measurements",
    ]
    for count, arms in figures["by_count"].items():
        lines += [row(f"{count} {name}", found) for name, found in arms.items()]
    if "elsewhere" in figures:
        slower = figures["elsewhere"].pop("times_slower")
        lines.append(f"without the blocked layout, {slower[0]:.1f} to {slower[1]:.1f} times as slow")
        for count, arms in figures["elsewhere"].items():
            lines += [row(f"{count} {name}", found) for name, found in arms.items()]
    return "\n".join(lines)


def row(name: str, found: dict[str, float]) -> str:
    return (
        f"  {name:34} {found['within']:10.0%} {found['median_error']:13.1%} {found['spearman']:9.2f} "
        f"{found['covered']:12.0%}"
    )


if __name__ == "__main__":
    main()
