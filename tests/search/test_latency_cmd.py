"""Searches whose latencies come from a user's own program."""

import json
import shlex
import sys
from pathlib import Path

import pytest

from mfsearch.analysis.latency.kept_latency import read_kept
from mfsearch.cli import main
from mfsearch.commands.latency_by_size import parse_sides
from mfsearch.study.files import MANIFEST
from mfsearch.study.study import Study
from mfsearch.study.trial import TrialLatency
from tests.search.test_loop import arguments

# Says 2 ms on the device named in a file, fails once after as many calls as that says, and logs its begin and its end.
PHONE = """
import json, pathlib, sys, time
here = pathlib.Path(sys.argv[1])
log = (here / "log").open("a")
print("begin", file=log, flush=True)
assert sys.stdin.buffer.read(2)
time.sleep(0.2)
print("end", file=log, flush=True)
device, _, calls = (here / "device").read_text().partition(" ")
if calls and (here / "log").read_text().count("end") == int(calls) + 1:
    sys.exit("the phone went away")
print(json.dumps({"latency_ms": 2.0, "device": device}))
"""


@pytest.fixture
def phone(tmp_path: Path) -> Path:
    (tmp_path / "device").write_text("phone")
    (tmp_path / "phone.py").write_text(PHONE)
    return tmp_path


def command(phone: Path) -> str:
    return shlex.join([sys.executable, str(phone / "phone.py"), str(phone)])


def measured(images: Path, phone: Path, *more: str) -> list[str]:
    return arguments(images, phone / "results", "--latency", "8ms", "--latency-cmd", command(phone), *more)


def test_a_runner_measures_the_search_one_network_at_a_time(
    image_folder: Path, phone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(measured(image_folder, phone, "--trials", "4", "--workers", "2", "--json")) == 0
    capsys.readouterr()
    study = Study.open(phone / "results" / "s")
    assert len(study.trials) == 4
    for trial in study.trials:
        assert trial.latency == TrialLatency(ms=2.0, low_ms=None, high_ms=None, ratio=None, disturbed=None)
    assert study.manifest.latency_cmd == command(phone)
    assert study.manifest.passport == {"device": "phone"}
    assert study.manifest.baseline_ms == 2.0
    log = (phone / "log").read_text().split()
    assert log == ["begin", "end"] * (len(log) // 2)
    assert main(["show", "s", "--all", "--results", str(phone / "results")]) == 0
    assert "2.00" in capsys.readouterr().out
    assert "Device: phone." in (phone / "results" / "s" / "report.html").read_text()


def test_a_study_does_not_go_on_with_another_runner_or_device(
    image_folder: Path, phone: Path, cache_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(measured(image_folder, phone, "--trials", "1", "--json")) == 0
    capsys.readouterr()
    more = ("--trials", "2")
    assert main([*measured(image_folder, phone, *more), "--latency-cmd", f"{command(phone)} again"]) == 2
    said = capsys.readouterr().err
    assert f"latency_cmd: the study has {command(phone)}, this run says {command(phone)} again" in said
    assert main(arguments(image_folder, phone / "results", "--latency", "8ms", *more)) == 2
    said = capsys.readouterr().err
    assert "this run says None" in said
    assert "passport" not in said
    (phone / "device").write_text("tablet")
    assert main(measured(image_folder, phone, *more)) == 2
    assert "device passport.device: the study has phone, this run says tablet" in capsys.readouterr().err
    assert len(Study.open(phone / "results" / "s").trials) == 1
    assert cache_dir


def test_a_database_does_not_mix_the_latencies_of_two_devices(
    image_folder: Path, phone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two folders on two machines, one study in the database."""
    storage = ("--storage", f"sqlite:///{phone / 'trials.db'}", "--json")
    assert main(measured(image_folder, phone, "--trials", "1", *storage)) == 0
    other = ("--results", str(phone / "other"), "--trials", "2")
    (phone / "device").write_text("tablet")
    capsys.readouterr()
    assert main([*measured(image_folder, phone, *storage), *other]) == 2
    assert "device passport.device: the study has phone, this run says tablet" in capsys.readouterr().err
    (phone / "device").write_text("phone")
    assert main([*measured(image_folder, phone, *storage), *other]) == 0
    assert len(Study.open(phone / "other" / "s").trials) == 2


def test_the_lesson_of_another_study_holds_no_latency(
    image_folder: Path, phone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may be of another device, so only what networks are is taken over."""
    assert main(measured(image_folder, phone, "--trials", "2", "--json")) == 0
    (phone / "device").write_text("tablet")
    assert main(measured(image_folder, phone, "--trials", "1", "--json", "--study", "t", "--from", "s")) == 0
    lesson = json.loads((phone / "results" / "t" / MANIFEST).read_text())["from"]["trials"]
    assert len(lesson) == 2
    assert not [name for trial in lesson for name in trial if "latency" in name]
    assert capsys.readouterr()


def test_a_runner_that_does_not_work_ends_the_run_before_anything_is_trained(
    image_folder: Path, phone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (phone / "device").write_text("phone 0")
    assert main(measured(image_folder, phone)) == 1
    said = capsys.readouterr()
    assert said.err.splitlines()[-1] == "mfsearch: --latency-cmd must exit with 0, got 1: the phone went away"
    assert not (phone / "results" / "s" / MANIFEST).exists()


def test_a_runner_that_fails_later_costs_trials(
    image_folder: Path, phone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (phone / "device").write_text("phone 2")  # the reference network and one more
    assert main(measured(image_folder, phone, "--trials", "2", "--json")) == 0
    trials = Study.open(phone / "results" / "s").trials
    assert [trial.outcome for trial in trials] == ["trained", "failed", "trained"]
    assert trials[1].reason == "--latency-cmd must exit with 0, got 1: the phone went away"
    assert trials[1].latency is None
    assert json.loads(capsys.readouterr().out)["stopped"] == "trials"


def test_a_trial_in_int8_is_judged_with_its_weights_and_images(
    image_folder: Path, phone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(measured(image_folder, phone, "--trials", "1", "--json")) == 0
    (trial,) = Study.open(phone / "results" / "s").trials
    capsys.readouterr()
    argv = ["latency", "s:0", "--int8", "--latency-cmd", command(phone), "--results", str(phone / "results")]
    assert main([*argv, "--data", str(image_folder), "--batch", "2", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)["s:0"]
    assert (said["latency_ms"], said["batch"]) == (2.0, 2)
    assert said["int8"]["latency_ms"] == 2.0
    assert said["int8"]["top1_fp32"] == trial.top1  # what the search found with torch
    assert (said["int8"]["images"], said["int8"]["judged_at"]) == (5, 16)
    assert abs(said["int8"]["top1_int8"] - trial.metric("top1")) <= 1 - said["int8"]["same_top1"]
    assert main([*argv, "--data", str(image_folder)]) == 0
    assert "int8 gives the class of fp32 on" in capsys.readouterr().out
    assert main([*argv, "--data", "digits"]) == 2
    assert "s:0 was trained on images0: --data must name those images, got digits" in capsys.readouterr().err
    (phone / "results" / "s" / "weights" / f"{trial.arch_id}.safetensors").unlink()
    assert main([*argv, "--data", str(image_folder)]) == 0
    why = "the weights of trial 0 were not kept: only networks that may be on the front keep theirs"
    assert f"the answers of int8 are not judged: {why}" in capsys.readouterr().out


def test_first_weights_are_not_judged_in_int8(
    image_folder: Path, phone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They name one class for all images, so int8 would agree with them on every one."""
    argv = ["latency", "mf-26m", "--int8", "--latency-cmd", command(phone), "--data", str(image_folder)]
    assert main([*argv, "--resolution", "32", "--classes", "2", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)["mf-26m"]["int8"]
    assert said["latency_ms"] == 2.0
    assert said["unjudged"] == "first weights, nothing is trained"
    assert [said[name] for name in ("images", "same_top1", "largest_deviation", "top1_int8", "judged_at")] == [None] * 5


def test_resolutions_are_measured_beside_mobilenet_and_drawn(phone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figure = phone / "figure.html"
    argv = ["latency", "mf-26m", "--resolutions", "32,64", "--latency-cmd", command(phone), "--figure", str(figure)]
    argv += ["--batch", "2", "--results", str(phone / "results")]
    assert main([*argv, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    names = ["mf-26m", "MobileNetV3-Large"]
    assert [(row["resolution"], row["name"]) for row in rows] == [(side, name) for side in (32, 64) for name in names]
    assert rows[2]["madds"] > rows[0]["madds"]
    assert rows[0]["times_mobilenet_v3"] == 1.0
    assert {(row["device"], row["batch"]) for row in rows} == {("phone", 2)}
    assert rows[0]["arch_id"] != rows[1]["arch_id"] is None
    assert "MobileNetV3-Large" in figure.read_text()
    assert "phone, batch 2" in figure.read_text()
    assert main([*argv, "--resolutions", "32"]) == 0
    said = capsys.readouterr().out
    kept = phone / "results" / "latency" / "by-size.jsonl"
    assert f"kept      {kept}\n" in said
    found = read_kept([kept])
    sides = [(row.name, row.resolution, row.batch) for row in found.rows]
    assert sides == [(name, side, 2) for side in (32, 64, 32) for name in names]
    assert {(row.latency_ms, row.threads, row.passport["device"]) for row in found.rows} == {(2.0, None, "phone")}
    assert found.unread == 0
    assert "beside MobileNetV3-Large at the same size, all with a batch of 2\n" in said
    assert "the reference's those of one" not in said
    assert said.count("1.00  phone\n") == 2


def test_resolutions_are_of_one_device(phone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It names itself after the file that it is given."""
    code = "import json, sys; print(json.dumps({'latency_ms': 7, 'device': str(len(sys.stdin.buffer.read()))}))"
    argv = ["latency", "mf-26m", "--resolutions", "32", "--latency-cmd", shlex.join([sys.executable, "-c", code])]
    results = ["--results", str(phone / "results")]
    assert main([*argv, *results, "--figure", str(phone / "figure.html")]) == 1
    assert "--latency-cmd must always measure on the same device, '" in capsys.readouterr().err


def test_what_is_wrong_with_resolutions_is_said_before_anything_is_measured(
    phone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["latency", "mf-26m", "--resolutions", "32,64", "--latency-cmd", command(phone)]
    assert main([*argv, "--resolutions", "64,2048"]) == 2
    expected = "--resolutions must read like 160..768 or 160,224,320, rising, from 16 to 1024, got '64,2048'"
    assert expected in capsys.readouterr().err
    for figure in (phone / "no" / "figure.html", phone):
        assert main([*argv, "--figure", str(figure)]) == 2
        said = capsys.readouterr()
        assert f"--figure must be a file in a folder that is there, got {figure}" in said.err
        assert said.out == ""
    assert not (phone / "log").exists()


def test_rows_are_printed_before_the_figure_can_fail(
    phone: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("mfsearch.analysis.figures.style.write_figure", full)
    argv = ["latency", "mf-26m", "--resolutions", "32", "--latency-cmd", command(phone), "--json"]
    argv += ["--results", str(phone / "results")]
    assert main([*argv, "--figure", str(phone / "figure.html")]) == 1
    said = capsys.readouterr()
    assert len(json.loads(said.out)) == 2
    assert "no space left" in said.err


def test_where_nothing_can_be_kept_one_line_says_so(phone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (phone / "results").write_text("a file, and no folder")
    argv = ["latency", "mf-26m", "--resolutions", "32,64", "--latency-cmd", command(phone), "--json"]
    assert main([*argv, "--results", str(phone / "results"), "--figure", str(phone / "figure.html")]) == 0
    said = capsys.readouterr()
    assert len(json.loads(said.out)) == 4
    (line,) = said.err.splitlines()
    assert line.startswith(f"mfsearch: these figures are not kept, cannot write {phone / 'results' / 'latency'}")


@pytest.mark.parametrize(
    ("text", "sides"),
    [
        ("160..768", [160, 224, 320, 448, 640, 768]),
        ("224..256", [224, 256]),
        ("16..64", [16, 32, 64]),
        ("160,200", [160, 200]),
        ("224", [224]),
    ],
)
def test_a_range_of_sides_goes_up_in_steps(text: str, sides: list[int]) -> None:
    assert parse_sides(text) == sides


@pytest.mark.parametrize("text", ["", "160..", "a..b", "320,160", "224,224", "0..64", "8,16", "768..1025"])
def test_sides_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"--resolutions must read like 160\.\.768 or 160,224,320, rising"):
        parse_sides(text)


def test_the_latency_command_asks_the_runner(phone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ("--resolution", "32", "--classes", "2")
    argv = ["latency", "mf-26m", "--latency-cmd", command(phone), *small]
    assert main([*argv, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)["mf-26m"]
    assert (said["latency_ms"], said["device"], said["ratio"]) == (2.0, "phone", None)
    assert main(argv) == 0
    last = capsys.readouterr().out.splitlines()[-1].split()
    assert (last[0], last[2:]) == ("mf-26m", ["2.00", "phone"])


@pytest.mark.parametrize(("ms", "measured_networks"), [(8.05, 30), (80.0, 12)])
def test_a_search_gives_up_sooner_where_no_prediction_comes_near_the_limit(
    image_folder: Path, tmp_path: Path, ms: float, measured_networks: int, capsys: pytest.CaptureFixture[str]
) -> None:
    says = f"import json, sys\nsys.stdin.buffer.read()\nprint(json.dumps(dict(latency_ms={ms})))"
    (tmp_path / "phone.py").write_text(says)
    runner = shlex.join([sys.executable, str(tmp_path / "phone.py")])
    assert main(arguments(image_folder, tmp_path / "results", "--latency", "8ms", "--latency-cmd", runner)) == 2
    assert f"none of {measured_networks} networks measured keeps it" in capsys.readouterr().err
