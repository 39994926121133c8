"""The tables that come with mfsearch are whole and honest; a damaged one is a short error."""

import dataclasses
import hashlib
import json
import shutil
import sys
from pathlib import Path

import pytest

import mfsearch as mf
from benchmarks import train_table
from benchmarks.mutations import FILES, JSON_TEXTS
from benchmarks.train_table import draw, frozen_split, living_network
from mfsearch.cost.madds import PARTS, count_costs
from mfsearch.living import living
from mfsearch.space import find_space
from mfsearch.study.table_file import NETWORKS, TABLE, known_tables, load_table, tables_folder
from mfsearch.units import parse_budget


@pytest.mark.parametrize("name", known_tables())
def test_a_table_holds_living_networks_with_exact_costs_and_a_split_of_all(name: str) -> None:
    table = mf.load_table(name)
    assert table.name == name
    assert table.space.digest == find_space(table.space.name).digest
    for row in table.rows:
        assert living(row.config) is row.config
        costs = count_costs(row.config)
        assert (row.madds, row.macs, row.num_params) == (costs.madds, costs.macs, costs.num_params)
        assert row.activation_bytes == costs.activation_bytes
        assert row.parts == costs.by_part()
        assert sum(row.parts[part]["madds"] for part in PARTS) == row.madds
        assert (row.config.resolution, row.config.classes) == (table.resolution, table.classes)
        assert 0 < row.score < 1
    assert not {*table.split.train} & {*table.split.test}
    assert len(table.split.train) + len(table.split.test) == len(table.rows)
    assert len(table.noise) > 50


def test_the_30m_table_is_the_one_that_was_trained() -> None:
    """Each training of November 2026 stands at the living network that computes the same."""
    table, space = load_table("cifar10-30M"), find_space("mobile_former")
    kept = Path(__file__).parents[2] / "results/reference/cifar10-30M-table/table.jsonl"
    rows = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == len(table.rows) == 150
    dead = 0
    for row in rows:
        ours = table.query(living_network(space, row["params"], row["width"]))
        assert [log.to_dict() for log in ours.trainings[0].curve] == row["curve"]
        assert ours.madds <= row["madds"]
        dead += ours.arch_id != row["arch_id"]
    assert dead == 56


def test_the_50m_table_has_judges_with_another_seed() -> None:
    table = load_table("cifar10-50M")
    band = [row for row in table.rows if row.madds > 45e6]
    assert len(band) >= 16
    for row in table.rows:
        assert {one.seed for one in row.judged}.isdisjoint(one.seed for one in row.trainings)
        assert row.judged_score is not None
        assert row.judged_score > row.score


def test_a_network_is_found_by_its_config_at_any_size_with_dead_parts_too() -> None:
    table = load_table("cifar10-30M")
    for row in table.rows[:5]:
        other = dataclasses.replace(row.config, resolution=48, classes=10)
        assert table.query(other) is table.query(row.arch_id) is row


def test_a_network_that_is_not_there_is_named_with_the_nearest() -> None:
    table = load_table("cifar10-30M")
    config = table.rows[7].config
    head = dataclasses.replace(config.head, hidden=config.head.hidden + 8)
    changed = dataclasses.replace(config, head=head)
    with pytest.raises(
        ValueError, match=f"no network '{changed.arch_id}' among its 150; the nearest is {config.arch_id}$"
    ):
        table.query(changed)
    with pytest.raises(ValueError, match="no network 'zzz' among its 150$"):
        table.query("zzz")


def test_an_unknown_table_lists_those_that_are_there(tmp_path: Path) -> None:
    for name in ("cifar10-31M", tmp_path):
        with pytest.raises(ValueError, match="known are cifar10-30M, cifar10-50M, or give a folder with table.json"):
            load_table(name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(tables_folder() / "cifar10-50M", tmp_path / "mine"))


def damaged(folder: Path, words: str) -> str:
    with pytest.raises(ValueError, match=words) as error:
        load_table(folder)
    assert len(str(error.value)) < 900 + len(str(folder))
    return str(error.value)


def test_a_changed_value_does_not_fit_the_checksum(folder: Path) -> None:
    path = folder / NETWORKS
    path.write_bytes(path.read_bytes().replace(b'"seed": 0', b'"seed": 1', 1))
    assert NETWORKS in damaged(folder, "its SHA-256 must be")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("schema", 2, "table.json: schema must be 1, got 2"),
        ("sha256", 3, "table.json: sha256 must be text, got 3"),
        ("noise", None, "table.json: noise must be text, got None"),
        ("recipe", {"resolution": 8, "epochs": 1}, "table.json: recipe.resolution must be 16 to 512 pixels, got 8"),
        ("budget", [1], "table.json: budget must be a mapping"),
        ("split", {"train": [], "test": ["a"]}, "table.json: split must name each network of networks.jsonl once"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(folder: Path, key: str, value: object, words: str) -> None:
    facts = json.loads((folder / TABLE).read_text())
    (folder / TABLE).write_text(json.dumps(facts | {key: value}))
    damaged(folder, words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda row: row | {"arch_id": "0" * 12},
            "networks.jsonl:2: arch_id must be that of the config, [0-9a-f]{12}, got",
        ),
        (lambda row: row | {"madds": "many"}, "networks.jsonl:2: madds must be a whole number, got 'many'"),
        (lambda row: row | {"trainings": []}, "networks.jsonl:2: trainings must not be empty"),
        (lambda row: row | {"config": row["config"] | {"stem": 0}}, "networks.jsonl:2: config.stem must be"),
        (lambda row: row["trainings"][0]["curve"][0].update(val_loss=float("nan")) or row, "networks.jsonl:2: a curve"),
        (
            lambda row: row["trainings"][0]["curve"][0].update(top1=None) or row,
            r"trainings\[0\].curve\[0\].top1 must be",
        ),
        (lambda row: [row], "networks.jsonl:2:  must be a mapping"),
    ],
)
def test_a_wrong_row_is_named_with_its_line(folder: Path, change: object, words: str) -> None:
    lines = (folder / NETWORKS).read_text().splitlines()
    lines[1] = json.dumps(change(json.loads(lines[1])))  # type: ignore[operator]
    (folder / NETWORKS).write_text("\n".join(lines) + "\n")
    facts = json.loads((folder / TABLE).read_text())
    facts["sha256"] = hashlib.sha256((folder / NETWORKS).read_bytes()).hexdigest()
    (folder / TABLE).write_text(json.dumps(facts))
    damaged(folder, words)


@pytest.mark.parametrize("what", JSON_TEXTS)
def test_hostile_facts_are_a_short_error(folder: Path, what: str) -> None:
    (folder / TABLE).write_text(JSON_TEXTS[what]())
    damaged(folder, TABLE)


@pytest.mark.parametrize("what", FILES)
def test_only_a_regular_file_holds_networks(folder: Path, what: str) -> None:
    (folder / NETWORKS).unlink()
    FILES[what](folder / NETWORKS)
    damaged(folder, "cannot read|its SHA-256 must be")


# --- the script that makes them


def test_draws_spread_over_the_budget_and_a_larger_count_begins_with_a_smaller_one() -> None:
    space, budget = find_space("mobile_former_small"), parse_budget("20M..300M")
    some, more = draw(space, budget, 5, seed=0), draw(space, budget, 15, seed=0)
    assert [*some] == [*more][:5]
    madds = sorted(count_costs(one.config).madds for one in more.values())
    assert budget.low <= madds[0] < 60e6
    assert 120e6 < madds[-1] <= budget.high


def test_the_split_depends_on_networks_and_seed_alone() -> None:
    rows = list(load_table("cifar10-50M").rows)
    split = frozen_split(rows, 0)
    assert split == load_table("cifar10-50M").split == frozen_split(rows[::-1], 0) != frozen_split(rows, 1)
    assert len(split.test) == 11


@pytest.mark.slow
def test_one_command_trains_judges_and_writes_a_table_and_writes_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "--data digits --space mobile_former_small --budget 10M..20M --networks 2 --points 0.1,0.2"
    words += f" --judge 1 --judge-points 0.2,0.4 --to {tmp_path / 'mine'}"
    monkeypatch.setattr(sys, "argv", ["train_table.py", *words.split()])
    assert train_table.main() == 0
    table = load_table(tmp_path / "mine")
    assert [len(row.trainings[0].curve) for row in table.rows] == [2, 2]
    assert [sorted(one.seed for one in row.judged) for row in table.rows] == [[1, 2], []]
    assert all({"naswot", "zen"} <= set(row.zero_cost) for row in table.rows)
    assert table.recipe.epochs == 0.2
    first = (tmp_path / "mine" / NETWORKS).read_bytes()
    assert train_table.main() == 0  # nothing is trained again
    assert (tmp_path / "mine" / NETWORKS).read_bytes() == first
