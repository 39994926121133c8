"""train.yaml: the paper's values where it has them, interpolated ones between, nothing that timm would pass over."""

import ast
import dataclasses
import math
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from mfsearch.config import HeadConfig, MobileFormerConfig
from mfsearch.cost.madds import count_madds
from mfsearch.export import train_yaml as training
from mfsearch.export.timm_keys import KEYS, TIMM, check_key
from mfsearch.export.train_yaml import load_training, recommended_training, save_training
from mfsearch.presets import MF_26M, MF_52M, MF_96M, MF_508M, PRESETS
from tests.random_configs import random_config

# The recipes that were published with arXiv:2108.05895, sizes from 26M to 508M.
PUBLISHED: dict[str, list[Any]] = {
    "lr": [8e-4, 8e-4, 8e-4, 9e-4, 9e-4, 1e-3, 1e-3],
    "weight_decay": [0.08, 0.10, 0.10, 0.10, 0.15, 0.20, 0.20],
    "drop": [0.1, 0.2, 0.2, 0.2, 0.2, 0.3, 0.3],
    "mixup": [0.2, 0.2, 0.0, 0.2, 0.2, 0.2, 0.2],
    "reprob": [0, 0, 0, 0.2, 0.2, 0.2, 0.2],
    "aa": ["rand-m9-mstd0.5", None, *["rand-m9-mstd0.5"] * 5],
}


def test_published_sizes_have_the_published_values() -> None:
    for k, config in enumerate(PRESETS.values()):
        settings = recommended_training(config)
        assert {name: settings[name] for name in PUBLISHED} == {name: row[k] for name, row in PUBLISHED.items()}


def test_the_common_recipe_is_the_published_command() -> None:
    """And what the command left to the script: those defaults are of 0.3.4, and none may change with timm."""
    settings = recommended_training(MF_508M)
    assert settings["opt"] == "adamw"
    assert settings["sched"] == "cosine"
    assert settings["epochs"] == 450
    assert settings["batch_size"] * settings["grad_accum_steps"] == 1024
    assert (settings["drop_path"], settings["color_jitter"], settings["remode"]) == (0, 0, "pixel")
    assert (settings["input_size"], settings["crop_pct"], settings["interpolation"]) == (
        [3, 224, 224],
        0.875,
        "bilinear",
    )
    defaults = {"warmup_epochs": 3, "warmup_lr": 1e-4, "min_lr": 1e-5, "cooldown_epochs": 10, "smoothing": 0.1}
    assert {name: settings[name] for name in defaults} == defaults
    assert (settings["model_ema"], settings["amp"], settings["clip_grad"]) == (False, False, None)


def test_half_way_in_the_logarithm_is_half_way_in_the_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between 100M and 400M that is 200M, not 250M."""
    sizes = {
        config: 1e6 * size for config, size in zip(PRESETS.values(), [10, 50, 100, 400, 500, 600, 700], strict=True)
    }
    found = dataclasses.replace(MF_96M, stem=24)
    monkeypatch.setattr(training, "count_madds", lambda config: {**sizes, found: 200e6}[config])
    settings = recommended_training(found)
    assert settings["lr"] == pytest.approx(8.5e-4)
    assert (settings["weight_decay"], settings["drop"]) == (0.1, 0.2)
    assert settings["mixup"] == pytest.approx(0.1)
    assert settings["reprob"] == pytest.approx(0.1)


def test_numbers_of_any_network_are_those_of_the_interpolated_table() -> None:
    knots = [math.log(count_madds(config)) for config in PRESETS.values()]
    rng = random.Random(0)
    drawn = [random_config(seed) for seed in range(10)]
    for preset in PRESETS.values():
        for _ in range(10):
            head = HeadConfig(4 * rng.randint(20, 1000), rng.randint(20, 4000))
            drawn.append(dataclasses.replace(preset, head=head, resolution=rng.choice([64, 224]), classes=10))
    between = 0
    for config in drawn:
        settings = recommended_training(config)
        size = math.log(count_madds(dataclasses.replace(config, resolution=224, classes=1000)))
        between += knots[0] < size < knots[-1]
        for name in ("lr", "weight_decay", "drop", "mixup", "reprob"):
            assert settings[name] == pytest.approx(np.interp(size, knots, PUBLISHED[name]), rel=1e-3)
    assert between > 40


def test_auto_augment_is_of_the_nearer_size(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {
        config: 1e6 * size for config, size in zip(PRESETS.values(), [10, 40, 90, 400, 500, 600, 700], strict=True)
    }
    found = dataclasses.replace(MF_52M, stem=24)
    for millions, expected in ((19, "rand-m9-mstd0.5"), (21, None), (59, None), (61, "rand-m9-mstd0.5")):
        monkeypatch.setattr(training, "count_madds", lambda config, m=millions: {**sizes, found: 1e6 * m}[config])
        assert recommended_training(found)["aa"] == expected


def test_beyond_the_published_sizes_their_values_are_held() -> None:
    small = dataclasses.replace(MF_26M, head=dataclasses.replace(MF_26M.head, conv=96, hidden=64))
    large = dataclasses.replace(MF_508M, stem=48)
    assert count_madds(small) < count_madds(MF_26M) < count_madds(MF_508M) < count_madds(large)
    for config, end in ((small, 0), (large, -1)):
        settings = recommended_training(config)
        assert {name: settings[name] for name in PUBLISHED} == {name: row[end] for name, row in PUBLISHED.items()}


def test_the_images_do_not_change_the_size_that_values_are_chosen_for() -> None:
    elsewhere = recommended_training(dataclasses.replace(MF_96M, resolution=64, classes=5))
    assert {name: elsewhere[name] for name in PUBLISHED} == {name: row[2] for name, row in PUBLISHED.items()}
    assert elsewhere["num_classes"] == 5
    assert elsewhere["input_size"] == [3, 64, 64]


def test_every_network_comes_back_from_its_file(tmp_path: Path) -> None:
    for config in [*PRESETS.values(), *map(random_config, range(20))]:
        settings = recommended_training(config)
        save_training(settings, tmp_path / "train.yaml", header="a network")
        assert load_training(tmp_path / "train.yaml") == settings
        plain = yaml.safe_load((tmp_path / "train.yaml").read_text())  # as timm's script reads it
        assert plain == settings
        assert {name: type(value) for name, value in plain.items()} == {n: type(v) for n, v in settings.items()}
        assert MobileFormerConfig.from_dict(plain["model_kwargs"]["arch"]) == config


def comments(path: Path) -> dict[str, str]:
    """What stands behind the # of every key's line."""
    lines = [line.split("  # ", 1) for line in path.read_text().splitlines() if line[0] not in " -#"]
    return {line[0].split(":")[0]: line[1] if len(line) == 2 else "" for line in lines}


def test_comments_say_where_a_value_comes_from(tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    save_training(recommended_training(MF_52M), path, header="two\nlines")
    assert path.read_text().startswith("# two\n# lines\ndevice_modules:")
    assert comments(path)["lr"] == comments(path)["aa"] == "paper, mf-52m"
    assert comments(path)["opt"] == "paper"
    assert comments(path)["warmup_epochs"].startswith("default of timm's script")

    between = recommended_training(dataclasses.replace(MF_96M, stem=24))
    save_training(between, path, header="")
    said = "interpolated between mf-96m (0.0008) and mf-151m (0.0009), linear in log multiply-adds"
    assert comments(path)["lr"] == said
    assert comments(path)["drop"] == "paper, mf-96m and mf-151m alike"

    save_training({**between, "lr": 0.5}, path, header="")
    assert comments(path)["lr"] == ""  # someone's own
    small = dataclasses.replace(MF_26M, head=dataclasses.replace(MF_26M.head, conv=96, hidden=64))
    save_training(recommended_training(small), path, header="")
    assert comments(path)["mixup"] == "of mf-26m, the smallest published size"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must be a mapping"),
        ("- lr\n", "must be a mapping"),
        ("lr: [0.1", "not YAML"),
        ("\0", "not YAML"),
        ("!!python/object/apply:os.getcwd []", "not YAML"),
        ("lr: 0.1\nlr: 0.2\n", ":2: lr is given twice"),
        ("lr: 0.1\nweight-decay: 0.1\n", ":2: unknown key 'weight-decay': the nearest .* is weight_decay"),
        ("mix_up: 0.1\n", ":1: unknown key 'mix_up': the nearest .* is mixup"),
        ("auto_augment: v0\n", "unknown key 'auto_augment'"),
        ("1: 2\n", "unknown key '1'"),
        (
            "lr: 1e-3\n",
            r":1: lr must be a number above 0, or null, got '1e-3' \(YAML takes this for text: write 0.001\)",
        ),
        ("lr: fast\n", "got 'fast'$"),
        ("lr: 0\n", "lr must be a number above 0"),
        ("lr: .inf\n", "lr must be a number above 0"),
        ("mixup: .nan\n", "mixup must be a number from 0 up"),
        ("drop: 1.0\n", "drop must be a number from 0 and below 1"),
        ("reprob: 1.1\n", "reprob must be a number from 0 to 1"),
        ("epochs: 0\n", "epochs must be a whole number from 1 up"),
        ("epochs: true\n", "epochs must be a whole number from 1 up"),
        ("amp: 1\n", "amp must be true or false"),
        ("aug_splits: 1\n", "aug_splits must be 0 or a whole number from 2 up"),
        ("remode: noise\n", "remode must be pixel, rand or const"),
        ("input_size: 224\n", "input_size must be a list of 3 values"),
        ("input_size: [3, 224]\n", "input_size must be a list of 3 values"),
        ("opt_betas: []\n", "opt_betas must be a list of at least one value"),
        ("device_modules: mfsearch\n", "device_modules must be a list"),
        ("model_kwargs: [1]\n", "model_kwargs must be a mapping"),
        ("lr: 0.1\nmodel_kwargs:\n  arch: {stem: 8}\n", ":2: config lacks 'tokens'"),
    ],
)
def test_what_timm_would_pass_over_or_trip_on_is_refused_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "train.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=said) as caught:
        load_training(path)
    assert str(caught.value).startswith(str(path))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot read .*none\.yaml"):
        load_training(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"# f\xfcr\nlr: 0.1\n")
    with pytest.raises(ValueError, match=r"latin\.yaml: not YAML: not UTF-8"):
        load_training(tmp_path / "latin.yaml")


def test_nothing_is_written_that_could_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    for wrong in ({"learning_rate": 0.1}, {"lr": math.nan}, {"epochs": "450"}):
        with pytest.raises(ValueError, match=r"train\.yaml"):
            save_training({**recommended_training(MF_26M), **wrong}, path, header="")
    assert not path.exists()
    save_training({"lr": 0.1}, path, header="")
    assert load_training(path) == {"lr": 0.1}


def script_keys(source: str) -> Iterator[tuple[str, ast.Call]]:
    """What an argparse script calls its arguments, with the calls: the dest names, as its YAML file has them."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument":
            names = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
            given = [
                word.value.value
                for word in node.keywords
                if word.arg == "dest" and isinstance(word.value, ast.Constant)
            ]
            long = [name for name in names if str(name).startswith("--")]
            yield str((given or long or names)[0]).removeprefix("--").replace("-", "_"), node


def test_keys_of_a_script_are_its_dest_names() -> None:
    script = """
parser.add_argument('data', nargs='?')
group.add_argument('-b', '--batch-size', type=int)
group.add_argument('--decay-rate', '--dr', type=float)
group.add_argument('--torchscript', dest='scripted', action='store_true')
"""
    assert [name for name, _ in script_keys(script)] == ["data", "batch_size", "decay_rate", "scripted"]


@pytest.mark.skipif("TIMM_TRAIN_PY" not in os.environ, reason="TIMM_TRAIN_PY names no train.py of timm")
def test_the_keys_are_those_of_timms_own_script() -> None:
    source = Path(os.environ["TIMM_TRAIN_PY"]).read_text(encoding="utf-8")
    assert {name for name, _ in script_keys(source)} - {"config"} == set(KEYS)


def test_the_table_is_of_the_version_that_is_tested() -> None:
    constraints = (Path(__file__).parents[2] / "constraints.txt").read_text()
    assert f"timm=={TIMM}" in constraints.splitlines()


def test_every_key_knows_what_it_refuses() -> None:
    for name in KEYS:
        with pytest.raises(ValueError, match=f"^{name} must be "):
            check_key(name, object())
