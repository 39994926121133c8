"""What a calibration says, on made-up trainings whose answer is known."""

import dataclasses
import math
from pathlib import Path

import pytest

from mfsearch.analysis.ranking.readings import TARGETS
from mfsearch.analysis.ranking.verdict import calibration_figures
from mfsearch.commands.calibrate import report_lines
from mfsearch.proxy.curve import EpochLog
from mfsearch.proxy.recipe import Recipe
from mfsearch.search.calibration import Network, NetworkRecords, draw_networks, long_key, short_key
from mfsearch.space import load_space
from mfsearch.study.calibration_file import (
    CalibrationFile,
    CalibrationIdentity,
    ProxyFigures,
    Reading,
    trust_line,
)
from mfsearch.study.manifest import DataFacts, NamedSpace
from mfsearch.study.settings import Calibration
from mfsearch.study.task_file import TaskRecord, ZeroCostScore
from mfsearch.units import parse_budget

SPACE = load_space(Path(__file__).parents[2] / "tiny_space.yaml").deployed(32, 2)
SETTINGS = Calibration(parse_budget("0.5M"), SPACE, "digits", Recipe(resolution=32, epochs=4), networks=8, seeds=3)
TRUTH = [0.50, 0.52, 0.54, 0.56, 0.58, 0.60, 0.62, 0.64]
SHUFFLED = [3, 0, 6, 1, 7, 2, 5, 4]  # of 28 pairs 17 agree with the truth, 11 do not: tau 6 / 28


def curve(tops: list[float], losses: list[float], points: tuple[float, ...]) -> tuple[EpochLog, ...]:
    return tuple(
        EpochLog(epoch=point, top1=top, loss=loss, val_loss=3 - top, seconds=10 * point)
        for point, top, loss in zip(points, tops, losses, strict=True)
    )


def failed(key: str, reason: str) -> TaskRecord:
    return TaskRecord(key, "", 0, outcome="failed", reason=reason)


def made_up() -> NetworkRecords:
    """Eight networks a group. Accuracy ranks them rightly at the end and halfway, the other way at a quarter; the loss
    rightly throughout; MAdds and NASWOT as SHUFFLED says, params all the same but one; synflow rightly. Zen has no
    score for the first network. Long trainings see the same at the short points, all two points better."""
    drawn = draw_networks(SPACE, SETTINGS.budget, 8, 0)
    ids = {network.arch_id for network in drawn["band"]}
    assert not ids & {network.arch_id for network in drawn["across"]}
    networks: dict[str, list[Network]] = {}
    records: dict[str, TaskRecord] = {}
    for group, found in drawn.items():
        networks[group] = [
            network._replace(madds=1_000_000 + SHUFFLED[i], num_params=7 if i else 8) for i, network in enumerate(found)
        ]
        for i, network in enumerate(networks[group]):
            tops, losses = [1 - TRUTH[i], TRUTH[i], TRUTH[i]], [2 - TRUTH[i]] * 3
            again = [top + 0.02 for top in tops]
            scores = {"synflow": float(i), "naswot": float(SHUFFLED[i]), "zen": float(i) if i else None}
            short = TaskRecord(
                short_key(network, 0),
                network.arch_id,
                seed=0,
                top1=tops[-1],
                curve=curve(tops, losses, SETTINGS.points),
                core_seconds=20.0,
                zero_cost={name: ZeroCostScore(score, core_seconds=0.5) for name, score in scores.items()},
            )
            long = TaskRecord(
                long_key(network, 1),
                network.arch_id,
                seed=1,
                top1=TRUTH[i],
                curve=curve([*again, again[-1], TRUTH[i]], [*losses, 1.0, 1.0], SETTINGS.long_points),
                core_seconds=200.0,
            )
            records |= {short.key: short, long.key: long}
    first = networks["band"][0]
    for seed, top1 in ((2, 0.51), (3, 0.52)):
        key = long_key(first, seed)
        records[key] = TaskRecord(key, first.arch_id, seed, top1=top1)
    data, space = DataFacts("digits", "d", 10, 900, 100), NamedSpace(SPACE.name, SPACE.digest)
    identity = CalibrationIdentity(
        space, 32, 2, data, SETTINGS.recipe, SETTINGS.budget, long=10.0, seed=0, device="cpu"
    )
    return NetworkRecords(networks, records, identity)


def rows(figures: CalibrationFile, group: str = "band") -> dict[tuple[str, float | None], ProxyFigures]:
    return {row.reading: row for row in figures.groups[group].proxies}


def test_every_proxy_is_ranked_beside_madds_and_params() -> None:
    found = rows(calibration_figures(SETTINGS, made_up(), TARGETS))
    assert [key for key in found if key[0] == "top1"] == [("top1", 1.0), ("top1", 2.0), ("top1", 4.0)]
    assert found["top1", 4.0].tau == pytest.approx(1.0)
    assert found["top1", 1.0].tau == pytest.approx(-1.0)
    assert found["loss", 1.0].tau == pytest.approx(1.0)  # a lower loss is better
    assert found["mean_rank", 1.0].tau is None  # the two contradict each other: all equal
    assert found["mean_rank", 4.0].tau == pytest.approx(1.0)
    assert found["madds", None].tau == pytest.approx(6 / 28)
    # 7 of the 28 pairs are not tied, all the wrong way round
    assert found["params", None].tau == pytest.approx(-7 / math.sqrt(7 * 28))
    best = found["top1", 4.0]
    assert best.over_madds.gain == pytest.approx(22 / 28)
    assert best.over_params.gain == pytest.approx(1.5)
    assert best.low == best.high == pytest.approx(1.0)
    assert best.n == 8
    assert best.top5_recall == 1.0
    assert found["madds", None].top5_recall == pytest.approx(3 / 5)  # 7, 5, 4 of the truth's 3 to 7


def test_core_seconds_are_those_until_the_point_that_is_read() -> None:
    found = rows(calibration_figures(SETTINGS, made_up(), TARGETS))
    assert [found["top1", epochs].core_seconds for epochs in (1.0, 2.0, 4.0)] == pytest.approx([5.0, 10.0, 20.0])
    assert found["madds", None].core_seconds == 0.0
    assert found["synflow", None].core_seconds == 0.5


def test_a_zero_cost_score_is_shown_where_it_beats_both_and_has_its_own_networks() -> None:
    figures = calibration_figures(SETTINGS, made_up(), TARGETS)
    found = rows(figures)
    assert found["synflow", None].shown
    assert not found["naswot", None].shown  # equal to MAdds
    assert found["zen", None].n == 7
    assert found["zen", None].tau == pytest.approx(1.0)
    text = report_lines(figures)
    assert any(line.startswith("synflow") for line in text)
    assert "not surely better than MAdds and params here, so not shown: naswot, zen" in text


def test_the_cheapest_that_reaches_the_target_is_named() -> None:
    trained = made_up()
    figures = calibration_figures(SETTINGS, trained, {"band": 0.45, "across": 0.1})
    assert figures.groups["band"].cheapest == Reading("synflow", None)
    assert figures.groups["across"].cheapest == Reading("madds", None)
    for key, record in trained.records.items():
        trained.records[key] = dataclasses.replace(record, zero_cost={})
    figures = calibration_figures(SETTINGS, trained, {"band": 0.45, "across": 2.0})
    assert figures.groups["band"].cheapest == Reading("loss", 1.0)
    assert figures.groups["across"].cheapest is None
    text = report_lines(figures)
    assert "cheapest to reach tau 0.45: training loss after 1 epoch, 5.0 core-s" in text
    assert "no proxy reaches tau 2" in text


def test_noise_and_ceiling_by_hand() -> None:
    """Long seeds 0.50, 0.51, 0.52: noise 0.01. The truth's variance is 0.0024; what two points more do to all is no
    noise of the short trainings."""
    trained = made_up()
    figures = calibration_figures(SETTINGS, trained, TARGETS)
    assert figures.long_noise == pytest.approx(0.01)
    assert (figures.short_seed, figures.long_seed, figures.noise_seeds) == (0, 1, (1, 2, 3))
    spread = math.sqrt(0.0024 - 0.0001)
    assert figures.groups["band"].long_spread == pytest.approx(spread)
    found = rows(figures)
    ceiling = 2 / math.pi * math.asin(1 / math.sqrt(1 + 0.0001 / 0.0023))
    assert found["top1", 4.0].noise == pytest.approx(0.0, abs=1e-12)
    assert found["top1", 4.0].ceiling == pytest.approx(ceiling, abs=1e-6)
    assert found["madds", None].ceiling == pytest.approx(ceiling, abs=1e-6)
    assert found["mean_rank", 1.0].ceiling is None  # all alike: no spread to be told from noise
    for seed in (2, 3):
        key = long_key(trained.networks["band"][0], seed)
        trained.records[key] = failed(key, "training diverged")
    figures = calibration_figures(SETTINGS, trained, TARGETS)
    assert figures.long_noise is None
    assert rows(figures)["top1", 4.0].ceiling is None
    assert any("unknown, fewer than two seeds" in line for line in report_lines(figures))


def test_a_failed_training_is_left_out_with_a_sentence_and_too_few_are_an_error() -> None:
    trained = made_up()
    lost = trained.networks["across"]
    key = short_key(lost[2], 0)
    trained.records[key] = failed(key, "training diverged at step 3")
    figures = calibration_figures(SETTINGS, trained, TARGETS)
    assert figures.groups["across"].n == rows(figures, "across")["top1", 4.0].n == 7
    assert figures.groups["band"].n == 8
    assert f"left out: {short_key(lost[2], 0)}: training diverged at step 3" in report_lines(figures)
    for network in lost[1:]:
        key = long_key(network, 1)
        trained.records[key] = failed(key, "its worker process was killed")
    with pytest.raises(RuntimeError, match="1 of 8 networks were trained short and long; .*was killed"):
        calibration_figures(SETTINGS, trained, TARGETS)


def test_a_training_of_so_few_steps_that_points_meet_is_read_at_the_nearest() -> None:
    trained = made_up()
    for key, record in trained.records.items():
        trained.records[key] = dataclasses.replace(record, curve=(*record.curve[:1], *record.curve[2:]))
    found = rows(calibration_figures(SETTINGS, trained, TARGETS))
    assert found["top1", 2.0].tau == found["top1", 1.0].tau


def test_the_report_fits_a_hundred_columns_and_stars_what_is_sure() -> None:
    figures = calibration_figures(SETTINGS, made_up(), TARGETS)
    lines = report_lines(figures)
    assert max(map(len, lines)) <= 100
    assert "validation loss after 4 epochs: better than multiply-adds (8 networks)" in lines
    assert "judged by top1 on 100 images of digits after 40 epochs, other seed" in lines
    assert "seed noise of that: 1.00 points (one network, 3 seeds)" in lines
    line = next(line for line in lines if line.startswith("accuracy") and "    4  " in line)
    assert line.split()[:6] == ["accuracy", "4", "1.00", "1.00", "..", "1.00"]
    assert line.rstrip().endswith("*")
    chance = "With 8 networks, the chance to show a rise of tau from 0.55 to 0.70 is 12 %; 80 % takes 54."
    assert lines.count(chance) == 2
    assert "[1.00, 1.00] inside the band over 8 networks (MAdds 0.21)" in trust_line(
        figures, epochs=4.0, reading="top1"
    )


def test_a_short_training_no_better_than_multiply_adds_is_said_to_be_so() -> None:
    """In the kept calibration tau across budgets is 0.50 after 0.1 epochs, and 0.47 for multiply-adds."""
    kept = Path(__file__).parents[3] / "results/calibrations/mobile_former-cifar10-50.0M/calibration.json"
    figures = CalibrationFile.read(kept)
    assert figures is not None
    lines = report_lines(figures)
    assert "validation loss after 0.2 epochs: better than multiply-adds (16 networks)" in lines
    assert "validation loss after 0.2 epochs: not shown to be better than multiply-adds (16 networks)" in lines
    words = trust_line(figures, epochs=0.1, reading="val_loss")
    assert "inside the band over 16 networks (MAdds -0.25)" in words
    assert "across budgets over 16 networks (not shown to be better than MAdds 0.47)" in words
