import dataclasses
import math
import statistics
import time
from statistics import NormalDist

import numpy as np
import pytest

from mfsearch.analysis.front import confidence as confidence_module
from mfsearch.analysis.front.confidence import (
    Noise,
    confidence,
    front_probability,
    marks,
    pooled_noise,
    shown_lengths,
    shown_noise,
    shown_precision,
    shown_probability,
    shown_ties,
    shown_training,
    shown_wiring,
    ties,
    top1_errors,
    training_noise,
)
from mfsearch.analysis.metrics import training_lengths, with_confidence
from mfsearch.config import BlockConfig, DyReLUConfig
from mfsearch.living import living
from mfsearch.pareto import fair_mask, pareto_mask
from mfsearch.study.frame import study_frame
from mfsearch.study.trial import Trial
from tests.analysis.rows import changed, failed, longer, longer_study, row, stage, study
from tests.random_configs import SMALL

OBJECTIVES = ["top1", "madds"]
KNOWN = {0: Noise(0.01, math.inf)}  # one training varies by one point, exactly


def test_of_two_networks_the_dearer_is_on_the_front_if_it_is_better() -> None:
    # d = 0.01 and sigma = 0.01 each: P = Phi(d / (sigma sqrt 2)) = Phi(0.7071) = 0.7602; the cheaper one always is
    found = front_probability([row(0, 0.50, 100), row(1, 0.51, 200)], OBJECTIVES, KNOWN)
    assert found[0] == 1
    assert found[1] == pytest.approx(NormalDist().cdf(1 / math.sqrt(2)), abs=0.03)


def test_two_networks_of_one_cost_share_the_probability() -> None:
    found = front_probability([row(0, 0.52, 100), row(1, 0.50, 100)], OBJECTIVES, KNOWN, draws=4000)
    assert found[0] == pytest.approx(NormalDist().cdf(math.sqrt(2)), abs=0.02)
    assert found[0] + found[1] == 1


def test_more_seeds_make_surer() -> None:
    dear = longer(row(1, 0.3, 200, epochs=1.0), [stage(2, seed, 0.51) for seed in range(4)])
    cheap = longer(row(0, 0.3, 100, epochs=1.0), [stage(2, seed, 0.50) for seed in range(4)])
    found = front_probability([cheap, dear], OBJECTIVES, {2: Noise(0.02, math.inf)})
    assert found[1] == pytest.approx(NormalDist().cdf(1 / math.sqrt(2)), abs=0.03)  # 0.02 / sqrt(4) = 0.01


def test_a_noise_of_one_degree_of_freedom_leaves_more_open() -> None:
    # Student's t with one degree is Cauchy's: P = 1/2 + atan(d / (sigma sqrt 2)) / pi
    found = front_probability([row(0, 0.50, 100), row(1, 0.53, 200)], OBJECTIVES, {0: Noise(0.01, 1.0)})
    assert found[1] == pytest.approx(0.5 + math.atan(3 / math.sqrt(2)) / math.pi, abs=0.03)


def test_without_noise_the_front_is_certain() -> None:
    rows = [row(0, 0.50, 100), row(1, 0.49, 120), row(2, 0.60, 150)]
    assert front_probability(rows, OBJECTIVES, {0: Noise(0.0, 5)}) == {0: 1, 1: 0, 2: 1}


def test_latency_counts_with_its_interval() -> None:
    # no noise in top1; two latencies 0.1 apart of standard deviation 0.1 each: P(faster) = Phi(0.7071)
    half = 0.1 * 1.959964
    rows = [
        row(number, 0.5, 100, latency_ms=ms, latency_low_ms=ms - half, latency_high_ms=ms + half)
        for number, ms in enumerate((5.0, 5.1))
    ]
    found = front_probability(rows, ["top1", "latency_ms"], {0: Noise(0.0, 5)})
    assert found[0] == pytest.approx(NormalDist().cdf(1 / math.sqrt(2)), abs=0.03)


def test_only_trained_trials_have_a_probability_and_one_that_lacks_an_objective_has_none() -> None:
    rows = [row(0, 0.5, 100, latency_ms=5.0), row(1, 0.9, 90), changed(failed(1)[0], number=2)]
    rows.append(row(3, 0.9, 50, outcome="stopped", latency_ms=1.0))
    assert front_probability(rows, ["top1", "madds", "latency_ms"], KNOWN) == {0: 1, 1: 0}
    assert front_probability([], OBJECTIVES, KNOWN) == {}


def test_the_same_seed_gives_the_same_probabilities_in_any_order() -> None:
    rows = [row(k, 0.5 + 0.003 * k, 100 + k) for k in range(9)]
    first = front_probability(rows, OBJECTIVES, KNOWN, seed=3)
    assert front_probability(rows[::-1], OBJECTIVES, KNOWN, seed=3) == first
    assert front_probability(rows, OBJECTIVES, KNOWN, seed=4) != first


def test_a_better_network_is_tied_with_a_cheaper_one_within_the_interval() -> None:
    # the 95 % interval of a difference reaches 1.96 * 0.01 * sqrt 2 = 0.0277
    rows = [row(0, 0.500, 100), row(1, 0.527, 200), row(2, 0.560, 300), row(3, 0.526, 250), row(4, 0.9, 400)]
    # 3 is dominated by 1, but costs less than 2 and is 0.034 away; 1 is 0.027 away from 0
    assert ties(rows, OBJECTIVES, KNOWN) == {0: [], 1: [0], 2: [], 4: []}
    assert ties(rows, OBJECTIVES, {0: Noise(0.02, math.inf)}) == {0: [], 1: [0], 2: [1, 3], 4: []}


def test_ties_come_the_nearest_first_and_equals_tie_both_ways() -> None:
    rows = [row(0, 0.50, 100), row(1, 0.51, 100), row(2, 0.515, 110), row(3, 0.515, 110)]
    assert ties(rows, OBJECTIVES, KNOWN) == {1: [0], 2: [3, 1, 0], 3: [2, 1, 0]}


def test_a_noise_of_few_degrees_ties_more() -> None:
    rows = [row(0, 0.50, 100), row(1, 0.55, 200)]
    assert ties(rows, OBJECTIVES, {0: Noise(0.01, 100)})[1] == []
    assert ties(rows, OBJECTIVES, {0: Noise(0.01, 2)})[1] == [0]  # 4.303 * 0.01414 = 0.061


def test_a_slightly_slower_rival_ties_if_the_clock_cannot_tell() -> None:
    timed = [{"latency_ms": ms, "latency_low_ms": ms - 0.1, "latency_high_ms": ms + 0.1} for ms in (5.0, 5.1, 5.2)]
    rows = [row(k, 0.50 + 0.001 * (k == 0), 100, **timed[k]) for k in range(3)]
    assert ties(rows, ["top1", "latency_ms"], KNOWN) == {0: [1]}  # hypot(0.1, 0.1) = 0.141


@pytest.mark.parametrize(
    ("degrees", "quantile"),
    [(1, 12.706), (4, 2.776), (10, 2.228), (11, 2.201), (30, 2.042), (120, 1.980), (math.inf, 1.960)],
)
def test_ties_reach_as_far_as_the_tables_of_student_t_say(degrees: float, quantile: float) -> None:
    """Of two networks of one seed each, top1 differs by a standard deviation of sqrt(2) times the noise."""
    noise = {0: Noise(0.01, degrees)}
    for reach, tied in ((quantile - 0.001, [0]), (quantile + 0.001, [])):
        rows = [row(0, 0.50, 100), row(1, 0.50 + reach * math.sqrt(2) * 0.01, 200)]
        assert ties(rows, OBJECTIVES, noise)[1] == tied


def test_pooled_noise_of_one_network_is_its_standard_deviation() -> None:
    noise = pooled_noise({(0, 0): 0.50, (0, 1): 0.52, (0, 2): 0.54})
    assert noise is not None
    assert noise == pytest.approx(Noise(0.02, 2))


def test_pooled_noise_takes_out_what_is_common_to_a_seed() -> None:
    # every network gains 0.05 with seed 1: nothing is left. Then one residual table by hand: +-0.005 in all four cells.
    same = pooled_noise({(network, seed): 0.5 + network / 10 + seed / 20 for network in range(3) for seed in range(2)})
    assert same == pytest.approx(Noise(0.0, 2))
    crossed = pooled_noise({(4, 0): 0.705, (4, 1): 0.715, (5, 0): 0.725, (5, 1): 0.715})
    assert crossed == pytest.approx(Noise(0.01, 1))


def test_networks_of_one_seed_add_nothing_and_alone_tell_nothing() -> None:
    assert pooled_noise({}) is None
    assert pooled_noise({(0, 0): 0.5, (1, 0): 0.9}) is None
    assert pooled_noise({(0, 0): 0.5, (0, 1): 0.52, (1, 0): 0.9}) == pytest.approx(Noise(0.02 / math.sqrt(2), 1))


def test_pooled_noise_finds_the_noise_that_was_put_in() -> None:
    generator = np.random.default_rng(0)
    networks, seeds = generator.normal(0.5, 0.1, 40), generator.normal(0, 0.05, 3)
    top1 = {(n, s): networks[n] + seeds[s] + generator.normal(0, 0.01) for n in range(40) for s in range(3)}
    noise = pooled_noise(top1)
    assert noise is not None
    assert noise.std == pytest.approx(0.01, rel=0.15)
    assert noise.degrees == 120 - 40 - 3 + 1


def test_each_rung_has_the_noise_that_the_finalists_curves_show_there() -> None:
    on_the_way = [{1.0: 0.40, 3.0: 0.60}, {1.0: 0.48, 3.0: 0.64}]
    stages = [stage(1, 0, 0.60), *(stage(2, seed, 0.70 + 0.02 * seed, on_the_way[seed]) for seed in range(2))]
    rows = [longer(row(0, 0.40, epochs=1.0), stages), row(1, 0.3, epochs=1.0)]
    noise = training_noise(rows)
    assert [noise[rung].std for rung in (0, 1, 2)] == pytest.approx(
        [step / math.sqrt(2) for step in (0.08, 0.04, 0.02)]
    )


def test_a_rung_without_a_figure_has_that_of_the_noisiest() -> None:
    found = front_probability([row(0, 0.50, 100), row(1, 0.51, 200)], OBJECTIVES, {2: Noise(0.01, math.inf)})
    assert 0.7 < found[1] < 0.8


def test_a_study_of_one_seed_each_has_no_probability_and_says_why() -> None:
    rows = [longer(row(0, 0.4, epochs=1.0), [stage(1, 0, 0.6)]), row(1, 0.3, epochs=1.0)]
    assert confidence(rows, OBJECTIVES) == {}
    assert "one seed each" in str(shown_noise(rows))
    found = confidence(rows, OBJECTIVES, fallback={0: Noise(0.01, 5)})
    assert (found[0].front_probability or 0) > 0.99


@pytest.mark.parametrize("rows", [[], failed(2), study()], ids=["empty", "failed", "short"])
def test_a_study_of_short_trainings_says_nothing(rows: list[Trial]) -> None:
    assert training_noise(rows) == {}
    assert confidence(rows, OBJECTIVES) == {}
    assert shown_noise(rows) is None
    frame = with_confidence(study_frame(rows), OBJECTIVES)
    assert frame["front_probability"].isna().all()


def test_the_frame_holds_the_longest_training_probability_and_ties() -> None:
    frame = with_confidence(study_frame(longer_study()), OBJECTIVES).set_index("number")
    assert frame["rung"].tolist()[:6] == [0, 0, 0, 1, 2, 2]
    assert frame["seeds"].tolist()[:6] == [1, 1, 1, 1, 2, 2]
    assert frame["epochs_trained"].tolist()[:6] == [1, 1, 1, 3, 9, 9]
    assert frame["top1_short"][5] == 0.45
    assert frame["top1"][5] == pytest.approx(0.72)
    assert frame["tied_with"][5].startswith("4")
    assert frame["tied_with"][6] is None
    assert np.isnan(frame["front_probability"][6])
    assert np.isnan(frame["rung"][6])
    # of the finalists alone: d = 0.01, sigma = 0.01 / sqrt 2 each, one degree of freedom: Cauchy
    alone = with_confidence(study_frame(longer_study()[4:6]), OBJECTIVES).set_index("number")["front_probability"][5]
    assert alone == pytest.approx(0.5 + math.atan(1) / math.pi, abs=0.04)
    assert 0.5 < frame["front_probability"][5] < alone  # after 1x the cheaper ones are 0.03 to 0.05 behind


def test_lengths_and_probabilities_as_people_read_them() -> None:
    rows = longer_study()
    assert [shown_training(rows[number]) for number in (0, 3, 5)] == ["1x", "3x", "9x, 2 seeds"]
    assert shown_training(row(0)) == "1x"  # a study that did not say its epochs
    assert [shown_probability(share) for share in (0.0, 0.004, 0.5, 0.823, 1.0)] == [
        "< 1 %",
        "< 1 %",
        "50 %",
        "82 %",
        "> 99 %",
    ]
    assert "One 9x training varies by 1.00 points, 1 degree of freedom," in str(shown_noise(rows))


def test_a_longer_training_that_failed_does_not_count() -> None:
    lost = dataclasses.replace(stage(2, 1, 0.7), top1=None, epochs=None, curve=(), reason="loss became NaN")
    trial = longer(row(0, 0.4, epochs=1.0), [stage(2, 0, 0.7), lost])
    assert (trial.rung, len(trial.longest), trial.longest[0].epochs) == (2, 1, 9.0)
    assert training_noise([trial]) == {}


def drawn_in_full(rows: list[Trial], objectives: list[str], noise: dict[int, Noise]) -> list[float]:
    """The probabilities by their definition: every draw of every trial, and the front of each draw."""
    generator, draws = np.random.default_rng(0), 150
    scales = {
        rung: np.full(draws, each.std)
        if math.isinf(each.degrees)
        else each.std * np.sqrt(each.degrees / generator.chisquare(each.degrees, draws))
        for rung, each in sorted(noise.items())
    }
    values = np.zeros((draws, len(rows), len(objectives)))
    losses = np.full((draws, len(rows), 3), np.nan)
    for at, trial in enumerate(rows):
        for k, name in enumerate(objectives):
            mean = trial.metric(name)
            values[:, at, k] = -mean if name == "top1" else mean
            if name == "top1":
                luck = generator.standard_normal(draws)
                for short in trial.top1_by_rung:
                    known = short if short in noise else max(noise, key=lambda each: noise[each].std)
                    top1, seeds = statistics.fmean(trial.top1_by_rung[short]), len(trial.top1_by_rung[short])
                    losses[:, at, short] = scales[known] / np.sqrt(seeds) * luck - top1
            elif name == "latency_ms":
                ends = [trial.metric(f"latency_{end}_ms") for end in ("high", "low")]
                half = 0.0 if math.isnan(mean) else (ends[0] - ends[1]) / (2 * NormalDist().inv_cdf(0.975))
                values[:, at, k] += half * generator.standard_normal(draws)
    if "top1" not in objectives:
        return [float(share) for share in np.mean([pareto_mask(draw) for draw in values], axis=0)]
    costs = np.delete(values, objectives.index("top1"), axis=2)
    return [float(share) for share in np.mean([fair_mask(*draw) for draw in zip(costs, losses, strict=True)], axis=0)]


@pytest.mark.parametrize("objectives", [["top1", "madds", "latency_ms"], ["top1", "madds"], ["madds", "latency_ms"]])
@pytest.mark.parametrize("degrees", [1.0, 4.0, math.inf])
@pytest.mark.parametrize("count", [1, 2, 130])
def test_the_probabilities_are_those_of_drawing_everything(objectives: list[str], degrees: float, count: int) -> None:
    generator = np.random.default_rng(count)
    rows: list[Trial] = []
    for number in range(count):
        madds = int(generator.integers(1, 30)) * 1_000_000  # with equals
        ms = round(float(generator.uniform(1, 2)) + madds / 1e7, 1)
        high = ms + float(generator.choice([0.1, -0.1]))
        timed = {"latency_ms": ms, "latency_low_ms": ms - 0.1, "latency_high_ms": high}
        top1 = round(float(generator.normal(0.5 + madds / 1e9, 0.02)), 2)
        made = row(number, top1, madds, epochs=1.0, **(timed if generator.random() < 0.9 else {}))
        rungs = [stage(rung, seed, 0.6 + 0.01 * rung) for rung in (1, 2) for seed in range(rung) if number % 5 == rung]
        rows.append(longer(made, rungs))
    noise = {0: Noise(0.02, degrees), 2: Noise(0.01, degrees)}
    found = front_probability(rows, objectives, noise, draws=150)
    assert list(found.values()) == drawn_in_full(rows, objectives, noise)


def test_large_studies_are_drawn_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row(number, 0.5 + number / 1000, 100 + number) for number in range(20)]
    monkeypatch.setattr(confidence_module, "MOST_DRAWN", 2000)
    for fewest, draws in ((50, 100), (125, 125)):
        monkeypatch.setattr(confidence_module, "FEWEST_DRAWS", fewest)
        found = front_probability(rows, OBJECTIVES, KNOWN)
        assert found == front_probability(rows, OBJECTIVES, KNOWN, draws=draws)
        assert {round(share * draws, 6) % 1 for share in found.values()} == {0.0}


def test_many_ties_are_told_by_the_nearest() -> None:
    assert shown_ties("4") == "4"
    assert shown_ties("4, 7, 9, 1, 2") == "4, 7, 9, 1, 2"
    assert shown_ties("4, 7, 9, 1, 2, 3, 8") == "4, 7, 9, 1, 2 and 2 more"


def test_150_images_leave_an_error_of_4_points_and_show_no_difference_under_8() -> None:
    # sqrt(0.5 * 0.5 / 154) = 0.0403 with two more right and two more wrong; 1.96 times that is 0.079
    found = confidence([row(0, 0.5, 100), row(1, 0.42, 90), row(2, 0.43, 80)], OBJECTIVES, 150)
    assert found[0].top1_error == pytest.approx(0.0403, abs=1e-4)
    assert found[0].front_probability is None
    assert found[0].tied_with == [2]  # 0.07 behind; 0.08 is told apart
    assert "front_probability" not in found[0].to_dict()
    assert shown_precision(150, 1) == "150 validation images, one seed: differences under 8 points will not show"
    assert shown_precision(5000, 2).startswith("5,000 validation images, 2 seeds: differences under 1.4 points")


def test_an_error_holds_the_images_and_the_seeds_of_each_rung() -> None:
    rows = [longer(row(0, 0.4, epochs=1.0), [stage(2, 0, 0.5), stage(2, 1, 0.5)]), row(1, 0.5)]
    noise = {0: Noise(0.03, math.inf), 2: Noise(0.02, math.inf)}
    errors = top1_errors(rows, noise, 96)  # sqrt(0.25 / 100) = 0.05
    assert errors.longest().tolist() == pytest.approx([math.hypot(0.05, 0.02 / math.sqrt(2)), math.hypot(0.05, 0.03)])
    # compared after 1x: 0.1 apart, seeds 2 * 0.03^2, and of the two sampling errors half is common to both
    lead, reach = errors.apart(0)
    share = (0.4 * 96 + 2) / 100
    sample = (share * (1 - share) + 0.25) / 100 / 2
    assert lead.tolist() == pytest.approx([0.0, -0.1])
    assert reach[1] == pytest.approx(1.96 * math.sqrt(2 * 0.03**2 + sample), rel=1e-4)
    assert top1_errors(rows, {}, None).longest().tolist() == [0, 0]
    assert confidence([row(0, 1.0)], OBJECTIVES, 150)[0].top1_error > 0.005  # none wrong of 150 is not certain


def test_tied_stands_beside_each_point_that_is_within_the_error_of_the_best() -> None:
    rows = [row(0, 0.50, 100), row(1, 0.57, 110), row(2, 0.60, 120)]
    assert marks(rows, {}, 150) == {0: "", 1: "tied", 2: "best"}  # 1.96 * 0.040 = 0.078
    assert marks(rows, {}, 60) == {0: "tied", 1: "tied", 2: "best"}
    assert marks(rows, {}, None) == {0: "", 1: "", 2: "best"}
    assert marks(rows, {0: Noise(0.01, math.inf)}, None) == {0: "", 1: "", 2: "best"}  # 0.0277
    assert marks([], {}, 150) == {}
    # the best was trained longer: after 1x, as long as the other, it was 0.02 behind
    rows = [row(0, 0.45, 100), longer(row(1, 0.43, 90), [stage(1, 0, 0.9)])]
    assert marks(rows, {}, 10_000) == {0: "tied", 1: "best"}


def test_probabilities_know_that_the_images_are_a_sample() -> None:
    # the difference of two has the sampling error of one: P = Phi(0.05 / 0.05)
    found = front_probability([row(0, 0.475, 100), row(1, 0.525, 200)], OBJECTIVES, {0: Noise(0.0, 5)}, images=96)
    assert found[1] == pytest.approx(NormalDist().cdf(1), abs=0.03)


def test_the_end_says_what_difference_shows_and_that_lengths_differ() -> None:
    rows = longer_study()
    assert "360 validation images, 2 seeds: differences under 14 points do not show (95 %)." in str(
        shown_noise(rows, 360)
    )  # sqrt((12.7 * 0.01)^2 + (1.96 * 0.0236)^2): a noise of one degree of freedom is hardly known
    assert "360 validation images, one seed" in str(shown_noise([row(0, 0.5)], 360))
    assert "Lengths of training differ (1x, 3x, 9x)" in str(shown_lengths(rows[:6]))
    assert shown_lengths(rows[:3]) is None


def test_lengths_of_unknown_epochs_are_told_by_their_rung() -> None:
    """Ledgers of earlier versions lack the epochs."""
    rows = [changed(trial, epochs=None) for trial in longer_study()[:6]]
    rows = [longer(trial, [dataclasses.replace(one, epochs=None) for one in trial.longer]) for trial in rows]
    assert "Lengths of training differ (1x, rung 1, rung 2)" in str(shown_lengths(rows))
    assert shown_training(rows[5]) == "rung 2, 2 seeds"
    frame = study_frame(rows)
    assert training_lengths(frame) == ["1x", "1x", "1x", "rung 1", "rung 2", "rung 2"]


def test_the_confidence_of_ten_thousand_trials_is_quick() -> None:
    """2 s on an idle core; the bound is for a busy one."""
    generator = np.random.default_rng(0)
    rows = []
    for number in range(10_000):
        madds = int(generator.integers(20, 150) * 1_000_000)
        one = row(number, float(generator.normal(0.4 + madds / 1e9, 0.03)), madds, epochs=1.0, curve=[])
        ends = [stage(1, 0, one.metric("top1") + 0.1)] * (number % 3 == 0) + [
            stage(2, seed, one.metric("top1") + 0.2 + seed / 100) for seed in (0, 1)
        ] * (number % 300 == 0)
        rows.append(longer(one, ends))
    start = time.process_time()
    assert len(confidence(rows, OBJECTIVES, 5000)) == 10_000
    assert time.process_time() - start < 6.0


def test_a_front_says_which_parts_its_networks_lack_and_which_are_dead() -> None:
    rows = (BlockConfig(16, 8, bridge="none", former=False), BlockConfig(16, 8))
    half = dataclasses.replace(SMALL, blocks=rows)  # its first DyReLU reads tokens that no image has reached
    plain = dataclasses.replace(living(half), blocks=rows[:1] * 2, dyrelu=DyReLUConfig("pooled"))
    front = [row(3, config=SMALL.to_dict()), row(4, config=half.to_dict()), row(5, config=plain.to_dict()), row(6)]
    told = shown_wiring(front)
    assert told is not None
    assert told.startswith("No Mobile<-Former bridge in trial 5. No Former in trial 5. A network without Formers is a")
    assert "2 networks (trial 4, 5)" in told  # two of the three tokens of 5 are never read
    assert marks(front, {}, 100)[4].endswith("dead in part")
    assert shown_wiring([front[0], front[3]]) is None
