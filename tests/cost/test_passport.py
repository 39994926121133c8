import dataclasses
import json
from pathlib import Path

import onnxruntime
import pytest

from mfsearch.commands.twins import _kept_latencies
from mfsearch.cost import passport as passport_module
from mfsearch.cost.passport import DevicePassport, read_passport
from mfsearch.presets import MF_26M
from mfsearch.study.twins_file import TwinLatencies, TwinLatency

PASSPORT = DevicePassport(
    cpu="Abacus 9 (model 1)",
    cores=4,
    governor="performance",
    threads=1,
    runtime="onnxruntime",
    runtime_version="1.20.0",
    provider="CPUExecutionProvider",
    system="Linux x86_64",
)


def test_passport_of_this_machine_is_complete() -> None:
    passport = read_passport(threads=2)
    assert passport.threads == 2
    assert passport.cores >= 1
    assert (passport.runtime, passport.runtime_version) == ("onnxruntime", onnxruntime.__version__)
    assert passport.provider in onnxruntime.get_available_providers()
    assert all(str(value) for value in passport.as_dict().values())
    assert read_passport(threads=2) == passport


def test_digest_is_short_and_changes_with_every_field() -> None:
    assert len(PASSPORT.digest) == 12
    assert int(PASSPORT.digest, 16) >= 0
    others = [
        DevicePassport.from_dict({**PASSPORT.as_dict(), name: value * 2 if isinstance(value, int) else value + "!"})
        for name, value in PASSPORT.as_dict().items()
    ]
    assert len({PASSPORT.digest, *(other.digest for other in others)}) == 9


def test_passport_survives_json() -> None:
    copied = DevicePassport.from_dict(json.loads(json.dumps(PASSPORT.as_dict())))
    assert copied == PASSPORT
    assert copied.digest == PASSPORT.digest


def test_a_passport_with_other_fields_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must have the fields \['cpu', .* got \['cpu', 'clock'\]"):
        DevicePassport.from_dict({"cpu": "Abacus", "clock": 1})


def test_a_system_that_tells_nothing_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(passport_module, "CPUINFO", tmp_path / "absent")
    monkeypatch.setattr(passport_module, "GOVERNOR", tmp_path / "absent")
    monkeypatch.setattr("platform.processor", lambda: "")
    passport = read_passport()
    assert (passport.cpu, passport.governor) == ("unknown", "unknown")


@pytest.mark.parametrize(
    ("cpuinfo", "cpu"),
    [
        (
            "processor\t: 0\nmodel\t\t: 17\ncpu family\t: 25\nmodel name\t: AMD EPYC\nstepping\t: 1\n\nprocessor : 1\n",
            "AMD EPYC (family 25, model 17, stepping 1)",
        ),
        (
            "processor\t: 0\nBogoMIPS\t: 50\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n",
            "arm (implementer 0x41, part 0xd0c)",
        ),
        ("", "arm"),
        ("\n\nno colon\n", "arm"),
    ],
)
def test_cpu_tells_generations_of_one_name_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cpuinfo: str, cpu: str
) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    (tmp_path / "governor").write_text("powersave\n")
    monkeypatch.setattr(passport_module, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(passport_module, "GOVERNOR", tmp_path / "governor")
    monkeypatch.setattr("platform.processor", lambda: "arm")
    passport = read_passport()
    assert (passport.cpu, passport.governor) == (cpu, "powersave")


def test_no_threads_are_refused() -> None:
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
        read_passport(threads=0)


def test_latencies_of_twins_kept_by_another_device_do_not_count(tmp_path: Path) -> None:
    path, here = tmp_path / "latencies.json", read_passport()
    twin = TwinLatency(1.0, 0.9, 1.1, 6.0, 5.9, 6.1, 1.2, 1.1, 1.3, rounds=20, disturbed=False)
    kept = TwinLatencies(MF_26M.arch_id, here.as_dict(), 5.0, {"a": twin})
    path.write_text(json.dumps(kept.to_dict()))
    assert _kept_latencies(path, MF_26M, here) == kept
    other = dataclasses.replace(here, runtime_version="0.0")
    assert _kept_latencies(path, MF_26M, other) == TwinLatencies(MF_26M.arch_id, other.as_dict(), None, {})
