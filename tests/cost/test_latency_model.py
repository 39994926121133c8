"""Predicted latency: the work by hand, and rates found again on devices that are made up."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mfsearch.config import BlockConfig, BridgeConfig, DyReLUConfig, HeadConfig, LiteConfig, MobileFormerConfig
from mfsearch.cost.latency_model import (
    RATES,
    Prediction,
    accuracy,
    count_work,
    fit_rates,
    leave_one_out,
    split_work,
    unmeasured,
)
from mfsearch.cost.madds import count_costs
from mfsearch.presets import PRESETS
from tests.random_configs import SMALL, random_config

Array = NDArray[np.float64]
MEASURED = Path(__file__).parents[2] / "results" / "reference" / "latency" / "measured.json"


def named(config: MobileFormerConfig) -> dict[str, float]:
    return dict(zip(RATES, count_work(config).tolist(), strict=True))


def networks(count: int, seed: int = 0) -> Array:
    return np.stack([count_work(random_config(1000 * seed + k)) for k in range(count)])


def made_up(work: Array, *, seed: int, off: float, noise: float = 0.03) -> Array:
    """Milliseconds on a device twice as fast as RATES say, every rate of it off by about exp(off)."""
    rng = np.random.default_rng(seed)
    rates = np.array(list(RATES.values())) * np.exp(rng.normal(0, off, len(RATES))) / 2
    measured: Array = work @ rates * 1e-6 * np.exp(np.random.default_rng(seed + 1).normal(0, noise, len(work)))
    return measured


# --- work


def test_the_work_of_a_network_by_hand() -> None:
    """32 px: stem to 16x16, one row of 8 -> 16 -> 8 channels there with both bridges, a head 8 -> 24 -> 16 -> 4."""
    config = dataclasses.replace(SMALL, blocks=(BlockConfig(16, 8),), bridges=BridgeConfig(final=False))
    work, N = named(config), 16 * 16
    assert work["network"] == 1
    assert work["stem_macs"] == 27 * 16 * N  # four channels take the time of sixteen
    assert work["convolutions"] == 2 + 3 + 1
    assert work["pointwise_macs"] == (8 * 8 + 8 * 16 + 16 * 8 + 8 * 24) * N
    assert work["pointwise_macs"] + work["padding_macs"] == (16 * 16 * 3 + 16 * 32) * N
    assert work["pointwise_elements"] == (16 + 24 + 24 + 32) * N
    assert work["depthwise_macs"] == 9 * (8 + 16) * N
    assert work["multiplying_convolutions"] == 2  # the lite bottleneck: four channels to eight
    assert work["multiplied_elements"] == 8 * N
    assert work["dyrelus"] == 2
    assert work["dyrelu_elements"] == 2 * 2 * 16 * N
    assert work["bridge_macs"] == 2 * 2 * 3 * 8 * N
    assert work["softmax_elements"] == 2 * 2 * 3 * N
    assert work["to_formers"] == work["to_mobiles"] == work["formers"] == 1
    # of the bridge in only the output, for the tokens that ask are constants; two of the bridge out; query, output and
    # two of the FFN; two of each activation, over one token
    assert work["token_linears"] == 1 + 2 + 4 + 4
    dyrelu = 2 * 8 * (32 + 2 * 16)
    assert work["token_weights"] == 3 * 8 * 32 + 6 * 32 * 32 + dyrelu
    assert work["token_macs"] == 3 * (3 * 8 * 32 + 6 * 32 * 32) + dyrelu
    assert work["head_weights"] == (24 + 32) * 16 + 16 * 4


def test_what_tokens_do_before_they_see_the_image_costs_nothing() -> None:
    blind = tuple(dataclasses.replace(row, bridge="to_mobile") for row in SMALL.blocks)
    work = named(dataclasses.replace(SMALL, blocks=blind, dyrelu=DyReLUConfig(source="first_token")))
    assert work["formers"] == 0
    assert work["to_mobiles"] == 3
    assert work["dyrelu_elements"] > 0
    assert work["token_linears"] == 1  # the output of the final bridge


def test_only_groups_and_down_blocks_shuffle_and_multiply() -> None:
    down = named(SMALL)
    grouped = named(dataclasses.replace(SMALL, groups=2))
    assert down["grouped_macs"] == down["shuffled_elements"] == 0
    assert grouped["pointwise_macs"] == grouped["padding_macs"] == 0
    assert grouped["grouped_macs"] == down["pointwise_macs"] / 2
    assert down["multiplying_convolutions"] == 2 + 3 + 4  # lite 4 -> 8, down 8 -> 24, tail 12 -> 48


def test_every_kind_of_work_occurs() -> None:
    assert (networks(100).max(0) > 0).all()
    assert (networks(100) >= 0).all()


def test_work_by_place_and_part_sums_to_the_whole_exactly() -> None:
    for config in (*PRESETS.values(), *(random_config(seed) for seed in range(300))):
        split = split_work(config)
        assert (np.sum(list(split.values()), axis=0) == count_work(config)).all(), config
        assert all(work.sum() > 0 for work in split.values()), config
        costed = {(row.where, row.part) for row in count_costs(config).parts}
        assert set(split) <= costed | {("run", "run")}, config
        # what is counted and takes no time: the tokens themselves, and Formers before the tokens see the image
        assert {part for _, part in costed - set(split)} <= {"former"}, config


def test_work_by_place_and_part_by_hand() -> None:
    """One row of 8 -> 16 -> 8 channels at 16x16 with both bridges; the head reads 24 channels and 32 of the token."""
    config = dataclasses.replace(SMALL, blocks=(BlockConfig(16, 8),), bridges=BridgeConfig(final=False))
    split = {place: dict(zip(RATES, work.tolist(), strict=True)) for place, work in split_work(config).items()}
    N = 16 * 16
    block = [("0", part) for part in ("to_former", "former", "mobile", "dyrelu", "to_mobile")]
    assert list(split) == [("run", "run"), ("stem", "mobile"), ("lite", "mobile"), *block, ("head", "head")]
    assert split["0", "mobile"]["pointwise_macs"] == 2 * 8 * 16 * N
    assert split["0", "mobile"]["depthwise_macs"] == 9 * 16 * N
    assert split["0", "mobile"]["convolutions"] == 3
    assert split["0", "dyrelu"]["dyrelu_elements"] == 2 * 2 * 16 * N
    assert split["0", "dyrelu"]["token_linears"] == 4
    assert split["0", "to_former"]["token_linears"] == 1
    assert split["0", "to_mobile"]["bridge_macs"] == 2 * 3 * 8 * N
    assert split["0", "former"]["token_weights"] == 6 * 32 * 32
    assert split["head", "head"]["head_weights"] == (24 + 32) * 16 + 16 * 4


def test_static_activations_are_the_mobile_path_s() -> None:
    hswish = split_work(dataclasses.replace(SMALL, dyrelu=DyReLUConfig(source="hswish")))
    assert "dyrelu" not in {part for _, part in hswish}
    assert hswish["0", "mobile"][list(RATES).index("hswish_elements")] == 2 * 16 * 16 * 16


# --- rates


@pytest.mark.parametrize("seed", range(3))
def test_forty_networks_tell_a_device_apart(seed: int) -> None:
    work, held_out = networks(40, seed=1), networks(60, seed=2)
    rates = fit_rates(work, made_up(work, seed=seed, off=0.5), unmeasured())
    found = accuracy(rates.predict(held_out), made_up(held_out, seed=seed, off=0.5))
    assert found.within >= 0.9
    assert found.covered >= 0.9


def test_a_device_that_resembles_a_measured_one_needs_few_networks() -> None:
    """Both off the built-in rates by the same factors, up to a tenth."""
    work, held_out = networks(40, seed=1), networks(60, seed=2)
    known = fit_rates(work, made_up(work, seed=0, off=1.0, noise=0.0), unmeasured())
    other = np.exp(np.random.default_rng(9).normal(0, 0.1, len(RATES)))
    few, truth = (made_up(w * other, seed=0, off=1.0) * 5 for w in (work[:8], held_out))
    errors = [
        accuracy(fit_rates(work[:8], few, prior).predict(held_out), truth).median_error
        for prior in (unmeasured(), known.elsewhere())
    ]
    assert errors[1] < 0.06
    assert errors[1] < errors[0]


def test_a_stranger_is_recognised() -> None:
    """Rates off by factors of about four: what forty networks say outweighs what was believed."""
    work, held_out = networks(40, seed=1), networks(60, seed=2)
    rates = fit_rates(work, made_up(work, seed=5, off=1.4), unmeasured())
    assert accuracy(rates.predict(held_out), made_up(held_out, seed=5, off=1.4)).within > 0.85
    assert rates.noise < 0.06


def test_one_wild_measurement_changes_little() -> None:
    work = networks(40, seed=1)
    measured = made_up(work, seed=0, off=0.3)
    wild = measured.copy()
    wild[7] *= 3
    calm, shaken = (fit_rates(work, ms, unmeasured()).predict(work) for ms in (measured, wild))
    changes = [
        abs(b.latency_ms / a.latency_ms - 1) for k, (a, b) in enumerate(zip(calm, shaken, strict=True)) if k != 7
    ]
    assert max(changes) < 0.05


def test_before_anything_is_measured_the_interval_says_so() -> None:
    (guess,) = unmeasured().predict(count_work(PRESETS["mf-151m"])[None])
    assert guess.high_ms / guess.low_ms > 20
    work = networks(20, seed=1)
    (known,) = fit_rates(work, made_up(work, seed=0, off=0.3), unmeasured()).predict(work[:1])
    assert known.high_ms / known.low_ms < 2


def test_equal_measurements_give_equal_rates() -> None:
    work = networks(12, seed=1)
    first, again = (fit_rates(work, made_up(work, seed=0, off=0.3), unmeasured()) for _ in range(2))
    assert (first.log_rates == again.log_rates).all()
    assert (first.covariance == again.covariance).all()


def test_accuracy_counts_what_is_near_and_what_the_interval_holds() -> None:
    predicted = [Prediction(10, 8, 12), Prediction(10, 8, 12), Prediction(10, 8, 12), Prediction(10, 8, 12)]
    found = accuracy(predicted, np.array([10.0, 9.5, 11.5, 20.0]))
    assert found.networks == 4
    assert found.within == 0.5
    assert found.covered == 0.75
    assert found.median_error == pytest.approx((0.5 / 9.5 + 1.5 / 11.5) / 2)


def test_leaving_one_out_is_worse_than_fitting_it() -> None:
    work = networks(12, seed=1)
    measured = made_up(work, seed=0, off=0.8)
    fitted = accuracy(fit_rates(work, measured, unmeasured()).predict(work), measured)
    assert leave_one_out(work, measured, unmeasured()).median_error > fitted.median_error


def test_a_network_without_tokens_has_a_prediction() -> None:
    rows = (BlockConfig(16, 8, bridge="none", former=False),)
    config = MobileFormerConfig(
        tokens=dataclasses.replace(SMALL.tokens, count=0),
        stem=4,
        lite=LiteConfig(8, 8, 1),
        blocks=rows,
        head=HeadConfig(24, 16),
        bridges=BridgeConfig(final=False),
        dyrelu=DyReLUConfig(source="none"),
        resolution=32,
    )
    (found,) = unmeasured().predict(count_work(config)[None])
    assert 0 < found.low_ms < found.latency_ms < found.high_ms


def test_forty_measured_networks_predict_thirty_held_out() -> None:
    rows = json.loads(MEASURED.read_text())["networks"]

    def gathered(group: str) -> tuple[Array, Array]:
        chosen = [row for row in rows if row["group"] == group]
        work = np.stack([count_work(MobileFormerConfig.from_dict(row["config"])) for row in chosen])
        return work, np.array([np.median(row["ms"]["blocked"]) for row in chosen])

    work, ms = gathered("held_out")
    predicted = fit_rates(*gathered("spread"), unmeasured()).predict(work)
    found = accuracy(predicted, ms)
    assert found.networks == 30
    assert found.within >= 0.9
    guesses = np.array([one.latency_ms for one in predicted])
    assert np.corrcoef(guesses.argsort().argsort(), ms.argsort().argsort())[0, 1] >= 0.95
