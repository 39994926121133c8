"""Twins: one knob changed alone, the same multiply-adds, and the command from network to table."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mfsearch.cli import main
from mfsearch.config import BlockConfig, DyReLUConfig, HeadConfig, LiteConfig, MobileFormerConfig, TokenConfig
from mfsearch.cost.madds import count_madds
from mfsearch.living import living
from mfsearch.presets import PRESETS
from mfsearch.search.twin_networks import (
    MAIN_KNOBS,
    TWIN_KNOBS,
    make_twins,
    parse_knobs,
    scale_widths,
    task_key,
    top1_by_seed,
    twin_tasks,
)
from mfsearch.space import find_space
from mfsearch.space.knobs import row_stages
from mfsearch.study.task_file import TaskRecord
from mfsearch.study.twins_file import Twin, TwinLatencies, TwinReport

MF_151M = PRESETS["mf-151m"]


def small(**changes: Any) -> MobileFormerConfig:
    """1.2M multiply-adds at 64 px: a second to train on digits."""
    parts: dict[str, Any] = {
        "tokens": TokenConfig(3, 64),
        "stem": 8,
        "lite": LiteConfig(16, 8, 2),
        "blocks": (BlockConfig(48, 16, 2), BlockConfig(48, 16), BlockConfig(96, 24, 2)),
        "head": HeadConfig(96, 64),
        "resolution": 64,
        "classes": 10,
    }
    return MobileFormerConfig(**parts | changes)


def only(twins: list[Twin]) -> Twin:
    assert len(twins) == 1
    return twins[0]


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Every leaf of a config by its dotted name."""
    if isinstance(value, dict):
        return {
            path: leaf for key, part in value.items() for path, leaf in flat(part, f"{name}.{key}".strip(".")).items()
        }
    if isinstance(value, list | tuple):
        return {path: leaf for k, part in enumerate(value) for path, leaf in flat(part, f"{name}.{k}").items()}
    return {name: value}


def is_width(name: str) -> bool:
    return name in ("stem", "lite.exp", "lite.out", "head.conv") or name.endswith((".exp", ".out"))


@pytest.mark.parametrize("name", PRESETS)
def test_widths_are_scaled_as_the_space_scales_them(name: str) -> None:
    space = find_space("mobile_former")
    params = space.find_params(PRESETS[name])
    assert params is not None
    for width in (0.5, 0.77, 1.0, 1.1, 1.37, 2.0):
        assert scale_widths(PRESETS[name], width) == space.resolve(params, width)


@pytest.mark.parametrize("name", PRESETS)
def test_the_main_twins_of_the_published_networks_have_their_multiply_adds(name: str) -> None:
    parent = PRESETS[name]
    twins = make_twins(parent)
    assert 8 <= len(twins) <= 12
    for twin in twins:
        assert twin.config is not None, (twin.name, twin.reason)
        assert twin.madds == count_madds(twin.config) == pytest.approx(count_madds(parent), rel=0.01)


@pytest.mark.parametrize("knob", TWIN_KNOBS)
def test_a_twin_changes_its_knob_alone(knob: str) -> None:
    """But for widths, only what the knob is named after differs, and what is dead without it."""
    values = "+".join(
        str(value).lower() if isinstance(value, bool) else str(value) for value in TWIN_KNOBS[knob].choices
    )
    section, _, field = knob.partition(".")
    built = 0
    for twin in make_twins(MF_151M, f"{knob}={values}"):
        if twin.config is None:
            assert twin.reason
            continue
        built += 1
        old, new = flat(MF_151M.to_dict()), flat(twin.config.to_dict())
        changed = {name for name in old | new if old.get(name) != new.get(name) and not is_width(name)}
        assert changed
        if field in ("blocks", "s2", "s3", "s4", "s5"):
            rows = [k for k, stage in enumerate(row_stages(MF_151M)) if field in ("blocks", stage)]
            named = {f"blocks.{k}.{'former' if section == 'former' else 'bridge'}" for k in rows}
            dead = {f"blocks.{k}.{part}" for k in range(11) for part in ("former", "static")}
            dead |= {"tokens.count", "dyrelu.source"} if twin.new.endswith(", static") else set()
            assert named <= changed <= named | (dead if section == "bridges" else set())
            assert living(twin.config) is twin.config
        elif twin.new != "0, pooled":
            assert changed == {knob}
        assert abs(count_madds(twin.config) / count_madds(MF_151M) - 1) <= 0.02
    assert built


def test_without_tokens_everything_about_them_goes() -> None:
    twin = only(make_twins(MF_151M, "tokens.count=0"))
    assert twin.new == "0, pooled"  # a token cannot feed DyReLU where there is none, and the label says so
    assert twin.config is not None
    assert twin.config.dyrelu.source == "pooled"
    assert not any(row.former or row.bridge != "none" for row in twin.config.blocks)


def test_a_twin_that_cannot_be_is_listed_with_its_reason() -> None:
    assert only(make_twins(MF_151M, "former.ffn=2")).reason == "the network already has this value"
    relu = small(dyrelu=DyReLUConfig("none"))
    reason = only(make_twins(relu, "dyrelu.slopes")).reason
    assert reason == "the same network: dyrelu.slopes has no effect in it"
    one_way = small(blocks=(BlockConfig(48, 16, 2, bridge="to_mobile"), BlockConfig(96, 24, 2)))
    reason = only(make_twins(one_way, "dyrelu.source=spatial")).reason
    assert reason is not None
    assert reason.startswith("cannot be built: blocks[0].bridge must be both or to_former for dyrelu.source spatial")
    reason = only(make_twins(small(), "bridges.blocks=none")).reason  # steps of 4 are coarse in so small a network
    assert reason is not None
    assert reason.startswith("no width has the same multiply-adds within 2%: nearest is +5.6%")
    shallow = small(blocks=(BlockConfig(48, 16, 2),))
    assert only(make_twins(shallow, "bridges.s5")).reason == "bridges.s5 changes nothing in this network"


def test_stages_follow_the_strides() -> None:
    assert row_stages(MF_151M) == ["s2", "s2", "s3", "s3", *["s4"] * 4, *["s5"] * 3]
    assert row_stages(PRESETS["mf-52m"]) == ["s2", "s3", "s3", *["s4"] * 3, "s5", "s5"]  # its lite bottleneck halves


def test_knobs_are_named_alone_by_section_or_with_values() -> None:
    assert parse_knobs("tokens.count=1+3, dyrelu.intercepts=true") == [
        ("tokens.count", (1, 3)),
        ("dyrelu.intercepts", (True,)),
    ]
    assert [name for name, _ in parse_knobs("tokens,tokens.dim")] == ["tokens.count", "tokens.dim"]
    assert len(parse_knobs("bridges")) == 9
    assert len(parse_knobs(MAIN_KNOBS)) == 6
    with pytest.raises(ValueError, match="unknown knob 'token.count': did you mean tokens.count"):
        parse_knobs("token.count")
    with pytest.raises(ValueError, match="--knobs tokens.count must be one or more of 0, 1, 2, .*, got '5'"):
        parse_knobs("tokens.count=5")


def test_numbers_try_their_neighbours_and_words_all_others() -> None:
    assert [twin.new for twin in make_twins(MF_151M, "tokens.count")] == ["3", "12"]
    assert [twin.new for twin in make_twins(PRESETS["mf-96m"], "tokens.count")] == ["3", "6"]
    assert [twin.new for twin in make_twins(MF_151M, "bridges.blocks")] == [
        "to_former",
        "to_mobile, static",
        "none, static",
    ]


def test_trainings_come_seed_by_seed_and_one_network_is_trained_once() -> None:
    parent = small()
    twins = make_twins(parent, "tokens.count=1,former.heads=2")
    twins += make_twins(parent, "tokens.count=1")  # the same network again
    tasks = twin_tasks(parent, twins, [4, 5])
    first, second = twins[0].config, twins[1].config
    assert first is not None
    assert second is not None
    networks = [parent, first, second]
    assert [task.key for task in tasks] == [task_key(config, seed) for seed in (4, 5) for config in networks]
    records: dict[str, TaskRecord] = {
        tasks[0].key: dataclasses.replace(tasks[0].record, top1=0.5),
        tasks[3].key: dataclasses.replace(tasks[3].record, outcome="failed", reason="x"),
    }
    assert top1_by_seed(parent, [4, 5], records) == {4: 0.5}


def test_damaged_images_stop_the_command_unless_they_are_skipped(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Path(shutil.copytree(image_folder, tmp_path / "data"))
    (data / "train" / "dark" / "3.png").write_bytes(b"broken")
    small().save(tmp_path / "net.yaml")
    command = ["twins", str(tmp_path / "net.yaml"), "--data", str(data), "--results", str(tmp_path), "--seeds", "2"]
    command += ["--knobs", "tokens.count=1", "--epochs", "0.3", "--proxy-resolution", "32"]
    assert main(command) == 2
    assert "1 damaged, which --skip-damaged leaves out" in capsys.readouterr().err
    assert main([*command, "--skip-damaged"]) == 0
    assert "skipped: 1 damaged file\n" in capsys.readouterr().out


def test_the_command_trains_compares_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = tmp_path / "net.yaml"
    small().save(network)
    command = ["twins", str(network), "--data", "digits", "--epochs", "0.5", "--samples", "64", "--json"]
    command += ["--results", str(tmp_path), "--knobs", "tokens.count=1,dyrelu.source=mean_token"]
    assert main([*command, "--seeds", "2"]) == 0
    first = json.loads(capsys.readouterr().out)
    file = tmp_path / "twins" / "net-digits" / "trainings.jsonl"
    before = file.read_text().splitlines()
    assert len(before) == 1 + 2 * 3
    assert [row["name"] for row in first["twins"]] == ["tokens.count=1", "dyrelu.source=mean_token"]
    for row in first["twins"]:
        pairs = [row["top1"][seed] - first["parent"]["top1"][seed] for seed in ("0", "1")]
        assert row["effect"]["pairs"] == 2
        assert row["effect"]["mean"] == pytest.approx(sum(pairs) / 2)
        assert row["effect"]["low"] < row["effect"]["mean"] < row["effect"]["high"]

    assert main([*command, "--seeds", "2"]) == 0
    assert json.loads(capsys.readouterr().out) == first
    command.remove("--json")
    assert main([*command, "--seeds", "2"]) == 0  # nothing is trained: the table again
    shown = capsys.readouterr().out
    assert "dyrelu.source first_token -> mean_token" in shown
    assert max(map(len, shown.partition("knob, from -> to")[2].splitlines()[:4])) <= 100
    assert file.read_text().splitlines() == before

    assert main([*command, "--seeds", "2", "--epochs", "1"]) == 2
    assert "recipe.epochs: the file has 0.5, this run says 1.0" in capsys.readouterr().err
    assert main([*command, "--seeds", "1"]) == 2
    assert "--seeds must be 2 to 100" in capsys.readouterr().err
    assert main([*command, "--knobs", "former.ffn=2"]) == 2
    assert "former.ffn=2: the network already has this value" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["mf-151m-cifar10", "mf-151m-time"])
def test_the_committed_twins_are_written_back_as_they_were_read(name: str) -> None:
    folder = Path(__file__).parents[2] / "results" / "twins" / name
    for file, kind in (("twins.json", TwinReport), ("latencies.json", TwinLatencies)):
        if (folder / file).exists():
            data = json.loads((folder / file).read_text(encoding="utf-8"))
            assert json.dumps(kind.from_dict(data).to_dict()) == json.dumps(data)
