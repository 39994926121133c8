"""What a study asked for, as the options that ask for it again."""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from mfsearch import cli
from mfsearch.proxy.recipe import default_recipe
from mfsearch.proxy.rungs import Rungs
from mfsearch.study.manifest import Manifest, check_same_study, option_words
from mfsearch.study.settings import parse_objectives
from mfsearch.units import Budget, parse_budget, parse_limits
from tests.analysis.rows import VALUES, manifest

REFERENCE = Path(__file__).parents[2] / "results" / "reference"
COMMITTED = sorted(path.parent.name for path in REFERENCE.glob("*/manifest.json"))

# What a study does not hold, or what the caller gives: how long, how much, where to, and how the output looks.
NOT_OF_THE_STUDY = {
    *("help", "budget", "latency", "study", "from"),
    *("trials", "time", "download", "storage", "latency-timeout", "results", "dry-run", "json"),
}
# By the option's name: the value in the manifest's typed fields is a different one from the default.
ASKED = {
    "parent": "found",
    "data": "my photos",
    "data-dir": "/data/photos",
    "skip-damaged": "",
    "space": "spaces/mine.yaml",
    "params": "5M",
    "memory": "3MB",
    "size": "8.5MB",
    "objectives": "top1,params,size",
    "latency-cmd": "adb shell run {onnx}",
    "workers": "2",
    "proxy-resolution": "96",
    "epochs": "0.123456789",
    "samples": "1000",
    "batch": "16",
    "optimizer": "sgd",
    "lr": "0.00123456",
    "rungs": "1,2.5,10",
    "finalists": "0",
    "rank-by": "top1",
    "final-seeds": "4",
    "sampler": "evolution",
    "prior": "none",
    "seed": "7",
    "device": "cuda",
    "resolution": "160",
    "classes": "12",
}


def plain(**values: object) -> Manifest:
    """A study of digits that was asked for nothing but a budget."""
    usual: dict[str, object] = {
        "space": {"name": "mobile_former", "digest": "0", "knobs": {}},
        "recipe": dataclasses.asdict(default_recipe("digits")),
        "rungs": Rungs().to_dict(),
        "deployment": {"resolution": 224, "classes": 10},
    }
    return manifest(**{**usual, **values})


def parsed(command: str, options: dict[str, str]) -> argparse.Namespace:
    """The options as the command line reads them, with a budget."""
    return cli._parser().parse_args([command, "--budget", "150M", *option_words(options)])


def option_names(command: str) -> set[str]:
    (commands,) = [action for action in cli._parser()._actions if isinstance(action, argparse._SubParsersAction)]
    actions = commands.choices[command]._actions
    return {text.removeprefix("--") for action in actions for text in action.option_strings if text.startswith("--")}


def test_every_option_of_a_run_comes_back() -> None:
    """Also an option that is added to the command line later has to."""
    recipe = dataclasses.replace(default_recipe("x"), resolution=96, epochs=0.123456789, samples=1000, batch=16)
    asked = plain(
        request={
            "data": "my photos",
            "data_dir": "/data/photos",
            "space": "spaces/mine.yaml",
            "trials": 9,
            "workers": 2,
            "skip_damaged": True,
            "parent": "found",
        },
        parent={"name": "found", "arch_id": "0", "digest": "1"},
        limits={"num_params": 5_000_000, "activation_bytes": 3_000_000, "onnx_bytes": 8_500_000},
        objectives=["top1", "num_params", "onnx_bytes"],
        latency_cmd="adb shell run {onnx}",
        recipe=dataclasses.asdict(dataclasses.replace(recipe, optimizer="sgd", lr=0.00123456)),
        rungs=Rungs((1, 2.5, 10), finalists=0, seeds=4, rank_by="top1").to_dict(),
        sampler="evolution",
        prior="none",
        seed=7,
        device="cuda",
        deployment={"resolution": 160, "classes": 12},
    )
    assert asked.options() == ASKED
    assert set(ASKED) == option_names("run") - NOT_OF_THE_STUDY
    args = parsed("run", asked.options())
    assert (args.epochs, args.lr, args.final_seeds, args.data_dir) == (0.123456789, 0.00123456, 4, Path("/data/photos"))
    assert args.skip_damaged


@pytest.mark.parametrize("name", sorted(ASKED))
def test_options_say_what_the_run_was_told_and_nothing_else(name: str) -> None:
    """Each setting alone: the option is there with its value, and beside it only the data."""
    usual, recipe = default_recipe("digits"), {"proxy-resolution": "resolution"}
    fields = {field.name: type(getattr(Rungs(), field.name)) for field in dataclasses.fields(Rungs)}
    rungs = {"finalists": "finalists", "rank-by": "rank_by", "final-seeds": "seeds"}
    text = ASKED[name]
    values: dict[str, Any]
    if name in ("data", "data-dir", "skip-damaged", "space", "parent", "workers"):
        told = {"workers": 2, "skip-damaged": True}.get(name, text)
        request: dict[str, Any] = {"data": "digits", name.replace("-", "_"): told}
        values = {"request": request, "recipe": dataclasses.asdict(default_recipe(request["data"]))}
    elif name == "rungs":
        values = {"rungs": {"factors": [1.0, 2.5, 10.0]}}
    elif name in rungs:
        values = {"rungs": {rungs[name]: fields[rungs[name]](text)}}
    elif name in ("resolution", "classes"):
        values = {"deployment": {"resolution": 224, "classes": 10, name: int(text)}}
    elif name in ("params", "memory", "size"):
        values = {"limits": parse_limits(**{name: text}).given}
    elif name == "objectives":
        values = {"objectives": parse_objectives(text)}
    elif name in ("sampler", "prior", "seed", "device", "latency-cmd"):
        values = {name.replace("-", "_"): int(text) if name == "seed" else text}
    else:
        field = recipe.get(name, name)
        kind = str if name == "optimizer" else float if name in ("epochs", "lr") else int
        values = {"recipe": {**dataclasses.asdict(usual), field: kind(text)}}
    assert plain(**values).options() == {"data": "digits", name: text}


def test_a_study_of_a_sampler_that_is_no_longer_offered_still_reads() -> None:
    kept = plain(sampler="nsga2")
    assert kept.sampler == "nsga2"
    assert kept.options()["sampler"] == "nsga2"


def test_defaults_are_left_out() -> None:
    assert plain().options() == {"data": "digits"}
    for data in ("digits", "cifar10", "cifar100", "photos/flowers"):
        asked = plain(request={"data": data}, recipe=dataclasses.asdict(default_recipe(data)))
        assert asked.options() == {"data": data}


def test_a_study_from_before_the_request_was_kept_is_asked_for_by_its_facts() -> None:
    assert manifest(rungs=None).request is None
    assert plain(space={"name": "paper", "digest": "0", "knobs": {}}).options() == {"data": "digits", "space": "paper"}
    assert plain(rungs=None).options() == {"data": "digits", "rungs": "1"}


@pytest.mark.parametrize("text", ["150M", "152.1M", "120M..150M", "127.5M..150M", "1.2G", "800K", "123456789"])
def test_the_budget_that_was_asked_for_reads_back(text: str) -> None:
    budget = parse_budget(text)
    told = plain(budget=dataclasses.asdict(budget)).asked_budget()
    assert parse_budget(told) == budget
    assert (".." in told) == (".." in text)


def test_the_budget_is_in_millions() -> None:
    assert plain(budget=dataclasses.asdict(Budget(127_500_000, 150_000_000, stated=False))).asked_budget() == "150M"
    stated = Budget(120_000_000, 150_500_000, stated=True)
    assert plain(budget=dataclasses.asdict(stated)).asked_budget() == "120M..150.5M"


@pytest.mark.parametrize("name", COMMITTED)
def test_the_options_of_a_committed_study_are_those_of_its_command(name: str) -> None:
    """The command line that began it, word for word, but for what differs from today's defaults."""
    kept = Manifest.read(REFERENCE / name)
    assert kept.command is not None
    words = dict(zip(kept.command.split()[2::2], kept.command.split()[3::2], strict=True))
    asked = {option.removeprefix("--"): value for option, value in words.items()}
    assert kept.asked_budget() == asked["budget"]
    assert f"{kept.latency_limit_ms:g}ms" == asked["latency"]
    own = {option: value for option, value in asked.items() if option not in NOT_OF_THE_STUDY | {"workers"}}
    told = kept.options()
    assert {option: told.get(option) for option in own} == own
    since = {} if name != "cifar10-150M-10ms" else {"rungs": "1", "sampler": "tpe"}
    since |= {} if not since else {"proxy-resolution": "32", "epochs": "1", "batch": "64", "lr": "0.005"}
    since |= {"classes": "1000"}  # networks are costed for the data's classes now
    assert told == own | since
    parsed("run", told)


def test_committed_manifests_are_what_their_files_say() -> None:
    assert COMMITTED == ["cifar10-150M-10ms", "fast151", "fast151-random", "living151", "living151-random"]
    for name in COMMITTED:
        kept = Manifest.read(REFERENCE / name)
        assert kept.study == name
        assert Manifest.from_dict(kept.to_dict()) == kept
        assert kept.limits == {"madds": kept.budget.high, "latency_ms": kept.latency_limit_ms}
        model = 1 if name.startswith("living") else 17
        assert kept.device_name == f"AMD EPYC (family 25, model {model}, stepping 1)"
        assert kept.identity["seed"] == 0
        assert len(kept.space.knobs) > 20


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"study": None}, "study"),
        ({"study": 7}, "study"),
        ({"objectives": ["top1", "speed"]}, "'speed'"),
        ({"rungs": {"factors": [2.0]}}, "rungs must begin with 1"),
        ({"recipe": {"resolution": 32, "epochs": -1.0}}, "recipe.epochs"),
        ({"limits": {"speed": 3}}, "unknown key 'speed' in limits"),
        ({"limits": {"num_params": -3}}, "limit on num_params"),
    ],
)
def test_a_manifest_with_a_bad_value_is_an_error_that_names_it(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        manifest(**values)


@pytest.mark.parametrize("missing", [name for name in VALUES if name not in ("latency_limit_ms", "rungs", "passport")])
def test_a_file_that_lacks_a_setting_is_named(tmp_path: Path, missing: str) -> None:
    values = {name: value for name, value in VALUES.items() if name != missing}
    (tmp_path / "manifest.json").write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(ValueError, match=missing):
        Manifest.read(tmp_path)


def test_limits_are_kept_and_other_ones_are_refused_by_name() -> None:
    """A study from before limits has none, in its manifest or in what its ledger keeps."""
    before, limited = plain(), plain(limits={"num_params": 5_000_000})
    earlier = {name: value for name, value in before.identity.items() if name != "limits"}
    for ours in (before.identity, earlier):
        check_same_study("s", ours, before.identity)
        with pytest.raises(ValueError, match="limits.num_params: the study has None, this run says 5000000"):
            check_same_study("s", ours, limited.identity)
    check_same_study("s", limited.identity, limited.identity)
    other = plain(limits={"num_params": 4_000_000, "onnx_bytes": 8_000_000})
    with pytest.raises(ValueError, match="num_params: the study has 5000000, this run says 4000000") as refused:
        check_same_study("s", limited.identity, other.identity)
    assert "limits.onnx_bytes: the study has None, this run says 8000000" in str(refused.value)
    assert limited.limits == {"madds": 150e6, "latency_ms": 7.25, "num_params": 5e6}
    assert (before.least_madds, limited.least_madds) == (before.budget.low, 0)


@pytest.mark.parametrize("text", ["top1", "madds,params", "top1,params,params", "top1,speed", ""])
def test_objectives_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="objectives must be"):
        parse_objectives(text)
