"""Distances, differences and neighbours of networks: by hand, and against brute force."""

import dataclasses
import math
import random
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from mfsearch.analysis.front.compare import (
    differences,
    distances,
    lineage,
    nearest_cheaper,
    nearest_published,
    network_knobs,
    readable_networks,
    row_names,
)
from mfsearch.analysis.front.side_by_side import (
    block_table,
    compared_lengths,
    knob_table,
    metric_table,
    published_network,
    shown_latency,
)
from mfsearch.analysis.metrics import RankedTrial, ranked_trials
from mfsearch.config import BlockConfig, BridgeConfig, DyReLUConfig, MobileFormerConfig, TokenConfig
from mfsearch.cost.latency_model import Prediction
from mfsearch.cost.madds import count_madds
from mfsearch.presets import MF_52M, MF_151M, PRESETS
from mfsearch.space import find_space
from mfsearch.space.knobs import row_stages
from mfsearch.study.frame import study_frame
from mfsearch.study.trial import Trial
from tests.analysis.rows import changed, kept_parent, longer, row, stage
from tests.random_configs import SMALL, random_config


def distance(a: MobileFormerConfig, b: MobileFormerConfig) -> float:
    return float(distances(a, [b])[0])


def with_row(config: MobileFormerConfig, at: int, **changes: object) -> MobileFormerConfig:
    rows = list(config.blocks)
    rows[at] = dataclasses.replace(rows[at], **changes)  # type: ignore[arg-type]
    return dataclasses.replace(config, blocks=tuple(rows))


def cells(table: pd.DataFrame, name: str) -> list[str]:
    """The texts of a row."""
    return [str(text) for text in table.loc[[name]].to_numpy().ravel()]


def trial(number: int, config: object, top1: float | None = 0.5, **more: object) -> Trial:
    data = config.to_dict() if isinstance(config, MobileFormerConfig) else config
    madds = count_madds(config) if isinstance(config, MobileFormerConfig) else 100_000_000
    return row(number, top1, madds, config=data, **more)


def ranked(*trials: Trial) -> dict[str, RankedTrial]:
    return {f"trial {one.trial.number}": one for one in ranked_trials(study_frame(trials))}


# --- names


def test_rows_are_named_by_stage_and_place() -> None:
    assert row_names(MF_151M) == [
        *("s2_down", "s2_1", "s3_down", "s3_1", "s4_down", "s4_1", "s4_2", "s4_3", "s5_down", "s5_1", "s5_2"),
    ]
    assert row_names(MF_52M)[:3] == ["s2_1", "s3_down", "s3_1"]  # its lite bottleneck goes to a quarter itself
    for config in (*PRESETS.values(), *(random_config(seed) for seed in range(50))):
        assert [name.partition("_")[0] for name in row_names(config)] == row_stages(config)
        assert len(set(row_names(config))) == len(config.blocks)


def test_knobs_have_the_names_and_values_of_a_space() -> None:
    """What the space's params say of the published networks is what their knobs say, where the names are the same."""
    space = find_space("mobile_former")
    for name, config in PRESETS.items():
        params = space.find_params(config)
        assert params is not None
        knobs = network_knobs(config)
        shared = {
            key: value for key, value in params.items() if key in knobs and key not in ("head.conv", "dyrelu.reduction")
        }
        assert len(shared) >= 20, name
        for key, value in shared.items():
            if key.startswith("former.s"):
                assert knobs[key] == ("yes" if value else "no"), (name, key)
            elif not key.endswith("out") or value != "same":
                assert knobs[key] == value, (name, key)
        assert knobs["head.conv"] == 6
        assert knobs["blocks.s3_down.expand"] == 6


# --- distances


def test_distances_by_hand() -> None:
    base = MF_151M
    assert distance(base, base) == 0
    # 6 tokens or 3: log2(7 / 4); 6 or 12: log2(13 / 7); 1 or 12 is more than a factor of two, so 1
    three = dataclasses.replace(base, tokens=TokenConfig(3, 192))
    assert distance(base, three) == pytest.approx(math.log2(7 / 4))
    one, twelve = (dataclasses.replace(base, tokens=TokenConfig(count, 192)) for count in (1, 12))
    assert distance(base, twelve) == pytest.approx(math.log2(13 / 7))
    # one token has no heads to divide among
    assert distance(one, twelve) == 1 + 0.5
    assert distance(base, dataclasses.replace(base, bridges=BridgeConfig(gate=False))) == 1
    # ReLU in the place of DyReLU: another word, and no position, slopes, intercepts, reduction
    assert distance(base, dataclasses.replace(base, dyrelu=DyReLUConfig(source="none"))) == 1 + 4 * 0.5
    # knobs of one row or stage: a quarter
    assert distance(base, with_row(base, 10, kernel=5)) == pytest.approx(math.log2(6 / 4) / 4)
    assert distance(base, with_row(base, 10, bridge="none")) == 0.25
    shorter = dataclasses.replace(base, blocks=base.blocks[:10])
    assert distance(base, shorter) == 3 * 0.5 / 4  # a row without expand, out and kernel


def test_the_distance_is_a_metric() -> None:
    configs = [*PRESETS.values(), *(random_config(seed) for seed in range(12))]
    table = np.stack([distances(config, configs) for config in configs])
    assert np.allclose(table, table.T)
    assert (np.diag(table) == 0).all()
    through = (table[:, :, None] + table[None, :, :]).min(1)
    assert (table <= through + 1e-9).all()


def test_distance_is_zero_for_what_is_built_alike_and_only_for_that() -> None:
    """Fields that arch_id leaves out do not count, and each that it takes in does."""
    without_effect = 0
    for seed in range(120):
        config, rng = random_config(seed), random.Random(seed)
        for change in _changes(config, rng):
            same = change.arch_id == config.arch_id
            without_effect += same
            assert (distance(config, change) == 0) == same, (config, change)
    assert without_effect > 100


def _changes(config: MobileFormerConfig, rng: random.Random) -> list[MobileFormerConfig]:
    tokens, former, bridges, dyrelu = config.tokens, config.former, config.bridges, config.dyrelu
    sections = [
        {"tokens": dataclasses.replace(tokens, dim=96 if tokens.dim != 96 else 192)},
        {"former": dataclasses.replace(former, ffn=2 if former.ffn != 2 else 4)},
        {"former": dataclasses.replace(former, heads=1 if former.heads != 1 else 2)},
        {"bridges": dataclasses.replace(bridges, gate=not bridges.gate)},
        {"bridges": dataclasses.replace(bridges, heads=1 if bridges.heads != 1 else 2)},
        {"bridges": dataclasses.replace(bridges, projections="full" if bridges.projections != "full" else "published")},
        {"dyrelu": dataclasses.replace(dyrelu, slopes=5 - dyrelu.slopes)},
        {"dyrelu": dataclasses.replace(dyrelu, position="both" if dyrelu.position != "both" else "first")},
        {
            "dyrelu": dataclasses.replace(
                dyrelu, source="mean_token" if dyrelu.source != "mean_token" else "first_token"
            )
        },
        {"dyrelu": dataclasses.replace(dyrelu, intercepts=not dyrelu.intercepts)},
    ]
    at = rng.randrange(len(config.blocks))
    tailed = with_row(config, at, tail=config.blocks[at].tail % 8 + 1)
    found = [tailed]
    for section in sections:
        try:
            found.append(dataclasses.replace(config, **section))  # type: ignore[arg-type]
        except ValueError:
            continue
    return found


# --- differences


def test_differences_name_the_knob_and_both_values() -> None:
    other = with_row(dataclasses.replace(MF_151M, tokens=TokenConfig(3, 192)), 10, kernel=5, bridge="none")
    found = {one.knob: one.values for one in differences([MF_151M, other])}
    assert found == {
        "tokens.count": ("6", "3"),
        "bridges.s5": ("both", "both, both, none"),
        "blocks.s5_2.kernel": ("3", "5"),
    }
    assert differences([MF_151M, MF_151M]) == differences([]) == differences([MF_151M]) == []


def test_differences_stand_in_the_order_of_the_network() -> None:
    names = [one.knob for one in differences(list(PRESETS.values()))]
    assert names[0] == "tokens.count"
    rows = [name for name in names if name.startswith("blocks.")]
    assert rows.index("blocks.s2_down.out") < rows.index("blocks.s2_1.out") < rows.index("blocks.s3_down.out")
    assert rows == names[-len(rows) :] or any(name.startswith("bridges.s") for name in names)
    assert all(len(one.values) == 7 for one in differences(list(PRESETS.values())))


# --- neighbours


def test_the_nearest_published_network() -> None:
    for name, config in PRESETS.items():
        other_place = dataclasses.replace(config, resolution=160, classes=10)
        assert nearest_published(other_place) == (name, 0.0, [])
    found = nearest_published(dataclasses.replace(MF_151M, tokens=TokenConfig(3, 192)))
    assert (found.name, [one.values for one in found.differences]) == ("mf-151m", [("6", "3")])


def test_the_nearest_cheaper_network_is_the_one_of_brute_force() -> None:
    rng = random.Random(0)
    for _ in range(20):
        configs = [random_config(rng.randrange(10_000)) for _ in range(12)]
        rows = [trial(k, config, latency_ms=rng.uniform(2, 6)) for k, config in enumerate(configs)]
        rows[3] = changed(rows[3], outcome="rejected", top1=None)
        rows[4] = changed(rows[4], config={"name": "made up"})
        frame = study_frame(rows)
        for number in (0, 3):
            limit = 0.9 * rows[number].metric("latency_ms")
            fits = [k for k in range(12) if k not in (3, 4) and rows[k].metric("latency_ms") <= limit]
            best = min(fits, key=lambda k: distance(configs[number], configs[k]), default=None)
            found = nearest_cheaper(frame, number)
            assert (None if found is None else found.number) == best
            if found is not None:
                assert found.distance == pytest.approx(distance(configs[number], configs[found.number]))


def test_what_the_nearest_cheaper_network_costs() -> None:
    smaller, near = (dataclasses.replace(MF_151M, tokens=TokenConfig(count, 192)) for count in (1, 3))
    rows = [
        trial(0, MF_151M, 0.60, latency_ms=10.0),
        trial(1, smaller, 0.50, latency_ms=5.0),
        trial(2, near, 0.58, latency_ms=9.0),  # ten percent exactly
        trial(3, MF_151M, 0.70, latency_ms=9.1),  # as near as can be, and not fast enough
    ]
    found = nearest_cheaper(study_frame(rows), 0)
    assert found is not None
    assert (found.number, found.cost, found.after) == (2, "latency_ms", "")
    assert found.cost_change == pytest.approx(-0.1)
    assert found.top1_change == pytest.approx(-0.02)
    assert nearest_cheaper(study_frame(rows), 1) is None


def test_without_latencies_the_nearest_with_fewer_multiply_adds() -> None:
    rows = [trial(0, MF_151M, 0.6), trial(1, PRESETS["mf-96m"], 0.5), trial(2, MF_52M, 0.4)]
    found = nearest_cheaper(study_frame(rows), 0)
    assert found is not None
    assert (found.number, found.cost) == (1, "madds")
    assert found.cost_change == pytest.approx(96.33 / 152.01 - 1, abs=1e-4)


def test_trainings_of_other_length_are_compared_by_the_short_one_both_had() -> None:
    rows = [longer(trial(0, MF_151M, 0.55), [stage(1, 0, 0.8)]), trial(1, MF_52M, 0.50)]
    found = nearest_cheaper(study_frame(rows), 0)
    assert found is not None
    assert found.after == "1x"
    assert found.top1_change == pytest.approx(0.50 - 0.55)


def test_two_trained_longer_are_compared_by_the_longest_that_both_had() -> None:
    ours, theirs = trial(0, MF_151M, 0.55, epochs=1.0), trial(1, MF_52M, 0.50, epochs=1.0)
    rows = [longer(ours, [stage(1, 0, 0.7), stage(2, 0, 0.8)]), longer(theirs, [stage(1, 0, 0.68)])]
    found = nearest_cheaper(study_frame(rows), 0)
    assert found is not None
    assert found.after == "3x"
    assert found.top1_change == pytest.approx(0.68 - 0.7)


def test_what_is_compared_says_first_how_long_each_was_trained() -> None:
    rows = [row(0, 0.55, epochs=1.0), row(1, 0.50, epochs=1.0), row(2, 0.45, outcome="stopped")]
    rows[1] = longer(rows[1], [stage(1, 0, 0.65), stage(1, 1, 0.67)])
    told = compared_lengths(ranked(*rows))
    assert told == (
        "Trained for different lengths: trial 0 for 1x, trial 1 for 3x, 2 seeds. "
        "Top-1 after 1x, the longest that all had: trial 0 55.0 %, trial 1 50.0 %."
    )
    rows[0] = longer(rows[0], [stage(1, 0, 0.6)])
    assert compared_lengths(ranked(*rows)) is None


def test_a_trial_without_top1_has_a_neighbour_and_no_price() -> None:
    rows = [trial(0, MF_151M, None, outcome="rejected", latency_ms=9.0), trial(1, MF_52M, 0.5, latency_ms=4.0)]
    found = nearest_cheaper(study_frame(rows), 0)
    assert found is not None
    assert math.isnan(found.top1_change)


@pytest.mark.parametrize("config", [None, {"name": "made up"}, "mf-151m", 7, []])
def test_a_config_that_cannot_be_read_is_a_value_error_and_no_neighbour(config: object) -> None:
    rows = [trial(0, config, latency_ms=9.0), trial(1, MF_52M, 0.4, latency_ms=4.0)]
    with pytest.raises(ValueError, match=r"config"):
        _ = rows[0].config
    frame = study_frame(rows)
    assert list(readable_networks(frame)) == [1]
    assert nearest_cheaper(frame, 0) is None


# --- side by side


def test_rows_are_aligned_by_stage_and_stride() -> None:
    table = block_table({"a": MF_151M, "b": MF_52M}).set_index("row")
    assert list(table.columns) == ["mark", "a", "b", "differs"]
    # mf-151m has a stride-2 row to a quarter where mf-52m's lite bottleneck goes there
    assert cells(table, "s2_down") == ["+", "12 → 72 → 16, 3x3, stride 2, both, Former", "-", ""]
    assert cells(table, "s3_1") == [
        "≠",
        "32 → 96 → 32, 3x3, stride 1, both, Former",
        "24 → 72 → 24, 3x3, stride 1, both, Former",
        "in, exp, out",
    ]
    assert table.loc["lite", "differs"] == "in, stride"
    assert cells(table, "FC 2") == ["", "1000", "1000", ""]
    order = [name for name in table.index if name.startswith("s") and name != "stem"]
    assert order == row_names(MF_151M)


def test_equal_networks_have_no_marks_and_no_knobs() -> None:
    table = block_table({"a": MF_151M, "b": MF_151M})
    assert set(table["mark"]) == {""}
    assert len(table) == 4 + 11 + 3
    assert knob_table({"a": MF_151M, "b": MF_151M}).empty


def test_every_difference_in_the_rows_is_marked() -> None:
    """Of random pairs: two networks whose rows are the same have no mark there, and others do."""
    configs = [random_config(seed) for seed in range(60)]
    for a, b in pairwise(configs):
        table = block_table({"a": a, "b": b}).set_index("row")
        rows_a, rows_b = (dict(zip(row_names(one), _full_rows(one), strict=True)) for one in (a, b))
        for name in {*rows_a, *rows_b}:
            same = rows_a.get(name) == rows_b.get(name)
            assert (table.loc[name, "mark"] == "") == same, (name, a, b)


def _full_rows(config: MobileFormerConfig) -> list[tuple[object, ...]]:
    """A row with its input; what does nothing left out: the tail at stride 1, the bridge where there are no tokens."""
    widths = [config.lite.out, *(row.out for row in config.blocks)]
    return [(inp, _plain(row), bool(config.tokens.count)) for inp, row in zip(widths, config.blocks, strict=False)]


def _plain(block: BlockConfig) -> BlockConfig:
    return block if block.stride == 2 else dataclasses.replace(block, tail=4)


def test_metrics_that_differ_alone_are_listed() -> None:
    timed = row(0, 0.5, latency_ms=5.0, latency_low_ms=4.9, latency_high_ms=5.2)
    untimed = row(1, 0.6, num_params=6_000_000)
    table = metric_table(ranked(timed, untimed)).set_index("metric")
    assert table.to_dict("index") == {
        "Top-1": {"trial 0": "50.0 %", "trial 1": "60.0 %"},
        "Latency": {"trial 0": "5.00 ms (4.90 to 5.20)", "trial 1": "-"},
    }
    assert shown_latency(untimed) == "not measured"


def test_a_published_network_is_compared_by_what_it_has() -> None:
    trials = {**ranked(row(0, 0.5, 100_000_000)), "mf-151m": published_network(MF_151M)}
    predicted = {"mf-151m": Prediction(8.0, 7.0, 9.0)}
    table = metric_table(trials, predicted).set_index("metric")
    assert cells(table, "Multiply-adds") == ["100.0 M", "152.0 M"]
    assert cells(table, "Origin") == ["tpe", "published"]
    assert cells(table, "Predicted latency") == ["-", "8.00 ms (7.00 to 9.00)"]
    assert "Trained" not in table.index
    assert "Outcome" not in table.index


def test_a_stopped_trial_s_top1_says_that_it_is_of_half_a_training() -> None:
    table = metric_table(ranked(row(0, 0.5), row(1, 0.3, outcome="stopped"))).set_index("metric")
    assert cells(table, "Top-1") == ["50.0 %", "30.0 % half way"]


def test_no_networks_give_empty_tables() -> None:
    assert list(block_table({}).columns) == ["mark", "row", "differs"]
    assert knob_table({}).empty
    assert metric_table({}).empty


def test_the_lineage_of_a_network_names_what_was_left_out_of_its_parent() -> None:
    whole = SMALL.blocks
    part = dataclasses.replace(
        SMALL,
        tokens=TokenConfig(2, 32),
        blocks=(dataclasses.replace(whole[0], static=True), dataclasses.replace(whole[1], out=8, former=False)),
    )
    kept = kept_parent(num_params=1000)
    cut = row(0, config=part.to_dict(), num_params=410)
    assert lineage(kept.facts, kept, cut) == (
        "Cut from bundle (weights 0123456789ab): 41 % of its parameters kept; without blocks s2_1; widths s2 67 %; "
        "tokens 3 to 2; no Former in s2; DyReLU frozen in s1."
    )
    everything = row(1, config=SMALL.to_dict(), num_params=1000)
    assert lineage(kept.facts, kept, everything).endswith(": 100 % of its parameters kept; nothing left out.")
    for odd, parent in ((row(2), kept), (row(3, config=MF_151M.to_dict()), kept), (cut, None)):
        assert lineage(kept.facts, parent, odd) == "Cut from bundle (weights 0123456789ab)."
    bare = dataclasses.replace(
        SMALL,
        tokens=TokenConfig(0, 0),
        blocks=tuple(dataclasses.replace(one, bridge="none", former=False) for one in whole),
        bridges=dataclasses.replace(SMALL.bridges, final=False),
        dyrelu=dataclasses.replace(SMALL.dyrelu, source="static"),
    )
    told = lineage(kept.facts, kept, row(4, config=bare.to_dict(), num_params=500))
    assert told.endswith(
        "tokens 3 to none; no Former in s1, s2; no Mobile->Former in s1, s2; no Mobile<-Former in s1, s2; "
        "no final bridge; DyReLU frozen in s1, s2."
    )
