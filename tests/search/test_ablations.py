"""Ablations: the paper's rows have its costs, each row is what it says, and the command from network to figure."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from mfsearch.analysis.figures.effects import ablation_dots, draw_ablation
from mfsearch.cli import main
from mfsearch.commands.ablate import ROWS, table
from mfsearch.config import MobileFormerConfig
from mfsearch.cost.madds import count_as_published, count_costs, count_madds
from mfsearch.living import living
from mfsearch.model import MobileFormer
from mfsearch.presets import PRESETS, preset
from mfsearch.search.ablations import NETWORK, QUESTIONS, AblationRow, make_rows
from mfsearch.study.twins_file import Effect, TwinLatency, TwinParent
from tests.search.test_twin_networks import small

MF_294M = PRESETS["mf-294m"]

# Params and MAdds in millions. Printed in arXiv:2108.05895 for the parts; the others were counted on the published code
# by the rule that gives the paper's own figures.
PARTS = {"Mobile alone, ReLU": (6.1, 259), "+ Former and bridges": (10.1, 290), "+ DyReLU": (11.4, 294)}
TOKENS = {1: 267.0, 3: 277.7, 6: 293.8, 9: 310.0}
DIMS = {64: (7.33, 275.1), 128: (9.09, 282.8), 192: (11.42, 293.8), 256: (14.35, 308.1), 320: (17.85, 325.7)}
COSTS = PARTS | {f"{count} token{'s' * (count > 1)}": (11.42, madds) for count, madds in TOKENS.items()}
COSTS |= {f"token dim {dim}": costs for dim, costs in DIMS.items()}


@pytest.fixture(scope="module")
def rows() -> list[AblationRow]:
    return make_rows(MF_294M)


def own(rows: list[AblationRow], label: str) -> MobileFormerConfig:
    config = next(row.twin.config for row in rows if row.change.label == label)
    assert config is not None
    return config


@pytest.mark.parametrize("label", COSTS)
def test_the_papers_rows_have_its_costs(rows: list[AblationRow], label: str) -> None:
    config = own(rows, label)
    params, madds = COSTS[label]
    assert count_as_published(config) / 1e6 == pytest.approx(madds, rel=0.01)
    assert count_madds(config) / 1e6 == pytest.approx(madds, rel=0.015)  # fvcore counts BatchNorm twice
    assert count_costs(config).num_params / 1e6 == pytest.approx(params, rel=0.01)


def test_every_row_changes_what_it_says_and_nothing_dead_is_left(rows: list[AblationRow]) -> None:
    for row in rows:
        config = row.twin.config
        assert config is not None, (row.change.label, row.twin.reason)
        assert living(config) is config
        assert row.twin.num_params == count_costs(config).num_params
        if row.widths == "scaled":
            assert abs(count_madds(config) / count_madds(MF_294M) - 1) <= 0.02
        else:
            assert row.twin.width == 1
            assert [block.out for block in config.blocks] == [block.out for block in MF_294M.blocks]

    def bridges(label: str) -> list[str]:
        return [block.bridge for block in own(rows, label).blocks]

    mobile = own(rows, "Mobile alone, ReLU")
    assert (mobile.tokens.count, mobile.dyrelu.source) == (0, "none")
    assert (own(rows, "+ Former and bridges").dyrelu.source, bridges("+ Former and bridges")) == ("none", ["both"] * 11)
    deaf = own(rows, "no Mobile->Former")
    assert (deaf.wiring.to_former, deaf.wiring.former, deaf.tokens.count) == (False, False, 0)
    assert deaf.dyrelu.source == "static"  # its coefficients cannot come from a token
    assert bridges("no Mobile<-Former") == ["to_former"] * 11
    assert bridges("no bridge in s3") == ["both"] * 2 + ["none"] * 2 + ["both"] * 7
    first = own(rows, "no bridge in s2")  # before the first bridge tokens are constants, so their Former goes as well
    assert [(b.bridge, b.former, b.static) for b in first.blocks[:3]] == [("none", False, True)] * 2 + [
        ("both", True, False)
    ]
    assert not own(rows, "no bridge before the head").bridges.final
    assert bridges("bridge before head alone") == ["none"] * 11
    assert [own(rows, f"FFN {ratio}").former.ffn for ratio in (0, 1, 2, 4)] == [0, 1, 2, 4]
    assert own(rows, "DyReLU with intercepts").dyrelu.intercepts
    assert not own(rows, "no gate").bridges.gate
    sources = ["first_token", "mean_token", "spatial", "pooled", "static", "hswish", "none"]
    assert [own(rows, change.label).dyrelu.source for change in QUESTIONS["dyrelu"]] == sources


def test_rows_of_one_network_are_merged_and_name_the_first(rows: list[AblationRow]) -> None:
    same = {row.change.label: row.same_as for row in rows if row.widths == "own" and row.same_as}
    assert same == {
        **dict.fromkeys(("+ DyReLU", "6 tokens", "token dim 192", "DyReLU first token", "FFN 2"), NETWORK),
        "no bridge at all": "no Mobile->Former",
        "DyReLU none": "+ Former and bridges",
    }
    scaled = {row.change.label: row.same_as for row in rows if row.widths == "scaled"}
    assert scaled["no gate"] == "no gate"  # within 1 % of the multiply-adds without any scaling
    assert scaled["no bridge at all"] == "no Mobile->Former (scaled)"
    single = [row for row in rows if row.same_as is None]
    assert len({row.twin.config.arch_id for row in single if row.twin.config}) == len(single)
    assert len({row.twin.knob for row in rows}) == len(rows)


@pytest.mark.parametrize("name", PRESETS)
def test_every_row_of_every_preset_can_be_built(name: str) -> None:
    for row in make_rows(PRESETS[name], widths=("own",)):
        assert row.twin.config is not None, (row.change.label, row.twin.reason)


def test_the_closed_form_of_a_row_is_that_of_its_module() -> None:
    for row in make_rows(small(), widths=("own",)):
        if row.twin.config is not None and row.same_as is None:
            with torch.device("meta"):
                module = MobileFormer(row.twin.config)
            assert row.twin.num_params == sum(weight.numel() for weight in module.parameters()), row.change.label


def test_questions_are_chosen_by_name() -> None:
    assert tuple(ROWS.split(",")) == tuple(QUESTIONS)
    some = make_rows(MF_294M, ["gate", "tokens"], ("own",))
    assert [row.question for row in some] == ["gate", *["tokens"] * 4]
    with pytest.raises(ValueError, match="--rows must be one or more of parts, tokens, dim, .*, got 'token'"):
        make_rows(MF_294M, ["token"])


def test_a_row_that_cannot_be_built_has_its_reason() -> None:
    reasons = {row.change.label: row.twin.reason for row in make_rows(PRESETS["mf-26m"], ["tokens"])}
    assert not any(reasons.values())
    tokenless = make_rows(make_rows(MF_294M, ["parts"])[0].twin.config or MF_294M, ["tokens"], ("own",))
    assert all((row.twin.reason or "").startswith("cannot be built: tokens.dim must be") for row in tokenless)


def test_table_and_figure_show_the_paper_beside_rows_and_costs() -> None:
    """Five points lost at both widths; the paper lost 3.6. Latency in ms if it was measured."""
    timed = TwinLatency(-1.5, -1.6, -1.4, 10.0, 9.9, 10.1, 0.9, 0.88, 0.91, rounds=20, disturbed=False)
    top1, effect = {0: 0.30, 1: 0.32}, Effect(2, -0.05, -0.07, -0.03, 0.01)
    rows = [
        row._replace(twin=dataclasses.replace(row.twin, top1=top1, effect=effect, latency=timed))
        for row in make_rows(MF_294M, ["parts"])
    ]
    parent = TwinParent("mf-294m", "a", count_madds(MF_294M), 11_422_648, {0: 0.35, 1: 0.37}, {}, MF_294M, 11.5)
    dots = ablation_dots(parent, rows)
    assert dots.names == ["<b>parts</b>", "Mobile alone, ReLU", "+ Former and bridges"]
    assert [dot.value for dot in dots.own] == [-5.0, -5.0]
    assert [dot.name for dot in dots.scaled] == ["Mobile alone, ReLU"]  # the other has its multiply-adds as it is
    assert [dot.value for dot in dots.paper] == pytest.approx([-3.6, -1.0])
    assert ([dot.value for dot in dots.cost], dots.unit) == ([-1.5, -1.5], "ms")
    assert len(draw_ablation(dots).data) == 4
    tokens = make_rows(PRESETS["mf-52m"], ["tokens"], ("own",))
    some = [row._replace(twin=dataclasses.replace(row.twin, effect=effect)) for row in tokens]
    fewer = dataclasses.replace(parent, config=PRESETS["mf-52m"])  # it has 3 tokens, where the paper has 77.6
    assert [dot.value for dot in ablation_dots(fewer, some).paper] == pytest.approx([-0.5, 0.2, 0.1])
    untimed = [row._replace(twin=dataclasses.replace(row.twin, latency=None)) for row in rows]
    costs = ablation_dots(parent, untimed).cost
    assert [dot.value for dot in costs] == pytest.approx([-11.51, -0.44], abs=0.01)  # 261.4 and 294.1 of 295.4M
    shown = table(parent, rows, step=0.001).splitlines()
    assert max(map(len, shown)) <= 100
    mobile = next(line for line in shown if line.startswith("Mobile alone"))
    assert " ".join(mobile.split()) == (
        "Mobile alone, ReLU 261.4 6.14 31.00 ±12.71 -5.00 -7.00..-3.00 * 74.2? 10.00 ±0.10"
    )
    assert "+ DyReLU                   = the network" in "\n".join(shown)
    assert "As above, the widths stay: + Former and bridges, + DyReLU." in shown


def test_the_command_trains_resumes_and_refuses_other_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small().save(tmp_path / "net.yaml")
    command = ["ablate", "--preset", str(tmp_path / "net.yaml"), "--data", "digits", "--results", str(tmp_path)]
    command += ["--epochs", "0.5", "--samples", "64", "--seeds", "2", "--widths", "own"]
    folder = tmp_path / "ablations" / "net-digits"
    assert main([*command, "--rows", "parts", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "6 trainings of 3 networks, about " in shown
    assert not folder.exists()
    assert main([*command, "--rows", "parts"]) == 0
    shown = capsys.readouterr().out
    assert "6 trainings of 3 networks, about " in shown
    assert f"figure      {folder / 'ablation.html'}" in shown
    before = (folder / "trainings.jsonl").read_text().splitlines()
    assert len(before) == 1 + 2 * 3

    assert main([*command, "--rows", "parts,intercepts", "--json"]) == 0  # one row more: the others are kept
    report = json.loads(capsys.readouterr().out)
    after = (folder / "trainings.jsonl").read_text().splitlines()
    assert after[: len(before)] == before
    assert len(after) == 1 + 2 * 4
    assert json.loads((folder / "ablation.json").read_text()) == report
    assert [row["label"] for row in report["rows"]] == [*PARTS, "DyReLU with intercepts"]
    mobile, former, whole, _ = report["rows"]
    assert mobile["paper"] == {"top1": 0.742, "verified": False}
    assert mobile["top1_mean"]["mean"] == pytest.approx(sum(mobile["top1"].values()) / 2)
    differences = [former["top1"][seed] - report["parent"]["top1"][seed] for seed in ("0", "1")]
    assert former["effect"]["mean"] == pytest.approx(sum(differences) / 2)
    assert (whole["same_as"], whole["top1"]) == (NETWORK, report["parent"]["top1"])
    assert mobile["knobs"] == {"tokens.count": 0, "dyrelu.source": "none"}

    assert main([*command, "--rows", "parts", "--epochs", "1"]) == 2
    assert "recipe.epochs: the file has 0.5, this run says 1.0" in capsys.readouterr().err
    assert main([*command, "--rows", "tokens,colour"]) == 2
    assert f"--rows must be one or more of {', '.join(QUESTIONS)}, got 'colour'" in capsys.readouterr().err


def test_rows_get_no_direction_that_they_had_not_and_static_rows_are_no_obstacle() -> None:
    """mf4-s: four rows with both bridges, nine with learned slopes and none."""
    rows = {row.change.label: row.twin.config for row in make_rows(preset("mf4-s"), ("parts", "directions"), ("own",))}
    plain, former, one_way = rows["Mobile alone, ReLU"], rows["+ Former and bridges"], rows["no Mobile<-Former"]
    assert plain is not None
    assert count_costs(plain).madds == count_costs(preset("mnv4-s")).madds
    assert former is not None
    assert one_way is not None
    assert [row.bridge for row in one_way.blocks].count("to_former") == 4
    assert {row.bridge for row in one_way.blocks} == {"to_former", "none"}
