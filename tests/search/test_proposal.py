import dataclasses
import itertools
from typing import Any

import pytest

from mfsearch.config import MobileFormerConfig
from mfsearch.cost.judge import judge_madds
from mfsearch.model import MobileFormer
from mfsearch.presets import PRESETS
from mfsearch.search.proposal import TARGET, Proposal, Proposer, check_reachable, targets
from mfsearch.search.settings import SAMPLERS
from mfsearch.space import SearchSpace, find_space, load_space
from mfsearch.units import parse_budget
from tests.conftest import TINY_SPACE

BUDGET = parse_budget("0.5M")


def tiny() -> SearchSpace:
    return load_space(TINY_SPACE).deployed(resolution=32, classes=10)


def proposer(sampler: str = "tpe", budget: str = "0.5M", objectives: tuple[str, ...] = ("top1", "madds")) -> Proposer:
    return Proposer(tiny(), parse_budget(budget), list(objectives), sampler, seed=0)


def row_of(proposal: Proposal, top1: float) -> dict[str, Any]:
    """A finished trial as the run would write it."""
    return {
        "outcome": "trained",
        "params": proposal.params,
        "arch_id": proposal.arch_id,
        "madds": proposal.costs.madds,
        "top1": top1,
    }


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_proposal_is_inside_the_band_and_new(sampler: str) -> None:
    source = proposer(sampler)
    seen = set()
    for k in range(40):
        proposal = source.next()
        assert proposal is not None
        assert BUDGET.low <= proposal.costs.madds <= BUDGET.high
        assert proposal.arch_id not in seen
        seen.add(proposal.arch_id)
        source.learn(row_of(proposal, top1=k / 40), proposal.shadow_number)


def test_proposals_are_inside_by_fvcore_too() -> None:
    source = proposer()
    for _ in range(5):
        proposal = source.next()
        assert proposal is not None
        assert judge_madds(MobileFormer(proposal.config), 32).madds == proposal.costs.madds


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_restart_goes_on_with_the_same_proposals(sampler: str) -> None:
    """One worker: an undisturbed run of 16 and one stopped after 12 propose the same networks."""
    undisturbed = proposer(sampler)
    rows, ids = [], []
    for k in range(16):
        proposal = undisturbed.next()
        assert proposal is not None
        ids.append(proposal.arch_id)
        rows.append(row_of(proposal, top1=(k * 7 % 16) / 16))
        undisturbed.learn(rows[-1], proposal.shadow_number)
    resumed = proposer(sampler)
    for row in rows[:12]:
        resumed.learn(row)
        resumed.index += 1
    for k in range(12, 16):
        proposal = resumed.next()
        assert proposal is not None
        assert proposal.arch_id == ids[k]
        resumed.learn(rows[k], proposal.shadow_number)


def test_failed_and_rejected_networks_are_not_proposed_again() -> None:
    """After a restart: the seed would propose the same networks again, were their rows not learned."""
    before = proposer("random")
    first, second = before.next(), before.next()
    assert first is not None
    assert second is not None
    source = proposer("random")
    source.learn(row_of(first, 0.0) | {"outcome": "failed", "top1": None})
    source.learn(row_of(second, 0.0) | {"outcome": "rejected", "top1": None, "latency_ms": 9.0, "violation_ms": 4.0})
    later = [proposal.arch_id for proposal in (source.next() for _ in range(20)) if proposal is not None]
    assert not {first.arch_id, second.arch_id} & set(later)


def test_tpe_learns_which_networks_are_too_slow() -> None:
    """All networks with a 5x5 kernel are rejected as slow: of the later proposals fewer have one than at random."""
    source = proposer(objectives=("top1", "madds", "latency_ms"))

    def slow(config: MobileFormerConfig) -> bool:
        return any(row.kernel == 5 for row in config.blocks)

    drawn = []
    for k in range(80):
        proposal = source.next()
        assert proposal is not None
        drawn.append(slow(proposal.config))
        more: dict[str, Any] = {"latency_ms": 4.0}
        if drawn[-1]:
            more = {"outcome": "rejected", "top1": None, "latency_ms": 9.0, "violation_ms": 4.0}
        source.learn(row_of(proposal, 0.5 + k / 1000) | more, proposal.shadow_number)
    assert sum(drawn[-40:]) < 0.5 * sum(drawn[:10]) * 4


def test_an_exhausted_space_ends_with_none() -> None:
    space = tiny()
    kept = {knob.name: knob.choices[0] for knob in space.knobs}
    fixed = dataclasses.replace(space, knobs=space.knobs[:1], constants=space.constants + tuple(kept.items())[1:])
    source = Proposer(fixed, BUDGET, ["top1", "madds"], "random", seed=0)
    found = list(iter(source.next, None))
    assert found
    assert len({proposal.arch_id for proposal in found if proposal is not None}) == len(found)


def test_presets_inside_the_budget_come_first_then_the_next_larger_fitted() -> None:
    source = Proposer(find_space("mobile_former"), parse_budget("150M"), ["top1", "madds"], "tpe", seed=0)
    first = [source.next() for _ in range(5)]
    origins = [proposal.origin for proposal in first if proposal is not None]
    assert origins == ["preset mf-26m", "preset mf-52m", "preset mf-96m", "fitted mf-151m", "tpe"]
    assert first[2] is not None
    assert first[2].config == PRESETS["mf-96m"]
    assert first[3] is not None
    assert 0.85 * 150e6 <= first[3].costs.madds <= 150e6


def test_a_stated_lower_end_keeps_smaller_presets_out() -> None:
    source = Proposer(find_space("mobile_former"), parse_budget("90M..160M"), ["top1", "madds"], "tpe", seed=0)
    origins = [proposal.origin for proposal in (source.next() for _ in range(3)) if proposal is not None]
    assert origins == ["preset mf-96m", "preset mf-151m", "fitted mf-214m"]


def test_targets_span_the_band_in_equal_ratios() -> None:
    values = targets(parse_budget("30M..150M"))
    assert values[-1] == 150_000_000
    assert 30e6 < values[0] < 33e6
    ratios = [b / a for a, b in itertools.pairwise(values)]
    assert max(ratios) / min(ratios) < 1.001
    assert all(127.5e6 < value <= 150e6 for value in targets(parse_budget("150M")))


def test_the_target_is_a_knob_of_the_study() -> None:
    proposal = proposer().next()
    assert proposal is not None
    assert proposal.params[TARGET] in targets(BUDGET)


def test_a_budget_that_nothing_meets_names_the_nearest_network() -> None:
    with pytest.raises(ValueError, match=r"budget 1\.0M: nothing .* the smallest network found has 4\.9M"):
        check_reachable(find_space("mobile_former"), parse_budget("1M"))
    with pytest.raises(ValueError, match="nothing .* that large; the largest network found has"):
        check_reachable(find_space("mobile_former_small"), parse_budget("90G"))
