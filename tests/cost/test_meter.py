import json
import math
import os
import random
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from mfsearch.cli import main
from mfsearch.cost.meter import Interval, Latency, LatencyMeter, Round, collect_rounds, median_interval, summarise
from mfsearch.cost.onnx_export import export_onnx
from mfsearch.cost.passport import DevicePassport

PASSPORT = DevicePassport("Abacus", 4, "unknown", 1, "onnxruntime", "1.20.0", "CPUExecutionProvider", "Linux x86_64")


@pytest.fixture(scope="module")
def small_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "small.onnx"
    export_onnx(nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(1800, 10)), 32, path)
    return path


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def meter(cache_dir: Path) -> LatencyMeter:
    return LatencyMeter.open(cache_dir=cache_dir)


def quiet_rounds(n: int, ratio: float = 2.0) -> list[Round]:
    """Rounds of a quiet machine: the reference takes 5 ms, give or take one percent."""
    draw = random.Random(0)
    return [
        Round(network_ms=(a * ratio, b * ratio), reference_ms=(b, a))
        for a, b in ((5 * draw.uniform(0.99, 1.01), 5 * draw.uniform(0.99, 1.01)) for _ in range(n))
    ]


@pytest.mark.parametrize(
    ("n", "k"),
    # the k-th smallest and k-th largest value, from the table of the sign test: largest k with P(B < k) <= 0.025
    [(6, 1), (8, 1), (9, 2), (11, 2), (12, 3), (15, 4), (17, 5), (20, 6), (25, 8), (30, 10), (40, 14), (50, 18)],
)
def test_interval_takes_the_order_statistics_of_the_sign_test(n: int, k: int) -> None:
    values = list(range(1, n + 1))
    random.Random(n).shuffle(values)
    given = list(values)
    assert median_interval(values) == ((n + 1) / 2, k, n + 1 - k)
    assert values == given


def test_interval_ignores_how_far_outliers_lie() -> None:
    assert (
        median_interval([1, 2, 3, 4, 5, 6, 7, 8, 1e9]) == median_interval([-1e9, 2, 3, 4, 5, 6, 7, 8, 9]) == (5, 2, 8)
    )


def test_interval_holds_the_median_as_often_as_it_says() -> None:
    draw = random.Random(1)
    intervals = [median_interval([draw.expovariate(1.0) for _ in range(25)]) for _ in range(2000)]
    held = sum(low <= math.log(2) <= high for _, low, high in intervals) / 2000
    assert 0.945 < held < 0.97  # exactly 1 - 2 P(B(25, 1/2) < 8) = 0.957


def test_interval_needs_six_values() -> None:
    with pytest.raises(ValueError, match="at least 6 values, got 5"):
        median_interval([1, 2, 3, 4, 5])


def test_half_width_is_a_fraction_of_the_median() -> None:
    assert Interval(10, 9, 12).half_width == 0.15


def test_ratio_of_a_round_cancels_a_linear_drift() -> None:
    # A = 10, B = 5 on a machine that gets slower by a tenth with every turn: 1.0, 1.1, 1.2, 1.3
    assert Round(network_ms=(10.0, 13.0), reference_ms=(5.5, 6.0)).ratio == pytest.approx(2.0)


def test_summary_gives_the_figures_worked_by_hand() -> None:
    rounds = [Round((r, r), (1.0, 1.0)) for r in (1.25, 1.26, 1.24, 1.25, 1.25, 1.26, 1.24, 1.25, 1.30)]
    latency = summarise(rounds, baseline_ms=4.0, target=0.01, passport=PASSPORT)
    assert (latency.ratio, latency.ratio_low, latency.ratio_high) == (1.25, 1.24, 1.26)
    assert (latency.latency_ms, latency.latency_low_ms, latency.latency_high_ms) == (5.0, 4.96, 5.04)
    assert (latency.rounds, latency.disturbed, latency.passport) == (9, False, PASSPORT)


def test_a_quiet_machine_is_not_disturbed() -> None:
    assert not summarise(quiet_rounds(15), baseline_ms=5.0, target=0.01, passport=PASSPORT).disturbed


def test_one_interruption_does_not_count() -> None:
    rounds = [*quiet_rounds(15), Round((10.0, 90.0), (5.0, 5.0), waiting=0.8)]
    latency = summarise(rounds, baseline_ms=5.0, target=0.01, passport=PASSPORT)
    assert not latency.disturbed
    assert latency.ratio == pytest.approx(2.0)


def test_an_interval_beyond_the_target_is_disturbed() -> None:
    rounds = [Round((10.0 + i, 10.0 + i), (5.0, 5.0)) for i in range(10)]
    assert summarise(rounds, baseline_ms=5.0, target=0.01, passport=PASSPORT).disturbed
    assert not summarise(rounds, baseline_ms=5.0, target=0.5, passport=PASSPORT).disturbed


def test_a_reference_that_comes_and_goes_is_disturbed_though_the_ratio_holds() -> None:
    rounds = [Round((10.0 * slow, 10.0 * slow), (5.0 * slow, 5.0 * slow)) for slow in [1.0, 1.3] * 10]
    latency = summarise(rounds, baseline_ms=5.0, target=0.01, passport=PASSPORT)
    assert latency.disturbed
    assert latency.ratio == latency.ratio_low == latency.ratio_high == 2.0


def test_a_machine_with_other_work_is_disturbed() -> None:
    rounds = [one._replace(waiting=0.5) for one in quiet_rounds(15)]
    assert summarise(rounds, baseline_ms=5.0, target=0.01, passport=PASSPORT).disturbed


def test_latency_survives_json() -> None:
    latency = summarise(quiet_rounds(15), baseline_ms=5.0, target=0.01, passport=PASSPORT)
    values = json.loads(json.dumps(latency.as_dict()))
    assert Latency(**{**values, "passport": DevicePassport.from_dict(values["passport"])}) == latency


def collected(ratios: Callable[[int], float], *, seconds_per_round: float = 0.0) -> int:
    """How many rounds collect_rounds plays when the i-th has this ratio."""
    now = 0.0
    numbers = count()

    def play_round() -> Round:
        nonlocal now
        now += seconds_per_round
        ratio = ratios(next(numbers))
        return Round((ratio, ratio), (1.0, 1.0))

    return len(
        collect_rounds(play_round, min_rounds=6, max_rounds=50, time_limit_s=10.0, target=0.01, clock=lambda: now)
    )


def test_rounds_end_as_soon_as_the_interval_is_narrow() -> None:
    assert collected(lambda _: 1.0) == 6
    # one of the first six lies far off: from nine values on the interval leaves out the extremes
    assert collected(lambda i: 3.0 if i == 2 else 1.0) == 9


def test_rounds_end_at_the_maximum() -> None:
    assert collected(lambda i: 1.0 + i % 2) == 50


def test_rounds_end_with_the_time_but_not_below_the_minimum() -> None:
    assert collected(lambda i: 1.0 + i % 2, seconds_per_round=1.0) == 10
    assert collected(lambda i: 1.0 + i % 2, seconds_per_round=100.0) == 6


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"min_rounds": 5}, "min_rounds must be at least 6, got 5"),
        ({"max_rounds": 14}, "max_rounds must be at least min_rounds = 15, got 14"),
        ({"time_limit_s": 0}, "time_limit_s must be above 0 seconds, got 0"),
        ({"time_limit_s": math.nan}, "time_limit_s must be above 0 seconds, got nan"),
        ({"target": 0}, "target must lie between 0 and 1, a fraction of the ratio, got 0"),
        ({"target": 1}, "target must lie between 0 and 1, a fraction of the ratio, got 1"),
    ],
)
def test_wrong_limits_name_the_value(wrong: dict[str, float], message: str) -> None:
    limits: dict[str, Any] = {"min_rounds": 15, "max_rounds": 20, "time_limit_s": 1.0, "target": 0.01, **wrong}
    with pytest.raises(ValueError, match=message):
        collect_rounds(lambda: Round((1.0, 1.0), (1.0, 1.0)), **limits)


def test_measured_latency_is_the_ratio_times_the_baseline(meter: LatencyMeter, small_onnx: Path) -> None:
    latency = meter.measure(small_onnx, min_rounds=6, max_rounds=6)
    assert latency.rounds == 6
    assert 0 < latency.ratio_low <= latency.ratio <= latency.ratio_high < 1  # 0.1M multiply-adds against 217M
    assert latency.latency_ms == latency.ratio * meter.baseline_ms
    assert latency.passport == meter.passport


def test_an_injected_timer_gives_the_timings(cache_dir: Path, small_onnx: Path, meter: LatencyMeter) -> None:
    ticks = count()
    ticking = LatencyMeter(meter.passport, 5.0, meter.reference, timer=lambda: next(ticks) / 1000)
    latency = ticking.measure(small_onnx, min_rounds=6, max_rounds=6)
    assert latency.ratio == pytest.approx(1.0)  # every run takes one tick, whatever it does
    assert latency.latency_ms == pytest.approx(5.0)
    assert cache_dir.is_dir()


def test_affinity_is_restored_whatever_happens(meter: LatencyMeter, small_onnx: Path, tmp_path: Path) -> None:
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("this system does not pin")
    before = os.sched_getaffinity(0)
    pinned: list[int] = []

    def timer() -> float:
        pinned.append(len(os.sched_getaffinity(0)))
        return float(len(pinned))

    LatencyMeter(meter.passport, 5.0, meter.reference, timer).measure(small_onnx, min_rounds=6, max_rounds=6)
    assert set(pinned) == {1}
    assert os.sched_getaffinity(0) == before
    (tmp_path / "bad.onnx").write_bytes(b"bad")
    with pytest.raises(ValueError, match="bad"):
        meter.measure(tmp_path / "bad.onnx")
    assert os.sched_getaffinity(0) == before


def test_a_system_that_forbids_pinning_is_measured_all_the_same(
    meter: LatencyMeter, small_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbid(_: int, __: object) -> None:
        raise PermissionError("no")

    monkeypatch.setattr(os, "sched_setaffinity", forbid, raising=False)
    assert meter.measure(small_onnx, min_rounds=6, max_rounds=6).ratio > 0


def test_a_missing_file_is_named(meter: LatencyMeter, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.onnx"):
        meter.measure(tmp_path / "absent.onnx")


@pytest.mark.parametrize("content", [b"", b"no network"])
def test_a_file_that_is_no_network_is_named(meter: LatencyMeter, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.onnx must be an ONNX file that ONNX Runtime can run"):
        meter.measure(path)


def test_a_network_of_dynamic_shape_is_refused(meter: LatencyMeter, small_onnx: Path, tmp_path: Path) -> None:
    import onnx

    model = onnx.load(small_onnx)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save(model, tmp_path / "dynamic.onnx")
    with pytest.raises(ValueError, match=r"one fp32 input of static shape, got \{'image': \['batch', 3, 32, 32\]\}"):
        meter.measure(tmp_path / "dynamic.onnx")


@pytest.fixture
def no_measuring(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The baseline and the reference are made up: what each opening measures, in order."""
    answers = [5.0, 6.0, 7.0]
    monkeypatch.setattr("mfsearch.cost.meter._measure_baseline_ms", lambda *_, **__: answers.pop(0))
    monkeypatch.setattr("mfsearch.cost.meter.reference_onnx", lambda: b"")
    return answers


def test_baseline_is_measured_once_per_passport(no_measuring: list[float], tmp_path: Path) -> None:
    cache_dir = tmp_path / "not" / "yet" / "there"
    assert [LatencyMeter.open(cache_dir=cache_dir).baseline_ms for _ in range(3)] == [5.0, 5.0, 5.0]
    assert no_measuring == [6.0, 7.0]
    (path,) = cache_dir.glob("*.json")
    content = json.loads(path.read_text())
    assert content["baseline_ms"] == 5.0
    assert DevicePassport.from_dict(content["passport"]).digest in path.name


def test_the_cache_is_in_the_home_folder_whatever_the_environment_says(
    no_measuring: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MFSEARCH_CACHE", str(tmp_path / "here"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    LatencyMeter.open()
    assert len(list((tmp_path / "home" / ".cache" / "mfsearch").glob("*.json"))) == 1
    assert len(no_measuring) == 2
    assert not (tmp_path / "here").exists()


def test_the_command_line_takes_the_cache_folder_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def opened(threads: int = 1, cache_dir: Path | None = None) -> LatencyMeter:
        seen.append((threads, cache_dir))
        raise ValueError("that is enough")

    monkeypatch.setenv("MFSEARCH_CACHE", str(tmp_path / "here"))
    monkeypatch.setattr(LatencyMeter, "open", opened)
    assert main(["latency", "mf-26m", "--results", str(tmp_path)]) == 2
    monkeypatch.delenv("MFSEARCH_CACHE")
    assert main(["latency", "mf-26m", "--threads", "2", "--results", str(tmp_path)]) == 2
    assert seen == [(1, tmp_path / "here"), (2, None)]


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", "7", '{"baseline_ms": "soon"}', '{"baseline_ms": 0}', '{"baseline_ms": NaN}', "\xff"],
)
def test_a_corrupt_baseline_is_measured_anew(no_measuring: list[float], tmp_path: Path, content: str) -> None:
    LatencyMeter.open(cache_dir=tmp_path)
    (path,) = tmp_path.glob("*.json")
    path.write_bytes(content.encode("latin-1"))
    with pytest.warns(RuntimeWarning, match=r"baseline in .* is not readable and is measured again"):
        assert LatencyMeter.open(cache_dir=tmp_path).baseline_ms == 6.0
    assert LatencyMeter.open(cache_dir=tmp_path).baseline_ms == 6.0
    assert no_measuring == [7.0]


def test_a_cache_that_cannot_be_written_is_a_warning(no_measuring: list[float], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.warns(RuntimeWarning, match="cannot be kept in .* holds for this run only"):
        assert LatencyMeter.open(cache_dir=tmp_path / "file").baseline_ms == 5.0
    assert no_measuring == [6.0, 7.0]


def test_two_meters_opened_at_once_share_one_baseline(no_measuring: list[float], tmp_path: Path) -> None:
    baselines: list[float] = []
    openers = [
        threading.Thread(target=lambda: baselines.append(LatencyMeter.open(cache_dir=tmp_path).baseline_ms))
        for _ in range(3)
    ]
    for opener in openers:
        opener.start()
    for opener in openers:
        opener.join()
    assert baselines == [5.0, 5.0, 5.0]
    assert no_measuring == [6.0, 7.0]


@pytest.mark.parametrize("threads", [0, 100_000])
def test_impossible_thread_counts_are_refused(tmp_path: Path, threads: int) -> None:
    with pytest.raises(ValueError, match=f"threads must be at .*, got {threads}"):
        LatencyMeter.open(threads, tmp_path)


def test_a_clock_that_ticks_coarsely_is_replaced_by_the_wall_clock(
    no_measuring: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    ticks = count()
    monkeypatch.setattr(time, "thread_time", lambda: next(ticks) * 0.01)
    assert LatencyMeter.open(cache_dir=tmp_path).timer is time.perf_counter
    assert len(no_measuring) == 2


def test_opening_leaves_the_random_state_alone(no_measuring: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from mfsearch.cost import meter as latency

    monkeypatch.undo()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = latency.reference_onnx()
    assert torch.equal(torch.rand(1), expected)
    assert latency.reference_onnx() == first
    assert no_measuring
