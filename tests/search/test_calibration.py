"""Calibration: which networks and trainings, kept and gone on with, found again, and said in one sentence."""

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from mfsearch.cli import main
from mfsearch.config import MobileFormerConfig
from mfsearch.cost.madds import count_madds
from mfsearch.proxy.curve import EpochLog
from mfsearch.proxy.recipe import Recipe
from mfsearch.search.calibration import (
    calibration_folder,
    calibration_trainer,
    draw_networks,
    list_tasks,
    run_calibration,
)
from mfsearch.search.trainings import Proxy, Task, Trainer
from mfsearch.space import find_space, load_space
from mfsearch.study.calibration_file import CALIBRATION, CALIBRATIONS, CalibrationFile, find_calibration, trust_line
from mfsearch.study.settings import Calibration
from mfsearch.study.task_file import TRAININGS, TaskRecord, read_trainings
from mfsearch.units import parse_budget
from tests.conftest import TINY_SPACE

SPACE = load_space(TINY_SPACE).deployed(32, 2)
RECIPE = Recipe(resolution=16, epochs=0.5, batch=8, crop=2)


def settings(**changed: Any) -> Calibration:
    options = {"budget": parse_budget("0.5M"), "space": SPACE, "data": "digits", "recipe": RECIPE, "networks": 6}
    return Calibration(**{**options, **changed})


def fake(_proxy: Proxy) -> Trainer:
    """No training: top1 follows the multiply-adds and the seed."""

    def train(task: Task) -> TaskRecord:
        assert task.points is not None
        assert isinstance(task.config, MobileFormerConfig)
        top1 = count_madds(task.config) / 1e6 + 0.001 * task.seed
        curve = tuple(
            EpochLog(epoch=p, loss=2 - top1, top1=top1, val_loss=2 - top1, seconds=4 * p) for p in task.points
        )
        return dataclasses.replace(
            task.record, top1=top1, curve=curve, train_seconds=curve[-1].seconds, core_seconds=1.0
        )

    return train


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"networks": 5}, "--networks must be 6 to 1000, got 5"),
        ({"long": 1.0}, "--long must be above 1 and up to 1000, a multiple of the short training, got 1.0"),
        ({"seeds": 1}, "--seeds must be 2 to 100: one seed has no spread, got 1"),
        ({"seed": -1}, "--seed must be 0 to 2147483647, got -1"),
    ],
)
def test_settings_that_cannot_work(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        settings(**changed)


@pytest.mark.parametrize("name", ["mobile_former", "mobile_former_small", "paper"])
def test_networks_lie_inside_the_band_and_across_budgets(name: str) -> None:
    groups = draw_networks(find_space(name), parse_budget("150M"), 16, seed=0)
    for group, low, high in (("band", 135e6, 150e6), ("across", 0.9 * 25e6, 150e6)):
        networks = groups[group]
        assert len({network.arch_id for network in networks}) == 16
        assert all(low <= network.madds == count_madds(network.config) <= high for network in networks)
    costs = sorted(network.madds for network in groups["across"])
    assert costs[0] < 50e6 < 90e6 < costs[-1]
    costs = sorted(network.madds for network in groups["band"])
    assert costs[-1] - costs[0] > 5e6  # not all at the upper end


def test_draws_depend_on_the_seed_alone_and_more_of_them_go_on() -> None:
    budget = parse_budget("0.5M")
    few, same, more, other = (draw_networks(SPACE, budget, n, seed) for n, seed in ((6, 0), (6, 0), (9, 0), (6, 1)))
    assert few == same != other
    assert {group: networks[:6] for group, networks in more.items()} == few


def test_a_stated_budget_binds_both_groups() -> None:
    groups = draw_networks(SPACE, parse_budget("0.48M..0.5M"), 6, seed=0)
    assert all(480_000 <= network.madds <= 500_000 for network in groups["band"])
    wide = draw_networks(find_space("mobile_former"), parse_budget("20M..150M"), 16, seed=0)
    assert min(network.madds for network in wide["across"]) < 30e6


def test_a_space_with_too_few_networks_says_how_many_it_has() -> None:
    fixed = dataclasses.replace(SPACE, solved=False)
    words = (
        r"space tiny must hold \d+ networks \(--networks\) of 500\.0K to 500\.0K multiply-adds; 3000 draws gave [0-5]"
    )
    with pytest.raises(ValueError, match=words):
        draw_networks(fixed, parse_budget("0.49999M..0.5M"), 6, seed=0)


def test_short_and_long_never_share_a_seed_and_the_noise_has_seeds_of_its_own() -> None:
    chosen = settings(seed=4, seeds=3)
    networks = draw_networks(SPACE, chosen.budget, 6, seed=4)
    tasks = list_tasks(networks, chosen)
    assert len({task.key for task in tasks}) == len(tasks)
    ids = {network.arch_id for group in networks.values() for network in group}
    short = [task for task in tasks if task.key.startswith("short")]
    long = [task for task in tasks if task.key.startswith("long")]
    assert [task.key.startswith("short") for task in tasks] == [True] * len(short) + [False] * len(long)
    assert {(task.config.arch_id, task.seed) for task in short} == {(arch_id, 4) for arch_id in ids}
    first = networks["band"][0].arch_id
    noise = {(first, 6), (first, 7)}
    assert {(task.config.arch_id, task.seed) for task in long} == {(arch_id, 5) for arch_id in ids} | noise
    assert {task.points for task in short} == {(0.125, 0.25, 0.5)}
    assert {task.points for task in long} == {(0.125, 0.25, 0.5, 1.5, 5.0)}


def test_a_calibration_goes_on_grows_and_holds_to_its_settings(tmp_path: Path) -> None:
    done: list[str] = []

    def run(**changed: Any) -> dict[str, TaskRecord]:
        done.clear()
        trained = run_calibration(
            settings(**changed), tmp_path, workers=1, make_trainer=fake, on_done=lambda task, _: done.append(task.key)
        )
        assert list(trained.networks) == ["band", "across"]
        return trained.records

    first = run(seeds=2)
    assert sorted(done) == sorted(first)
    path = tmp_path / TRAININGS
    with path.open("rb+") as file:  # a kill in the middle of the last line
        file.truncate(path.stat().st_size - 20)
    second = run(seeds=2)
    assert len(done) == 1
    assert {key: record.top1 for key, record in first.items()} == {key: record.top1 for key, record in second.items()}
    run(seeds=3, networks=7)
    assert 1 <= len(done) <= 1 + 2 * 2  # a seed, and a network in each group short and long
    with pytest.raises(ValueError, match=r"recipe\.epochs: the file has 0\.5, this run says 0\.25"):
        run(recipe=Recipe(resolution=16, epochs=0.25, batch=8, crop=2))
    with pytest.raises(ValueError, match=r"budget\.high: the file has 500000, this run says 600000"):
        run(budget=parse_budget("0.6M"))


def test_the_trainer_records_scores_with_short_trainings_alone(image_folder: Path, tmp_path: Path) -> None:
    network = draw_networks(SPACE, parse_budget("0.5M"), 6, seed=0)["band"][0]
    train = calibration_trainer(Proxy(str(image_folder), None, 0, RECIPE, "cpu", tmp_path))
    short = train(Task("short-a-0", network.config, 0, (0.25, 0.5)))
    assert set(short.zero_cost) == {"synflow", "naswot", "zen"}
    assert all(each.score is not None and (each.core_seconds or 0) > 0 for each in short.zero_cost.values())
    assert len(short.curve) == 2
    assert short.train_seconds is not None
    assert 0 < (short.core_seconds or 0) <= short.train_seconds
    long = train(Task("long-a-1", network.config, 1, (0.25, 0.5, 1.0)))
    assert "zero_cost" not in long.to_dict()
    assert len(long.curve) == 3


def test_folders_are_named_by_space_data_and_budget() -> None:
    assert calibration_folder(Path("r"), settings()) == Path("r/calibrations/tiny-digits-500.0K")
    stated = settings(budget=parse_budget("120M..150M"), data="my photos/flowers")
    assert calibration_folder(Path("r"), stated) == Path("r/calibrations/tiny-flowers-120.0M-150.0M")
    assert calibration_folder(Path("r"), settings(), "mine") == Path("r/calibrations/mine")
    with pytest.raises(ValueError, match="a study's name must be up to 100 letters"):
        calibration_folder(Path("r"), settings(), "../up")


def committed() -> dict[str, Any]:
    """The committed calibration.json."""
    path = Path(__file__).parents[2] / "results" / CALIBRATIONS / "mobile_former-cifar10-50.0M" / CALIBRATION
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def kept(folder: Path, **changed: Any) -> CalibrationFile:
    """The committed calibration with other settings, in a folder."""
    data = committed()
    data["identity"] |= {"space": {"name": "tiny", "digest": "s"}, "recipe": RECIPE.as_dict()}
    data["identity"]["data"]["digest"] = "d"
    data["identity"]["budget"] = {"low": 85, "high": changed.pop("high", 100), "stated": False}
    data |= {"date": "2026-11-22T10:00:00+00:00", **changed}
    data["epochs"] = {"short": [RECIPE.epochs / 2, RECIPE.epochs], "long": 4 * RECIPE.epochs}
    folder.mkdir(parents=True)
    (folder / CALIBRATION).write_text(json.dumps(data))
    return CalibrationFile.from_dict(data)


def test_the_committed_calibration_is_written_back_as_it_was_read() -> None:
    data = committed()
    again = CalibrationFile.from_dict(data).to_dict()
    assert json.dumps(again) == json.dumps(data)


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        (("groups", "band", "proxies", 0, "tau"), "high", "figures of top1 must be numbers or null, got 'high'"),
        (("groups", "band", "proxies", 0, "speed"), 1, "unexpected keyword argument 'speed'"),
        (("groups", "across", "networks", 3, "short", 0), {}, "a point of a curve must have numbers for epoch"),
        (("identity", "recipe", "batch"), 0, "recipe.batch must be 2 or more, got 0"),
        (("groups",), {"band": {}}, "it has no 'madds'"),
        (("epochs",), None, "a value in it is of the wrong kind"),
    ],
)
def test_a_calibration_that_holds_something_else_is_an_error_that_names_it(
    tmp_path: Path, place: tuple[str | int, ...], value: object, reason: str
) -> None:
    data: Any = committed()
    inner = data
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    path = tmp_path / CALIBRATION
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=re.escape(f"cannot read {path}: ") + ".*" + re.escape(reason)):
        CalibrationFile.read(path)


def test_a_calibration_is_found_by_space_data_and_recipe(tmp_path: Path) -> None:
    assert find_calibration(tmp_path, "s", "d", RECIPE) is None
    place = tmp_path / CALIBRATIONS
    old = kept(place / "a", high=150_000_000)
    new = kept(place / "b", high=50_000_000, date="2026-11-23T10:00:00+00:00")
    kept(place / "c", schema=99)
    assert find_calibration(tmp_path, "s", "d", RECIPE) == new
    assert find_calibration(tmp_path, "s", "d", RECIPE, parse_budget("120M")) == old
    assert find_calibration(tmp_path, "other", "d", RECIPE) is None
    assert find_calibration(tmp_path, "s", "other", RECIPE) is None
    half = dataclasses.replace(RECIPE, epochs=RECIPE.epochs / 2)
    assert find_calibration(tmp_path, "s", "d", half, parse_budget("120M")) == old
    assert find_calibration(tmp_path, "s", "d", dataclasses.replace(RECIPE, epochs=RECIPE.epochs / 3)) is None
    assert find_calibration(tmp_path, "s", "d", dataclasses.replace(RECIPE, lr=0.5)) is None
    (place / "a" / CALIBRATION).write_text("{")
    with pytest.raises(ValueError, match=r"a/calibration\.json.*writes it again"):
        find_calibration(tmp_path, "s", "d", RECIPE)


def test_the_trust_line_says_tau_interval_networks_date_and_madds() -> None:
    assert trust_line(None, epochs=0.5, reading="top1").startswith("ranking   not calibrated: `mfsearch calibrate`")
    data = committed()
    top1 = data["groups"]["band"]["proxies"][0]
    assert top1["name"] == "top1"
    row = {**top1, "epochs": 0.5, "tau": 0.524, "low": 0.31, "high": 0.68, "n": 16}
    half = {**row, "epochs": 0.25, "tau": 0.9}
    madds = {**row, "name": "madds", "epochs": None, "tau": 0.05, "low": -0.3, "high": 0.4, "n": 16}
    data["date"] = "2026-11-22T10:00:00+00:00"
    data["groups"]["band"]["proxies"] = [half, row, madds]
    data["groups"]["across"]["proxies"] = [{**row, "tau": None, "low": None, "high": None}, {**madds, "tau": None}]
    calibration = CalibrationFile.from_dict(data)
    assert trust_line(calibration, epochs=0.5, reading="top1") == (
        "ranking   by top1, tau 0.52 [0.31, 0.68] inside the band over 16 networks (not shown to be better than MAdds "
        "0.05), no tau across budgets: all networks are equal; calibrated 2026-11-22"
    )


@pytest.mark.slow
def test_the_command_trains_writes_and_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On real, tiny trainings in a worker process; the second call trains nothing and gives the same figures."""
    argv = [
        *("calibrate", "--budget", "0.5M", "--space", str(TINY_SPACE), "--data", "digits", "--samples", "96"),
        *("--resolution", "32", "--classes", "2", "--results", str(tmp_path), "--name", "c", "--lr", "0.01"),
        *("--proxy-resolution", "16", "--epochs", "0.5", "--batch", "8", "--networks", "6", "--long", "2"),
    ]
    assert main(argv) == 0
    said = capsys.readouterr().out
    assert "12 short trainings and 14 long ones, 20 epochs to go" in said
    assert "inside the band: 6 networks, 4" in said
    # before the trainings and for each group after them
    assert said.count("With 6 networks, the chance to show a rise of tau from 0.55 to 0.70 is ") == 3
    assert max(len(line) for line in said.splitlines() if "kept in" not in line) <= 100
    path = tmp_path / CALIBRATIONS / "c" / CALIBRATION
    figures = json.loads(path.read_text())
    assert len(read_trainings(path.parent / TRAININGS)[1]) == 26
    across = {row["name"]: row for row in figures["groups"]["across"]["proxies"] if row["epochs"] in (0.5, None)}
    assert set(across) == {
        "top1",
        "val_loss",
        "loss",
        "mean_loss",
        "mean_rank",
        "madds",
        "params",
        "synflow",
        "naswot",
        "zen",
    }
    for row in across.values():
        assert -1 <= row["low"] <= row["tau"] <= row["high"] <= 1
        assert row["n"] == 6
        assert row["ceiling"] is None or 0 <= row["ceiling"] <= 1
    assert figures["long_noise"] > 0
    assert main([*argv, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["groups"] == figures["groups"]
    recipe = Recipe(**figures["identity"]["recipe"])
    space, data = (figures["identity"][name]["digest"] for name in ("space", "data"))
    found = find_calibration(tmp_path, space, data, recipe, parse_budget("0.5M"))
    assert trust_line(found, epochs=0.5, reading="val_loss").startswith("ranking   by val_loss")
    assert main([*argv, "--seed", "1"]) == 2
    assert "seed: the file has 0, this run says 1" in capsys.readouterr().err
    assert main([*argv, "--target", "1.5"]) == 2
    assert "--target must be a tau from -1 to 1, got 1.5" in capsys.readouterr().err


def interrupted(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_damaged_images_stop_the_command_unless_they_are_skipped(
    image_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Path(shutil.copytree(image_folder, tmp_path / "data"))
    (data / "train" / "dark" / "3.png").write_bytes(b"broken")
    command = ["calibrate", "--budget", "0.5M", "--space", str(TINY_SPACE), "--data", str(data), "--device", "cpu"]
    command += ["--results", str(tmp_path), "--proxy-resolution", "16", "--networks", "6", "--resolution", "32"]
    assert main(command) == 2
    assert "1 damaged, which --skip-damaged leaves out" in capsys.readouterr().err
    monkeypatch.setattr("mfsearch.search.calibration.run_tasks", interrupted)  # once the images are read
    assert main([*command, "--skip-damaged"]) == 130
    assert "skipped: 1 damaged file\n" in capsys.readouterr().out
