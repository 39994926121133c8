"""Measured latency: batch 1, fp32, ONNX Runtime on CPU, as a ratio to a reference network timed alternately with it.

The protocol comes from timing a network against itself (figures in benchmarks/latency_aa.py):

- Network and reference alternate, A B B A, so that a slow spell of the machine slows both.
- With one thread the clock is the thread's CPU time, which stops while another process has the core. Wall time is not
  usable on a busy machine: it rounds every run up to the scheduler's time slices.
- Every round opens both sessions again. The place of a session in memory changes its speed by up to 4 % for as long as
  it lives, and more runs do not average that out. Rounds alternate which network is first: a network that was always
  first came out 0.5 to 0.9 % faster than itself.
- A turn is one untimed run and the fastest of five, because disturbances only make a run longer.
- Milliseconds are the ratio times the reference's time on this device, which is measured once and kept.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from mfsearch.cost.passport import DevicePassport, read_passport

CONFIDENCE = 0.95
MIN_VALUES = 6  # with fewer, even the smallest and the largest do not enclose the median with 95 %
WARM_UPS = 20
RUNS_PER_TURN = 5
BASELINE_ROUNDS = 15
MAX_REFERENCE_SPREAD = 0.10  # interquartile range over median: usually 0.04 to 0.06, 0.11 to 0.15 beside other work
MAX_WAITING = 0.05  # share of wall time: 0.001 on a quiet machine, 0.67 with two busy processes on two cores

Timer = Callable[[], float]


@dataclass(frozen=True)
class Latency:
    """The latency of one network on one device: the median over rounds, with its 95 % interval."""

    latency_ms: float
    latency_low_ms: float
    latency_high_ms: float
    ratio: float  # to the reference network, in the same run
    ratio_low: float
    ratio_high: float
    rounds: int
    disturbed: bool
    passport: DevicePassport

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return asdict(self)


class Round(NamedTuple):
    """One A B B A or B A A B: two turns of the network and two of the reference, in milliseconds."""

    network_ms: tuple[float, float]
    reference_ms: tuple[float, float]
    waiting: float = 0.0  # share of wall time in which another process had the core

    @property
    def ratio(self) -> float:
        """Network over reference; a linear drift over the four turns cancels."""
        return sum(self.network_ms) / sum(self.reference_ms)


class Interval(NamedTuple):
    """A median and the bounds of its 95 % confidence interval."""

    median: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half the interval as a fraction of the median."""
        return (self.high - self.low) / 2 / self.median


def median_interval(values: Sequence[float]) -> Interval:
    """Return the median and its exact 95 % interval, valid for any distribution.

    The bounds are the k-th smallest and k-th largest of n independent values. Each misses the true median with
    P(Binomial(n, 1/2) < k), and k is the largest for which that is at most 2.5 %. Raises ValueError below 6 values.
    """
    if len(values) < MIN_VALUES:
        raise ValueError(f"the median's 95 % interval needs at least {MIN_VALUES} values, got {len(values)}")
    ordered = sorted(values)
    n = len(ordered)
    k = 0
    missed = 1  # outcomes of n coin flips with at most k heads, of 2**n
    while missed / 2**n <= (1 - CONFIDENCE) / 2:
        k += 1
        missed += math.comb(n, k)
    return Interval(statistics.median(ordered), ordered[k - 1], ordered[n - k])


def collect_rounds(
    play_round: Callable[[], Round],
    *,
    min_rounds: int,
    max_rounds: int,
    time_limit_s: float,
    target: float,
    clock: Timer = time.monotonic,
) -> list[Round]:
    """Play rounds until the interval of their ratio is within +-target, or until max_rounds or the time limit.

    At least `min_rounds` are played, whatever the time.
    """
    if min_rounds < MIN_VALUES:
        raise ValueError(f"min_rounds must be at least {MIN_VALUES}, got {min_rounds}")
    if max_rounds < min_rounds:
        raise ValueError(f"max_rounds must be at least min_rounds = {min_rounds}, got {max_rounds}")
    if not time_limit_s > 0:
        raise ValueError(f"time_limit_s must be above 0 seconds, got {time_limit_s}")
    if not 0 < target < 1:
        raise ValueError(f"target must lie between 0 and 1, a fraction of the ratio, got {target}")
    end = clock() + time_limit_s
    rounds = [play_round() for _ in range(min_rounds)]
    while (
        len(rounds) < max_rounds
        and clock() < end
        and median_interval([one.ratio for one in rounds]).half_width > target
    ):
        rounds.append(play_round())
    return rounds


def summarise(rounds: Sequence[Round], *, baseline_ms: float, target: float, passport: DevicePassport) -> Latency:
    """Return the latency from rounds.

    `disturbed` means that a second measurement is worthwhile: the interval missed the target, or the middle half of the
    reference's turns spreads over more than 10 % of their median, or other processes had more than 5 % of wall time.
    """
    ratio = median_interval([one.ratio for one in rounds])
    reference_ms = [turn for one in rounds for turn in one.reference_ms]
    quarter, half, three_quarters = statistics.quantiles(reference_ms, n=4, method="inclusive")
    return Latency(
        latency_ms=ratio.median * baseline_ms,
        latency_low_ms=ratio.low * baseline_ms,
        latency_high_ms=ratio.high * baseline_ms,
        ratio=ratio.median,
        ratio_low=ratio.low,
        ratio_high=ratio.high,
        rounds=len(rounds),
        disturbed=ratio.half_width > target
        or (three_quarters - quarter) / half > MAX_REFERENCE_SPREAD
        or statistics.median(one.waiting for one in rounds) > MAX_WAITING,
        passport=passport,
    )


@dataclass(frozen=True)
class LatencyMeter:
    """Measures networks on this device against one reference network; create it by LatencyMeter.open()."""

    passport: DevicePassport
    baseline_ms: float  # the reference network's time for one image
    reference: bytes = field(repr=False)  # the reference's ONNX file
    timer: Timer  # seconds

    @classmethod
    def open(cls, threads: int = 1, cache_dir: Path | None = None, *, timer: Timer | None = None) -> LatencyMeter:
        """Return a meter for `threads` threads; reads the baseline from `cache_dir`, or measures it in a few seconds.

        The baseline is measured once per passport and kept, so that milliseconds are comparable between runs; delete
        its file to measure it again. `cache_dir` defaults to ~/.cache/mfsearch. `timer` defaults to the thread's CPU
        time with one thread and to wall time with more.
        """
        from mfsearch.cost.reference_net import REFERENCE_VERSION

        passport = read_passport(threads)
        if threads > passport.cores:
            raise ValueError(f"threads must be at most the {passport.cores} cores of this machine, got {threads}")
        if timer is None:
            timer = time.thread_time if threads == 1 and _step_s(time.thread_time) < 1e-4 else time.perf_counter
        reference = reference_onnx()
        cache_dir = cache_dir or Path.home() / ".cache" / "mfsearch"
        path = cache_dir / f"baseline-{REFERENCE_VERSION}-{passport.digest}.json"
        baseline_ms = _cached_baseline_ms(
            path, passport, lambda: _measure_baseline_ms(reference, threads=threads, timer=timer)
        )
        return cls(passport, baseline_ms, reference, timer)

    def measure(
        self,
        onnx_path: Path,
        *,
        min_rounds: int = 30,
        max_rounds: int = 100,
        time_limit_s: float = 30.0,
        target: float = 0.01,
    ) -> Latency:
        """Return the latency of the network in an ONNX file with one fp32 input of static shape.

        Plays rounds until the ratio's interval is within +-target, see collect_rounds(). Pins the calling thread to
        the quietest core meanwhile, if the system allows. Raises FileNotFoundError if the file is missing, and
        ValueError if ONNX Runtime cannot run it.
        """
        threads = self.passport.threads
        network = Path(onnx_path).read_bytes()
        with pinned(threads):
            try:
                first_ms = _warm_up(open_session(network, threads))
            except Exception as error:  # ONNX Runtime's exceptions have no common base class
                raise ValueError(f"{onnx_path} must be an ONNX file that ONNX Runtime can run, got: {error}") from error
            first_ms = max(first_ms, _warm_up(open_session(self.reference, threads)))
            play = _rounds(network, self.reference, threads=threads, runs=_runs_per_turn(first_ms), timer=self.timer)
            rounds = collect_rounds(
                lambda: next(play),
                min_rounds=min_rounds,
                max_rounds=max_rounds,
                time_limit_s=time_limit_s,
                target=target,
            )
        return summarise(rounds, baseline_ms=self.baseline_ms, target=target, passport=self.passport)


def open_session(onnx: bytes, threads: int) -> Callable[[], Any]:
    """Open a session of ONNX Runtime; the returned call runs it on one fixed random image."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    inputs = session.get_inputs()
    shapes = {one.name: one.shape for one in inputs}
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or not all(isinstance(n, int) for n in inputs[0].shape):
        raise ValueError(f"the network must have one fp32 input of static shape, got {shapes}")
    image = np.random.default_rng(0).standard_normal(inputs[0].shape, dtype=np.float32)
    feed = {inputs[0].name: image}
    return lambda: session.run(None, feed)


def _warm_up(run: Callable[[], Any]) -> float:
    """Run up to 20 times, for at most a second, and return the fastest run in milliseconds of wall time."""
    start = time.perf_counter()
    fastest = math.inf
    for _ in range(WARM_UPS):
        before = time.perf_counter()
        run()
        now = time.perf_counter()
        fastest = min(fastest, now - before)
        if now - start > 1.0:
            break
    return fastest * 1e3


def _runs_per_turn(run_ms: float) -> int:
    """Five runs; fewer if the slower of the two networks takes more than 50 ms."""
    return max(1, min(RUNS_PER_TURN, int(250 / run_ms)))


def _rounds(network: bytes, reference: bytes, *, threads: int, runs: int, timer: Timer) -> Iterator[Round]:
    """Endless rounds, A B B A and B A A B alternately, each with new sessions."""
    for network_first in itertools.cycle([True, False]):
        first, last = (network, reference) if network_first else (reference, network)
        outer, inner = open_session(first, threads), open_session(last, threads)
        outer()  # a session's first run also allocates memory
        inner()
        wall_start_s, start_s = time.perf_counter(), timer()
        turns_ms = [_turn_ms(run, runs=runs, timer=timer) for run in (outer, inner, inner, outer)]
        working_s, wall_s = timer() - start_s, time.perf_counter() - wall_start_s
        outer_ms, inner_ms = (turns_ms[0], turns_ms[3]), (turns_ms[1], turns_ms[2])
        network_ms, reference_ms = (outer_ms, inner_ms) if network_first else (inner_ms, outer_ms)
        yield Round(network_ms, reference_ms, waiting=max(0.0, 1 - working_s / wall_s))


def _turn_ms(run: Callable[[], Any], *, runs: int, timer: Timer) -> float:
    """The fastest of some runs in milliseconds, after one run that brings the weights back into the caches."""
    run()
    fastest = math.inf
    for _ in range(runs):
        start = timer()
        run()
        fastest = min(fastest, timer() - start)
    return fastest * 1e3


def _step_s(timer: Timer) -> float:
    """The timer's smallest step in seconds; some systems count CPU time in ticks of 10 ms or more."""
    start = timer()
    while (now := timer()) == start:
        pass
    return now - start


def reference_onnx() -> bytes:
    """The reference network with seeded weights, as the contents of an ONNX file."""
    import torch

    from mfsearch.cost.onnx_export import export_onnx
    from mfsearch.cost.reference_net import REFERENCE_RESOLUTION, mobilenet_v3_large

    with torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        path = Path(folder) / "reference.onnx"
        export_onnx(mobilenet_v3_large(), REFERENCE_RESOLUTION, path, check=False)
        return path.read_bytes()


def _measure_baseline_ms(reference: bytes, *, threads: int, timer: Timer) -> float:
    """The reference's own time: the lower quartile over new sessions, because disturbances only add time."""
    with pinned(threads):
        runs = _runs_per_turn(_warm_up(open_session(reference, threads)))
        turns_ms = []
        for _ in range(BASELINE_ROUNDS):
            session = open_session(reference, threads)
            session()
            turns_ms += [_turn_ms(session, runs=runs, timer=timer) for _ in range(2)]
    return statistics.quantiles(turns_ms, n=4, method="inclusive")[0]


def _cached_baseline_ms(path: Path, passport: DevicePassport, measure_ms: Callable[[], float]) -> float:
    """The baseline in this passport's file; without a file it is measured and written.

    If the file cannot be read or written, we warn and measure now. A lock prevents two processes from disturbing each
    other's measurement and from using two baselines.
    """
    from filelock import FileLock

    baseline_ms: float | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            baseline_ms = _kept_baseline_ms(path)
            if baseline_ms is None:
                baseline_ms = measure_ms()
                content = {"baseline_ms": baseline_ms, "passport": passport.as_dict(), "date": date.today().isoformat()}
                written = path.with_suffix(".tmp")
                written.write_text(json.dumps(content, indent=1))
                os.replace(written, path)  # noqa: PTH105, os.replace is what makes it atomic
    except OSError as error:
        warnings.warn(
            f"the latency baseline cannot be kept in {path.parent}, so it holds for this run only: {error}",
            RuntimeWarning,
            stacklevel=3,
        )
    return measure_ms() if baseline_ms is None else baseline_ms


def _kept_baseline_ms(path: Path) -> float | None:
    """The baseline in a file; None without a file, and None with a warning if the content is invalid."""
    if not path.exists():
        return None
    try:
        baseline_ms = float(json.loads(path.read_text())["baseline_ms"])
        if not 0 < baseline_ms < math.inf:
            raise ValueError(f"baseline_ms must be above 0, got {baseline_ms}")
    except (ValueError, TypeError, KeyError) as error:
        warnings.warn(
            f"the latency baseline in {path} is not readable and is measured again: {error!r}",
            RuntimeWarning,
            stacklevel=4,
        )
        return None
    return baseline_ms


@contextmanager
def pinned(threads: int) -> Iterator[None]:
    """Pin the calling thread to the quietest cores, one per thread; does nothing if the system cannot."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, _quietest_cores(allowed, threads))
    except OSError:  # some sandboxes forbid it
        yield
        return
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _quietest_cores(allowed: Collection[int], count: int) -> list[int]:
    """The cores that worked least in the last 0.1 s; the lowest numbers if the system does not say."""
    before = _busy_ticks()
    time.sleep(0.1)
    after = _busy_ticks()
    return sorted(allowed, key=lambda core: (after.get(core, 0) - before.get(core, 0), core))[:count]


def _busy_ticks() -> dict[int, int]:
    """The time that each core has worked so far, from /proc/stat, in ticks of about 10 ms."""
    try:
        lines = Path("/proc/stat").read_text().splitlines()
    except OSError:
        return {}
    rows = [line.split() for line in lines if line.startswith("cpu") and line[3].isdigit()]
    # user, nice, system, idle, iowait, interrupts, ...: all but idle and iowait is work
    return {int(row[0][3:]): sum(map(int, row[1:4])) + sum(map(int, row[6:9])) for row in rows}
