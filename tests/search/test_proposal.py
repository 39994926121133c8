import itertools
from typing import Any

import pytest

from mfsearch.presets import PRESETS
from mfsearch.search.proposal import (
    LEAST_SPREAD,
    STARTS,
    TARGET,
    Proposal,
    Proposer,
    check_limits,
    check_reachable,
    targets,
)
from mfsearch.search.samplers import SAMPLERS
from mfsearch.space import SearchSpace, find_space, load_space
from mfsearch.space.nested import nested_space
from mfsearch.study.trial import Trial
from mfsearch.units import CostLimits, parse_budget, parse_limits
from tests.conftest import TINY_SPACE
from tests.trials import trial

BUDGET = parse_budget("0.5M")


def tiny() -> SearchSpace:
    return load_space(TINY_SPACE).deployed(resolution=32, classes=10)


def whole(budget: str, sampler: str = "auto") -> Proposer:
    return Proposer(find_space("mobile_former"), parse_budget(budget), ["top1", "madds"], sampler, seed=0)


def first(source: Proposer, count: int) -> list[Proposal]:
    found = [source.next() for _ in range(count)]
    assert None not in found
    return [proposal for proposal in found if proposal is not None]


def finished(proposal: Proposal, top1: float | None, outcome: str = "trained", **more: Any) -> Trial:
    """A finished trial as the run would write it."""
    return trial(
        proposal.index,
        outcome,
        origin=proposal.origin,
        params=proposal.params,
        arch_id=proposal.arch_id,
        config=proposal.config.to_dict(),
        madds=proposal.costs.madds,
        top1=top1,
        **more,
    )


def test_published_networks_inside_come_first_then_all_larger_ones_fitted_then_a_spread_out_sample() -> None:
    proposals = first(whole("150M"), STARTS)
    published = ["preset mf-26m", "preset mf-52m", "preset mf-96m"]
    published += ["fitted mf-151m", "fitted mf-214m", "fitted mf-294m", "fitted mf-508m"]
    assert [proposal.origin for proposal in proposals] == published + ["spread"] * (STARTS - len(published))
    assert proposals[2].config == PRESETS["mf-96m"]
    assert all(127.5e6 <= proposal.costs.madds <= 150e6 for proposal in proposals[3:])


def test_a_stated_lower_end_keeps_smaller_presets_out() -> None:
    origins = [proposal.origin for proposal in first(whole("90M..160M"), 3)]
    assert origins == ["preset mf-96m", "preset mf-151m", "fitted mf-214m"]


def affording(networks: int, budget: str = "20M..150M") -> Proposer:
    return Proposer(find_space("mobile_former"), parse_budget(budget), ["top1", "madds"], "auto", 0, afforded=networks)


def test_published_networks_take_a_third_of_what_can_be_afforded_and_span_the_budget() -> None:
    origins = [proposal.origin for proposal in first(affording(9), 9)]
    assert origins[:3] == ["fitted mf-214m", "preset mf-26m", "preset mf-52m"]  # largest, smallest, between
    assert origins[3:] == ["spread"] * LEAST_SPREAD + ["random"] * 2  # the sampler's, random until it has results
    assert [proposal.origin for proposal in first(affording(3), 2)] == ["fitted mf-214m", "spread"]


def test_a_long_search_starts_with_all_published_networks() -> None:
    expected = [proposal.arch_id for proposal in first(whole("20M..150M"), STARTS)]
    assert [proposal.arch_id for proposal in first(affording(30), STARTS)] == expected


def test_a_search_inside_a_parent_begins_with_plain_parts_a_third_of_what_it_affords_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Inside mf-151m at 100M: the widths of all by one fraction, blocks left out first, or light Formers."""
    monkeypatch.setattr("mfsearch.search.proposal.SPREAD_POOL", 3)
    parent, budget = PRESETS["mf-151m"], parse_budget("100M")
    space = nested_space(parent)
    for afforded, count in ((9, 3), (8, 2), (2, 0)):
        source = Proposer(space, budget, ["top1", "madds"], "auto", 0, afforded=afforded)
        origins = ["parent narrow", "parent shallow", "parent light"][:count]
        proposals = first(source, count + 1)
        assert [one.origin for one in proposals] == [*origins, "spread"]
        assert all(budget.low <= one.costs.madds <= budget.high for one in proposals)
        if count == 3:
            narrow, shallow, light, _ = (one.config for one in proposals)
    assert len(narrow.blocks) == len(light.blocks) == len(parent.blocks) > len(shallow.blocks)
    assert shallow.blocks[0] == parent.blocks[0]
    assert (narrow.tokens, narrow.former) == (parent.tokens, parent.former)
    assert (light.tokens.count, light.former.ffn) == (1, 0)
    assert narrow.stem < light.stem <= shallow.stem == parent.stem


def test_the_control_has_no_starting_points() -> None:
    assert {proposal.origin for proposal in first(whole("150M", "random"), 5)} == {"random"}


def test_a_space_without_published_networks_starts_spread_out() -> None:
    source = Proposer(tiny(), BUDGET, ["top1", "madds"], "auto", seed=0)
    assert [proposal.origin for proposal in first(source, STARTS + 1)] == ["spread"] * STARTS + ["random"]


def test_failed_and_rejected_networks_are_not_proposed_again() -> None:
    """After a restart: the seed would propose the same networks again, were their trials not learned."""
    before = Proposer(tiny(), BUDGET, ["top1", "madds"], "random", seed=0)
    one, two = first(before, 2)
    source = Proposer(tiny(), BUDGET, ["top1", "madds"], "random", seed=0)
    source.learn(finished(one, None, "failed"))
    source.learn(finished(two, None, "rejected", latency_ms=9.0, violation_ms=4.0))
    later = [proposal.arch_id for proposal in first(source, 20)]
    assert not {one.arch_id, two.arch_id} & set(later)


def test_a_published_network_below_the_band_teaches_nothing_about_it() -> None:
    source = whole("150M")
    below, *_, fitted = first(source, 4)
    for proposal in (below, fitted):
        source.learn(finished(proposal, 0.5))
    assert [trial.madds for trial in source.history.trials] == [fitted.costs.madds]


# --- another study's networks


def other_study() -> tuple[list[Trial], list[Proposal]]:
    """Ten random networks at 96M, the later the better, the last one a failure; top1 0.1 to 0.9."""
    proposals = first(whole("96M", "random"), 10)
    trials = [finished(proposal, (k + 1) / 10) for k, proposal in enumerate(proposals[:-1])]
    return [*trials, finished(proposals[-1], None, "failed")], proposals


def test_the_best_of_another_study_come_first_with_their_widths_fitted() -> None:
    trials, theirs = other_study()
    source = whole("150M")
    origins = source.transfer(trials, "flowers")
    assert origins[0] == "from flowers:8"  # of the highest top1: on the front whatever its MAdds
    assert "from flowers:9" not in origins
    proposals = first(source, len(origins) + 1)
    assert [proposal.origin for proposal in proposals] == [*origins, "preset mf-26m"]
    for proposal in proposals[:-1]:
        assert 127.5e6 <= proposal.costs.madds <= 150e6
        before = theirs[int(proposal.origin.partition(":")[2])]
        assert {**before.params, TARGET: 0} == {**proposal.params, TARGET: 0}
        assert proposal.width > before.width
    assert [p.origin for p in first(source, 20)].count("spread") == max(LEAST_SPREAD, STARTS - len(origins) - 7)


def test_nothing_of_another_study_counts_as_a_result_of_this_one() -> None:
    trials, _ = other_study()
    source = whole("150M")
    source.transfer(trials, "flowers")
    assert source.history.trials == []
    assert source.seen == set()
    assert source.index == 0


def test_trials_of_another_space_are_refused() -> None:
    small = Proposer(tiny(), BUDGET, ["top1", "madds"], "random", seed=0)
    trials = [finished(proposal, 0.5) for proposal in first(small, 2)]
    with pytest.raises(ValueError, match=r"from digits:\d must lie in space mobile_former: blocks"):
        whole("150M").transfer(trials, "digits")


# --- the band


def test_targets_span_the_band_in_equal_ratios() -> None:
    values = targets(parse_budget("30M..150M"))
    assert values[-1] == 150_000_000
    assert 30e6 < values[0] < 33e6
    ratios = [b / a for a, b in itertools.pairwise(values)]
    assert max(ratios) / min(ratios) < 1.001
    assert all(127.5e6 < value <= 150e6 for value in targets(parse_budget("150M")))


def test_the_target_is_a_knob_of_the_study() -> None:
    proposal = first(Proposer(tiny(), BUDGET, ["top1", "madds"], "auto", seed=0), 1)[0]
    assert proposal.params[TARGET] in targets(BUDGET)


def test_a_budget_that_nothing_meets_names_the_nearest_network() -> None:
    with pytest.raises(ValueError, match=r"budget 1\.0M: nothing .* the smallest network found has 4\.9M"):
        check_reachable(find_space("mobile_former"), parse_budget("1M"))
    with pytest.raises(ValueError, match=r"that large; the largest network found has .* px \(--resolution counts"):
        check_reachable(find_space("mobile_former_small"), parse_budget("90G"))


# --- limits on other costs

SPACES = {name: find_space(name) for name in ("mobile_former", "mobile_former_small", "paper")}
SPACES |= {"inside mf-151m": nested_space(PRESETS["mf-151m"])}


@pytest.mark.parametrize(("option", "text"), [("params", "5M"), ("memory", "1.5MB"), ("size", "20MB")])
@pytest.mark.parametrize("name", SPACES)
def test_every_proposal_keeps_a_limit(name: str, option: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """150 of each space: starting points first, then draws; `benchmarks/proposals.py --limits` makes 1,000."""
    monkeypatch.setattr("mfsearch.search.proposal.SPREAD_POOL", 12)
    budget = parse_budget("80M" if name.startswith("inside") else "150M")
    limits = parse_limits(**{option: text})
    proposals = first(Proposer(SPACES[name], budget, ["top1", "madds"], "auto", 0, limits=limits), 150)
    assert all(limits.hold(one.costs) and budget.holds(one.costs.madds) for one in proposals)
    assert len({one.arch_id for one in proposals}) == 150
    assert min(one.costs.madds for one in proposals) < budget.low  # where a limit binds


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_keeps_all_limits_and_a_stated_lower_end(sampler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it learned from networks below the band."""
    monkeypatch.setattr("mfsearch.search.proposal.SPREAD_POOL", 12)
    for text, least in (("0.5M", 0), ("0.3M..0.5M", 300_000)):
        budget, limits = parse_budget(text), CostLimits(50_000, 32_000, 240_000)
        source = Proposer(tiny(), budget, ["top1", "num_params", "onnx_bytes"], sampler, 0, limits=limits)
        for k in range(STARTS + 2):
            (proposal,) = first(source, 1)
            assert limits.hold(proposal.costs)
            assert least <= proposal.costs.madds <= budget.high
            costs = {name: getattr(proposal.costs, name) for name in ("num_params", "onnx_bytes")}
            source.learn(finished(proposal, (k * 7 % 16) / 16, width=proposal.width, **costs))
        assert len(source.history.trials) == STARTS + 2
        assert sampler in ("random", "auto") or proposal.origin == sampler


def test_a_preset_over_a_limit_is_fitted_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others have more than 4M parameters at any width, for their tokens and the head's hidden layer stay."""
    monkeypatch.setattr("mfsearch.search.proposal.SPREAD_POOL", 3)
    limits = parse_limits("4M")
    source = Proposer(SPACES["mobile_former"], parse_budget("150M"), ["top1", "madds"], "auto", 0, limits=limits)
    published = first(source, 4)
    assert [one.origin for one in published] == ["preset mf-26m", "preset mf-52m", "fitted mf-96m", "spread"]
    assert 3.9e6 < published[2].costs.num_params <= 4e6


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"params": "100K"}, "--params 0.1M: nothing in space mobile_former is that small; .* 224 px for 1000 classes"),
        ({"memory": "0.5MB"}, "--memory 0.5MB: .* is 0.802816MB"),  # the image, and a stem of 4 channels at 112 px
        ({"size": "1MB"}, "--size 1MB: nothing in space"),
    ],
)
def test_a_limit_out_of_reach_is_an_error_with_the_smallest_value(given: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_limits(find_space("mobile_former"), parse_limits(**given))
