import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from mfsearch.cli import main
from mfsearch.cost.meter import Latency, LatencyMeter
from mfsearch.cost.passport import read_passport
from mfsearch.data import load_data
from mfsearch.export import check as verifying
from mfsearch.export.bundle import load_network, read_bundle, write_bundle
from mfsearch.export.bundle_manifest import BundleManifest, read_manifest, write_manifest
from mfsearch.export.check import Report, verify_bundle
from mfsearch.export.origin import of_config
from mfsearch.export.run_apart import run_apart
from mfsearch.study.configs import find_config
from tests.export.bundles import content, small_bundle, trained_weights
from tests.random_configs import SMALL

FILES = [
    *("README.md", "arch.yaml", "manifest.json", "metrics.json", "model.int8.onnx"),
    *("model.onnx", "model.py", "preprocess.json", "train.yaml", "weights.safetensors"),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with all files that there can be."""
    folder = tmp_path_factory.mktemp("whole")
    config = dataclasses.replace(SMALL, classes=10)
    origin = dataclasses.replace(of_config("small", config), weights=trained_weights(folder / "w", config))
    images = load_data("digits", resolution=32, samples=32, val_samples=20)
    write_bundle(origin, folder / "b", int8=images)
    return folder / "b"


@pytest.fixture
def bundle(whole: Path, tmp_path: Path) -> Path:
    """A copy to alter."""
    folder = tmp_path / "b"
    folder.mkdir()
    for name, data in content(whole).items():
        (folder / name).write_bytes(data)
    return folder


def outcomes(report: Report) -> dict[str, str]:
    return {check.name: check.outcome for check in report.checks}


def failures(folder: Path) -> list[str]:
    return [check.said for check in verify_bundle(folder, latency=False).checks if check.outcome == "failed"]


def sealed(folder: Path) -> Path:
    """The bundle with a manifest that fits what was altered, as one who makes up a bundle would write it."""
    path = folder / "manifest.json"
    told = json.loads(path.read_text())
    write_manifest(folder, BundleManifest.from_dict(told))
    return folder


def altered_json(folder: Path, name: str, change: Callable[[Any], None]) -> Path:
    told = json.loads((folder / name).read_text())
    change(told)
    (folder / name).write_text(json.dumps(told, indent=1) + "\n")
    return sealed(folder)


def test_a_whole_bundle_is_verified(whole: Path) -> None:
    assert sorted(path.name for path in whole.iterdir()) == FILES
    report = verify_bundle(whole, latency=False)
    assert report.verified
    assert outcomes(report) == {
        **dict.fromkeys(("files", "network", "costs", "model.py", "model.onnx", "train.yaml"), "ok"),
        **dict.fromkeys(("preprocess.json", "model.int8.onnx"), "ok"),
        "latency": "skipped",
    }


def test_int8_written_with_8_bits_still_verifies_with_a_warning(bundle: Path) -> None:
    """Bundles written before 2026-11-27 do not say how their int8 file was made."""
    report = verify_bundle(altered_json(bundle, "metrics.json", lambda told: told["int8"].pop("scheme")), latency=False)
    assert report.verified
    (check,) = [check for check in report.checks if check.name == "model.int8.onnx"]
    assert check.outcome == "warning"
    assert "8-bit weights" in check.said


@pytest.mark.parametrize("name", FILES)
def test_one_changed_bit_anywhere_is_caught_with_the_files_name(name: str, bundle: Path) -> None:
    path = bundle / name
    data = path.read_bytes()
    size = len(data)
    for place in sorted({0, 1, size // 3, size // 2, size - 2, size - 1}):
        for bit in (1, 64):
            path.write_bytes(data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :])
            found = failures(bundle)
            assert len(found) == 1
            assert str(path) in found[0]
            if name not in ("model.py", "model.onnx", "model.int8.onnx", "README.md"):
                with pytest.raises(ValueError, match=name):
                    read_bundle(bundle)
    path.write_bytes(data)
    assert verify_bundle(bundle, latency=False).verified


def test_every_byte_of_the_manifest_counts(bundle: Path) -> None:
    path = bundle / "manifest.json"
    data = path.read_bytes()
    for place in range(0, len(data), 7):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert str(path) in failures(bundle)[0], place
    for end in (b"\r", b"\r\n"):  # which reading as text takes for the same
        path.write_bytes(data.replace(b"\n", end, 1))
        assert str(path) in failures(bundle)[0]


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(name: str, bundle: Path) -> None:
    (bundle / name).unlink()
    (said,) = failures(bundle)
    assert said.startswith(f"{bundle / name}: missing")


def test_a_file_too_many_is_named(bundle: Path) -> None:
    (bundle / "extra.py").write_text("")
    (bundle / "__pycache__").mkdir()
    assert failures(bundle) == [
        f"{bundle / '__pycache__'}: not in manifest.json: Python made it when model.py was imported there, delete it",
        f"{bundle / 'extra.py'}: not in manifest.json",
    ]


def test_a_link_in_the_place_of_a_file_is_refused(bundle: Path, tmp_path: Path) -> None:
    (bundle / "model.py").rename(tmp_path / "model.py")
    (bundle / "model.py").symlink_to(tmp_path / "model.py")
    assert failures(bundle) == [f"{bundle / 'model.py'}: must be a plain file"]


def test_a_newer_schema_is_called_that(bundle: Path) -> None:
    path = bundle / "manifest.json"
    path.write_text(path.read_text().replace('"schema": 2', '"schema": 3', 1))
    (said,) = failures(bundle)
    assert said == f"{path}: has schema 3, this version of mfsearch reads 2: written by a newer one, update"
    with pytest.raises(ValueError, match="written by a newer one"):
        read_bundle(bundle)


@pytest.mark.parametrize("text", ["", "null", "[]", "{", '{"schema": 1}', '{"schema": "1"}', "[" * 100_000, "\ufeff{}"])
def test_what_is_no_manifest_is_named(text: str, bundle: Path) -> None:
    (bundle / "manifest.json").write_text(text)
    (said,) = failures(bundle)
    assert said.startswith(str(bundle / "manifest.json"))


def test_a_manifest_cannot_name_a_file_elsewhere(bundle: Path) -> None:
    from mfsearch.export import bundle_manifest as manifests

    told = json.loads((bundle / "manifest.json").read_text())
    told.pop("sha256")
    for change in ({"../../etc/passwd": told["files"]["model.py"]}, {"model.py": "mine"}):
        made_up = {**told, "files": told["files"] | change}
        (bundle / "manifest.json").write_text(manifests._text({**made_up, "sha256": manifests._digest(made_up)}))
        (said,) = failures(bundle)
        assert "must list arch.yaml" in said


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("seed", "0", "seed must be a whole number, got '0'"),
        ("created", None, "created must be text, got None"),
        ("study", {"name": "s"}, "study.trial must be a whole number, got None"),
        ("versions", {"torch": 2}, "versions.torch must be text, got 2"),
        ("normalisation", {"mean": [0, 0, 0], "std": [0, 1, 1]}, "std of a normalisation must be three numbers"),
    ],
)
def test_a_wrong_value_in_a_manifest_is_an_error_with_its_place(name: str, value: Any, said: str, bundle: Path) -> None:
    from mfsearch.export import bundle_manifest as manifests

    path = bundle / "manifest.json"
    told = {**json.loads(path.read_text()), name: value}
    told.pop("sha256")
    path.write_text(manifests._text({**told, "sha256": manifests._digest(told)}))
    (found,) = failures(bundle)
    assert found.startswith(f"{path}: {said}")
    with pytest.raises(ValueError, match=said):
        read_bundle(bundle)


def evil(folder: Path) -> None:
    path = folder / "model.py"
    path.write_text(path.read_text() + f"\nPath({str(folder.parent / 'ran')!r}).touch()\n")


def test_code_that_mfsearch_did_not_write_is_not_run(bundle: Path) -> None:
    evil(bundle)
    assert failures(sealed(bundle)) == ["model.py is not what mfsearch writes for this network; it was not run"]
    altered_json(bundle, "manifest.json", lambda told: told.update(generator=99))
    report = verify_bundle(bundle, latency=False)
    assert outcomes(report)["model.py"] == "skipped"
    assert "not run: written by another generator (99, this one is 1)" in [check.said for check in report.checks]
    assert not (bundle.parent / "ran").exists()


def other_weights(folder: Path) -> None:
    tensors = load_file(folder / "weights.safetensors")
    tensors["head.classifier.bias"][0] += 1
    save_file(tensors, folder / "weights.safetensors")


def fewer_weights(folder: Path) -> None:
    tensors = load_file(folder / "weights.safetensors")
    save_file({name: value for name, value in tensors.items() if "head" not in name}, folder / "weights.safetensors")


def renamed_weights(folder: Path) -> None:
    tensors = load_file(folder / "weights.safetensors")
    tensors["token"] = tensors.pop("tokens")
    save_file(tensors, folder / "weights.safetensors")


def broken_weights(folder: Path) -> None:
    tensors = load_file(folder / "weights.safetensors")
    tensors["stem.conv.conv.weight"] *= torch.nan
    save_file(tensors, folder / "weights.safetensors")


def other_graph(folder: Path) -> None:
    model = onnx.load(folder / "model.onnx")
    model.graph.initializer[0].raw_data = bytes(len(model.graph.initializer[0].raw_data))
    onnx.save(model, folder / "model.onnx")


def other_metadata(folder: Path) -> None:
    model = onnx.load(folder / "model.onnx")
    onnx.helper.set_model_props(model, {"arch_id": "000000000000"})
    onnx.save(model, folder / "model.onnx")


def no_graph(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"none")


def other_training(folder: Path) -> None:
    told = yaml.safe_load((folder / "train.yaml").read_text())
    told["model_kwargs"]["arch"]["classes"] = 11
    (folder / "train.yaml").write_text(yaml.safe_dump(told))


def unknown_key(folder: Path) -> None:
    (folder / "train.yaml").write_text((folder / "train.yaml").read_text() + "epoch: 3\n")


def no_metrics(folder: Path) -> None:
    (folder / "metrics.json").write_text("[]")


def pickled(folder: Path) -> None:
    (folder / "train.yaml").write_text(f"a: !!python/object/apply:os.mkdir ['{folder.parent / 'ran'}']\n")


def other_network(folder: Path) -> None:
    dataclasses.replace(SMALL, classes=10, stem=8).save(folder / "arch.yaml")


def huge_network(folder: Path) -> None:
    """Hundreds of gigabytes, were it built; its manifest and metrics say the same."""
    head = dataclasses.replace(SMALL.head, conv=16384, hidden=16384)
    huge = dataclasses.replace(SMALL, classes=100_000, head=head)
    huge.save(folder / "arch.yaml")
    for name in ("metrics.json", "manifest.json"):
        altered_json(folder, name, lambda told: told.update(arch_id=huge.arch_id))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (other_weights, ["model.onnx differs by"]),
        (fewer_weights, ["weights.safetensors holds"]),
        (renamed_weights, ["weights of another network: tokens is none there"]),
        (broken_weights, ["stem.conv.conv.weight holds numbers that are not finite"]),
        (other_graph, ["model.onnx differs by"]),
        (other_metadata, ["arch_id in model.onnx differ: model.onnx '000000000000'"]),
        (no_graph, ["DecodeError"]),
        (other_training, ["train.yaml trains another network than arch.yaml says"]),
        (unknown_key, ["epoch"]),
        (pickled, ["train.yaml"]),
        (no_metrics, ["metrics.json: must be a mapping, got list"]),
        (other_network, ["the network differ: arch.yaml"]),
        (huge_network, ["weights.safetensors holds"]),
    ],
)
def test_a_made_up_bundle_with_fitting_hashes_is_caught(
    change: Callable[[Path], None], said: list[str], bundle: Path
) -> None:
    change(bundle)
    found = failures(sealed(bundle))
    assert len(found) == len(said), found
    for line, part in zip(found, said, strict=True):
        assert part in line
    assert not (bundle.parent / "ran").exists()


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("costs", "num_params"), 1, "parameters differ: metrics.json 1, closed form"),
        (("costs", "madds"), 1, "multiply-adds differ: metrics.json 1, closed form"),
        (("costs", "macs"), 1, "macs differ"),
        (("costs", "resolution"), 33, "resolution differ: metrics.json 33, arch.yaml 32"),
        (("arch_id",), "0", "the network differ"),
        (("costs",), None, "metrics.json: costs must be a mapping, got None"),
        (("costs", "macs"), "many", "metrics.json: costs.macs must be a whole number, got 'many'"),
        (("onnx", "batch"), True, "metrics.json: onnx.batch must be a whole number or text, got True"),
        (("weights", "fresh_tensors"), [1], "metrics.json: weights.fresh_tensors[0] must be text, got 1"),
        (("class_names",), "ab", "metrics.json: class_names must be a list or null, got 'ab'"),
        (("latency",), {"latency_low_ms": 1.0}, "metrics.json: latency.latency_ms must be a number, got None"),
        (("latency",), {"latency_ms": 2.0, "latency_low_ms": 1.0}, "must both be numbers or null, got 1.0 and None"),
    ],
)
def test_figures_that_are_not_the_networks_are_caught(
    path: tuple[str, ...], value: Any, said: str, bundle: Path
) -> None:
    def change(told: Any) -> None:
        for name in path[:-1]:
            told = told[name]
        told[path[-1]] = value

    (found,) = failures(altered_json(bundle, "metrics.json", change))
    assert said in found


def test_class_names_of_another_number_are_an_error_before_anything_is_trained(bundle: Path) -> None:
    altered_json(bundle, "metrics.json", lambda told: told.update(class_names=["a"]))
    with pytest.raises(ValueError, match=r"metrics\.json: class_names must be 10, as in arch\.yaml, got 1"):
        read_bundle(bundle)


class Meter:
    """A stopwatch that says what it is told, in turn."""

    def __init__(self, *found: tuple[float, float, bool]) -> None:
        self.found = list(found)

    def measure(self, path: Path) -> Latency:
        assert path.is_file()
        low, high, disturbed = self.found.pop(0)
        return Latency((low + high) / 2, low, high, 0.5, 0.4, 0.6, 30, disturbed, read_passport())


def with_latency(folder: Path, **changes: Any) -> Path:
    told = {
        "latency_ms": 5.0,
        "latency_low_ms": 4.9,
        "latency_high_ms": 5.1,
        "latency_disturbed": False,
        "passport": read_passport().as_dict(),
        "by_program": False,
    }
    return altered_json(folder, "metrics.json", lambda metrics: metrics.update(latency={**told, **changes}))


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        ([(4.95, 5.05, False)], "ok"),
        ([(5.08, 5.3, False)], "ok"),  # the intervals meet
        ([(6.0, 6.1, False), (5.0, 5.2, False)], "ok"),  # the second time
        ([(6.0, 6.1, False), (6.0, 6.1, False)], "failed"),
        ([(4.0, 4.1, False), (4.0, 4.1, False)], "failed"),
        ([(6.0, 6.1, True), (6.0, 6.1, True)], "warning"),
    ],
)
def test_a_latency_is_held_to_its_interval(
    found: list[tuple[float, float, bool]], outcome: str, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = Meter(*found)
    monkeypatch.setattr(LatencyMeter, "open", lambda threads, cache_dir: meter)
    report = verify_bundle(with_latency(bundle))
    assert outcomes(report)["latency"] == outcome
    assert report.verified == (outcome != "failed")
    assert meter.found == []


def test_a_latency_outside_its_own_interval_is_caught_on_any_device(bundle: Path) -> None:
    passport = {**read_passport().as_dict(), "cores": 999}
    check = verify_bundle(with_latency(bundle, passport=passport, latency_ms=3.0)).checks[-1]
    assert (check.outcome, check.said) == ("failed", "metrics.json: latency_ms is 3.0, outside its own 4.9 to 5.1")


def test_a_latency_of_another_device_is_not_measured(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LatencyMeter, "open", lambda threads, cache_dir: pytest.fail("measured"))
    passport = {**read_passport().as_dict(), "cores": 999}
    check = verify_bundle(with_latency(bundle, passport=passport)).checks[-1]
    assert check.outcome == "skipped"
    assert check.said == f"this is another device: cores {os.cpu_count()} (there 999)"
    check = verify_bundle(with_latency(bundle, passport={"device": "my phone"}, by_program=True)).checks[-1]
    assert (check.outcome, check.said) == ("skipped", "it was measured by a program of the user's")
    check = verify_bundle(with_latency(bundle, passport={"cpu": "x"})).checks[-1]
    assert check.outcome == "failed"
    assert "a passport must have the fields" in check.said


def test_a_latency_measured_here_is_found_again(tmp_path: Path) -> None:
    """Real measurements; two in a row may differ on a machine that others use, which is then said."""
    folder = small_bundle(tmp_path / "b", measure=True)
    told = read_bundle(folder).metrics.latency
    assert told is not None
    assert told.latency_low_ms is not None
    assert told.latency_high_ms is not None
    assert told.latency_low_ms <= told.latency_ms <= told.latency_high_ms
    assert told.passport == read_passport().as_dict()
    check = verify_bundle(folder).checks[-1]
    assert check.name == "latency"
    assert "ms (" in check.said


def test_the_command_prints_a_line_a_check_and_its_exit_code_tells(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = small_bundle(tmp_path / "other")
    assert main(["verify", str(bundle), str(other), "--no-latency"]) == 0
    said = capsys.readouterr().out
    assert f"{bundle}: verified\n  files           ok       9, each as manifest.json says" in said
    assert said.endswith("2 of 2 verified\n")
    (bundle / "README.md").write_text("changed")
    assert main(["verify", str(bundle), str(other), "--no-latency"]) == 1
    said = capsys.readouterr().out
    assert f"{bundle}: FAILED\n  files           FAILED   {bundle / 'README.md'}: changed since" in said
    assert said.endswith("1 of 2 verified\n")
    assert main(["verify", str(bundle), "--no-latency", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert not found["verified"]
    assert [check["outcome"] for check in found["bundles"][0]["checks"]] == ["failed"]
    assert main(["verify", str(tmp_path / "absent")]) == 2
    assert "absent must be the folder of a bundle" in capsys.readouterr().err
    assert main(["verify", str(tmp_path)]) == 1
    assert f"{tmp_path / 'manifest.json'}: missing: this is no bundle" in capsys.readouterr().out


def test_verifying_leaves_no_trace(bundle: Path) -> None:
    before = content(bundle)
    verify_bundle(bundle, latency=False)
    assert content(bundle) == before


def test_a_network_is_loaded_from_an_unaltered_bundle_alone(bundle: Path) -> None:
    assert not load_network(bundle).training
    other_weights(bundle)
    with pytest.raises(ValueError, match="weights.safetensors: changed since it was written"):
        load_network(bundle)


def test_a_failure_of_any_kind_is_a_line(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(verifying, "judge_madds", fails)
    assert failures(bundle) == ["MemoryError: no room"]


def test_a_graph_that_never_ends_is_told_and_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.mutations import endless_graph

    folder = small_bundle(tmp_path / "b")
    path = folder / "model.onnx"
    path.write_bytes(endless_graph(path))
    write_manifest(folder, read_manifest(folder))
    report = {one.name: one for one in verify_bundle(folder).checks}
    assert report["model.onnx"] == ("model.onnx", "failed", "model.onnx holds Loop, which mfsearch never writes")
    assert report["latency"].outcome == "skipped"
    with pytest.raises(ValueError, match="must answer in 2 s, and did not"):
        run_apart(path, [np.zeros((1, 3, 32, 32), np.float32)], 2.0)


def test_modules_in_the_working_directory_are_not_imported(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bundle.parent / "numpy.py").write_text("raise SystemExit('the working directory was imported')")
    monkeypatch.chdir(bundle.parent)
    assert failures(bundle) == []


def test_a_bundle_given_for_a_network_is_named_as_such(bundle: Path) -> None:
    with pytest.raises(ValueError, match=r"b is a bundle: name its network, .*b/arch\.yaml"):
        find_config(str(bundle), bundle.parent)
