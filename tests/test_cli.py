"""What a user types wrongly: each is a clear sentence and exit code 2, and nothing is written."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mfsearch.cli import COMMANDS, main
from mfsearch.config import MobileFormerConfig
from mfsearch.presets import MF_151M
from tests.conftest import TINY_SPACE

ROOT = Path(__file__).parents[1]


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one message of a command that must be turned away."""
    try:
        code: object = main(list(argv))
    except SystemExit as end:  # argparse's own
        code = end.code
    said = capsys.readouterr()
    assert code == 2, said
    assert said.out == ""
    assert "Traceback" not in said.err
    return said.err


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], "the following arguments are required: COMMAND; see `mfsearch --help`"),
        (["run"], "the following arguments are required: --budget; see `mfsearch run --help`"),
        (["show", "--every"], "unknown option --every; see `mfsearch show --help`"),
        (["run", "--budgte", "150M"], "unknown option --budgte: did you mean --budget?; see `mfsearch run --help`"),
        (["exprot", "7"], "unknown command 'exprot': did you mean export?; see `mfsearch --help`"),
        (["calibrate", "--netwroks=8"], "unknown option --netwroks: did you mean --networks?; see"),
        (
            ["calibrate", "--budget", "150M", "--data", "digits", "--workers", "0"],
            "argument --workers: must be 1 to 256, got 0; see `mfsearch calibrate --help`",
        ),
        (
            ["twins", "mf-26m", "--workers=0"],
            "argument --workers: must be 1 to 256, got 0; see `mfsearch twins --help`",
        ),
        (
            ["latency", "mf-26m", "--batch", "1.5"],
            "must be a whole number, 0 or more, got '1.5'; see `mfsearch latency",
        ),
    ],
)
def test_a_usage_error_is_one_sentence(argv: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, *argv)
    assert said.startswith("mfsearch: ")
    assert said.count("\n") == 1
    assert expected in said


def run_arguments(results: Path, **changed: str) -> list[str]:
    options = {"budget": "0.5M", "space": str(TINY_SPACE), "data": "digits", "study": "s"} | changed
    return ["run", "--results", str(results), "--resolution", "32", *(f"--{k}={v}" for k, v in options.items())]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"budget": "150"}, "got '150': is 150M meant?"),
        ({"budget": "20K"}, "nothing in space tiny is that small; the smallest network found has"),
        ({"budget": "90G"}, "that large; the largest network found has"),
        ({"budget": "lots"}, "multiply-adds must read like 150M or 1.2G, got 'lots'"),
        ({"budget": "150M..120M"}, "the lower end must come first"),
        ({"latency": "fast"}, "--latency: a latency must read like 8ms, 800us or 0.5s, got 'fast'"),
        ({"latency": "25"}, "got '25': is 25ms meant?"),
        ({"latency-cmd": "true"}, "--latency-cmd needs a latency limit too, like --latency 8ms"),
        (
            {"latency": "8ms", "latency-cmd": "no-such-program"},
            "--latency-cmd must start with a program on this machine, got 'no-such-program'",
        ),
        ({"latency": "8ms", "latency-timeout": "2m"}, "--latency-timeout is for --latency-cmd, which is not given"),
        ({"latency": "8ms", "latency-cmd": "true", "latency-timeout": "2"}, "a time must read like 90s, 30m or 2h"),
        ({"time": "30"}, "a time must read like 90s, 30m or 2h, got '30'"),
        ({"space": "mobile_fromer"}, "did you mean mobile_former?"),
        ({"space": "nowhere.yaml"}, "no space file at nowhere.yaml"),
        ({"data": "cifar-10"}, "did you mean cifar10?"),
        ({"data": "/no/such/folder"}, "/no/such/folder"),
        ({"study": "../up"}, "a study's name must be"),
        (
            {"sampler": "magic"},
            "sampler must be one of auto, gp, tpe, evolution, random, got 'magic'",
        ),
        (
            {"sampler": "nsga2"},
            "sampler must be one of auto, gp, tpe, evolution, random, got 'nsga2' (local and nsga2 were removed)",
        ),
        ({"rungs": "2,3"}, "rungs must begin with 1 and rise, like 1,3,9, got 2,3"),
        ({"rungs": "all"}, "--rungs must be numbers like 1,3,9, got 'all'"),
        ({"finalists": "101"}, "finalists must be 0 to 100, got 101"),
        ({"final-seeds": "0"}, "seeds of a finalist must be 1 to 10, got 0"),
        ({"rank-by": "luck"}, "rank_by must be one of val_loss, loss, top1, got 'luck'"),
        ({"from": "nothing"}, "no study 'nothing'"),
        ({"optimizer": "adam"}, "recipe.optimizer must be adamw or sgd, got 'adam'"),
        ({"epochs": "-1"}, "recipe.epochs must be above 0, got -1.0"),
        ({"workers": "0"}, "argument --workers: must be 1 to 256, got 0; see `mfsearch run --help`"),
        ({"trials": "0"}, "--trials must be 1 or more, got 0"),
        ({"trials": "many"}, "must be a whole number, 0 or more, got 'many'"),
        ({"device": "tpu"}, "--device must be cpu, cuda or cuda:N, got 'tpu'"),
        ({"resolution": "5"}, "config.resolution must be a whole number from 16 to 1024, got 5"),
    ],
)
def test_bad_options_of_run(
    changed: dict[str, str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expected in refused(capsys, *run_arguments(tmp_path / "results", **changed))
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("--latency", "-3ms", "8ms"),
        ("--budget", "-5M", "150M"),
        ("--time", "-.5h", "30m"),
        ("--epochs", "-1", "above 0"),
    ],
)
def test_a_negative_value_is_answered_by_what_is_allowed(
    option: str, value: str, allowed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, *run_arguments(tmp_path / "results"), option, value)
    assert option.strip("-") in said
    assert f"got {value}" in said.replace("'", "")
    assert allowed in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "argv",
    [
        *(["run", "--budget", "5M", option] for option in ("--latency", "--lr", "--study", "--rungs", "--epochs")),
        *(["run", "--budget", "5M", option] for option in ("--sampler", "--data", "--results", "--device")),
        *(["describe"], ["show"], ["explore"], ["verify"], ["latency", "mf-26m", "--resolutions"], ["export", "--to"]),
        *(["run", "--budget"], ["train", "nowhere", "--data", "digits", "--set"], ["space"], ["latency", "--every"]),
    ],
)
@pytest.mark.parametrize("given", ["ab" * 2500, "a b'" * 1250, "9" * 5000])
def test_a_message_repeats_at_most_200_characters_of_what_was_given(
    argv: list[str], given: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*argv, given]) in (1, 2)
    assert len(capsys.readouterr().err) < 700


def test_data_that_cannot_be_searched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    one = tmp_path / "one" / "train" / "only"
    one.mkdir(parents=True)
    for k in range(4):
        Image.new("RGB", (20, 20)).save(one / f"{k}.png")
    assert "only" in refused(capsys, *run_arguments(tmp_path / "results", data=str(tmp_path / "one")))
    other = tmp_path / "one" / "train" / "other"
    other.mkdir()
    for k in range(4):
        Image.new("RGB", (20, 20)).save(other / f"{k}.png")
    (other / "2.png").write_bytes(b"this is no image")
    said = refused(capsys, *run_arguments(tmp_path / "results", data=str(tmp_path / "one")))
    assert str(other / "2.png") in said
    assert not (tmp_path / "results").exists()


def test_cifar_that_is_not_there_says_where_it_looked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MFSEARCH_DATA", raising=False)
    arguments = run_arguments(tmp_path / "results", data="cifar10")
    assert str(tmp_path) in refused(capsys, *arguments, "--data-dir", str(tmp_path))


def test_a_typo_in_a_space_file_names_line_and_known_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(TINY_SPACE.read_text().replace("former: {ffn", "fromer: {ffn"))
    said = refused(capsys, "space", str(file))
    assert f"{file}:4: unknown key 'fromer' in a search space: did you mean former?" in said


@pytest.mark.parametrize(
    "word", ["x" * 5000, "9" * 5000, "9" * 4000, "x" * 5000 + ":1", "x" * 5000 + ".yaml", "é" * 5000]
)
def test_a_message_repeats_at_most_200_letters_of_what_was_given(
    word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for line in (
        ["describe", word],
        ["space", word],
        ["show", word],
        ["verify", word],
        ["export", "mf-26m", "--to", str(tmp_path / "to"), "--trial", word],
        ["run", "--budget", word],
        ["run", "--budget", "1M", "--seed", word],
        ["run", "--budget", "1M", "--space", word],
        ["train", str(tmp_path), "--data", word, "--lr", word],
    ):
        said = refused(
            capsys, *line, *([] if line[0] in ("space", "verify", "train") else ["--results", str(tmp_path)])
        )
        assert max(len(part) for part in said.split()) <= 210
        assert len(said) < 2000


def test_unknown_networks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = "known are mf-26m, mf-52m, mf-96m, mf-151m, mf-214m, mf-294m, mf-508m"
    assert known in refused(capsys, "describe", "mf-150m")
    reference = ["--results", str(ROOT / "results" / "reference")]
    assert "fast151 is a study: name a trial of it, such as fast151:" in refused(
        capsys, "describe", "fast151", *reference
    )
    results = ["--results", str(tmp_path)]
    assert "no study 'nothing'" in refused(capsys, "describe", "nothing:3", *results)
    assert "there is no study under" in refused(capsys, "show", *results)
    assert "no study 'x'" in refused(capsys, "explore", "x", *results)
    assert "cannot read" in refused(capsys, "describe", str(tmp_path / "absent.yaml"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert "must be a new or an empty folder" in refused(capsys, "export", "mf-26m", "--to", str(tmp_path / "full"))


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--latency-cmd", "true", "--threads", "2"], "--threads goes without --latency-cmd: the program decides"),
        (["--threads", "0"], "threads must be at least 1, got 0"),
        (["--batch", "0"], "--batch must be 1 or more, got 0"),
        (["--data", "digits"], "--data is for --int8, which is not given"),
        (["--data-dir", "x"], "--data-dir is for --int8, which is not given"),
        (["--figure", "x.html"], "--figure is for --resolutions, which is not given"),
        (["--resolutions", "160..224", "--int8"], "--resolutions goes without --int8: it measures in fp32"),
        (["--resolutions", "160..224", "--breakdown"], "--resolutions goes without --breakdown: it measures whole"),
        (["--resolutions", "160", "--resolution", "160"], "--resolutions goes without --resolution: it says the sizes"),
        (["--breakdown", "--latency-cmd", "true"], "--breakdown goes without --latency-cmd: it reads the profile"),
        (["--breakdown", "--threads", "2"], "--breakdown goes with one thread, got --threads 2"),
    ],
)
def test_bad_options_of_latency(argv: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert expected in refused(capsys, "latency", "mf-26m", *argv)


def test_describe_prints_the_costs_of_a_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "mf-151m", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["madds"], said["num_params"]) == (152_012_400, 7_595_828)
    assert said["macs"] == 146_249_168
    assert said["arch_id"] == MF_151M.arch_id
    assert said["activation_bytes"] == 2_408_448
    assert sum(part["madds"] for part in said["by_part"].values()) == said["madds"]
    assert MobileFormerConfig.from_dict(said["config"]) == MF_151M
    assert main(["describe", "mf-151m"]) == 0
    assert "152.01 M" in capsys.readouterr().out


def test_describe_reads_what_export_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    from mfsearch.export.bundle import load_network

    folder = tmp_path / "out"
    assert main(["export", "mf-26m", "--to", str(folder), "--classes", "10", "--resolution", "64", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert sorted(path.name for path in folder.iterdir()) == sorted(said["files"])
    assert said["onnx_difference"] < 1e-4
    assert main(["describe", str(folder / "arch.yaml"), "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert described["arch_id"] == said["arch_id"]
    model = load_network(folder)
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 10)


def test_a_budget_between_the_smallest_network_and_what_draws_reach(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["run", "--budget", "5M", "--classes", "1000", "--results", str(tmp_path), "--study", "s"]
    assert main(argv) == 2
    assert "lies inside; the smallest network found has 4.9M" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["mobile_former", "mobile_former_small", "paper"])
def test_space_prints_knobs_size_and_the_feasible_share(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["space", name, "--budget", "150M", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["madds"]["smallest"] < said["madds"]["median"] < said["madds"]["largest"]
    assert 0 < said["budget"]["share"] <= 1
    assert said["size"] > 100
    assert main(["space", name]) == 0
    assert "dyrelu.source" in capsys.readouterr().out or name == "paper"


def test_the_whole_space_reaches_from_20m_to_600m(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["space", "mobile_former", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)["madds"]
    assert said["smallest"] < 20e6
    assert said["largest"] > 600e6


def test_space_counts_the_share_within_limits(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mfsearch.commands.space.DRAWS", 60)
    argv = ["space", str(TINY_SPACE), "--resolution", "32", "--classes", "2", "--json"]
    shares = []
    for limits in ([], ["--params", "45K", "--memory", "26KB"]):
        assert main([*argv, "--budget", "0.3M..0.5M", *limits]) == 0
        said = json.loads(capsys.readouterr().out)
        shares.append(said["budget"]["share"])
    assert said["limits"] == {"num_params": 45_000, "activation_bytes": 26_000}
    assert 0 < shares[1] < shares[0]
    assert said["onnx_bytes"]["smallest"] < said["onnx_bytes"]["median"] < said["onnx_bytes"]["largest"]
    assert "need a --budget" in refused(capsys, *argv, "--size", "8MB")
    assert "is 3MB meant?" in refused(capsys, "run", "--budget", "150M", "--memory", "3")


def test_a_dry_run_counts_proposals_and_trains_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["run", "--budget", "96M", "--trials", "30", "--dry-run", "--json", "--results", str(tmp_path / "r")]
    assert main(argv) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["proposals"], said["inside"], said["duplicates"]) == (30, 30, 0)
    assert not (tmp_path / "r").exists()


def test_an_installed_wheel_carries_spaces_and_app(tmp_path: Path) -> None:
    """Built, unpacked and run outside the checkout."""
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    assert (site / "mfsearch" / "_app" / "explorer.py").is_file()
    assert (site / "mfsearch" / "_results" / "reference" / "fast151" / "manifest.json").is_file()
    assert (site / "mfsearch" / "export" / "standalone.txt").is_file()
    code = (
        "import mfsearch, sys; mfsearch.load_table('cifar10-30M')\n"
        "from mfsearch.cli import main; from mfsearch.commands.explore import app_path\n"
        "print(mfsearch.__file__, app_path()); sys.exit(main(['space', 'paper', '--json']))"
    )
    environment = os.environ | {"PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    first, _, rest = done.stdout.partition("\n")
    assert first == f"{site}/mfsearch/__init__.py {site}/mfsearch/_app/explorer.py"
    assert json.loads(rest)["name"] == "paper"


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert all(re.search(rf"^    {name}\b", said, re.MULTILINE) for name in COMMANDS)
