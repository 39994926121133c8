"""A user's own runner: what it is given, what it may answer, and every way in which it can fail."""

import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mfsearch.cost.onnx_export import export_onnx
from mfsearch.cost.runner import Runner, RunnerError, RunnerLatency, read_answer

EXAMPLE = Path(__file__).parents[2] / "examples" / "run_onnx.py"


def python(code: str, *words: str) -> str:
    """The command line that runs some Python."""
    return shlex.join([sys.executable, "-c", code, *words])


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    path = tmp_path / "a network.onnx"  # with a space
    path.write_bytes(b"the network")
    return path


def test_the_file_comes_on_standard_input_where_no_place_is_named(onnx_file: Path) -> None:
    code = "import sys; assert sys.stdin.buffer.read() == b'the network'; print('{\"latency_ms\": 7}')"
    assert Runner(python(code)).measure(onnx_file) == RunnerLatency(7)


def test_the_path_takes_the_place_that_is_named(onnx_file: Path) -> None:
    code = (
        "import json, pathlib, sys; assert not sys.stdin.read(); path = sys.argv[1].removeprefix('--model=');"
        "assert pathlib.Path(path).read_bytes() == b'the network'; print(json.dumps({'latency_ms': 7, 'device': path}))"
    )
    assert Runner(python(code, "--model={onnx}")).measure(onnx_file) == RunnerLatency(7, device=str(onnx_file))


def test_the_example_measures_from_standard_input_and_from_a_file(tmp_path: Path) -> None:
    from torch import nn

    path = tmp_path / "small.onnx"
    export_onnx(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), 32, path)
    command = shlex.join([sys.executable, str(EXAMPLE)])
    for each in (command, command + " {onnx}"):
        found = Runner(each).measure(path)
        assert found.latency_low_ms is not None
        assert found.latency_high_ms is not None
        assert 0 < found.latency_low_ms <= found.latency_ms <= found.latency_high_ms < 1000
        assert "onnxruntime" in (found.device or "")


def test_a_full_answer_is_read() -> None:
    answer = {"latency_ms": 7.9, "latency_low_ms": 7.5, "latency_high_ms": 8.1, "device": "phone"}
    found = read_answer(json.dumps(answer).encode())
    assert found == RunnerLatency(7.9, 7.5, 8.1, "phone")
    assert found.as_dict() == answer | {"ratio": None, "disturbed": None}


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("", "standard output must be one JSON object like .*, got ''"),
        ("7.9 ms", "must be one JSON object like .*, got '7.9 ms'"),
        ("7.9", "must be one JSON object like .*, got '7.9'"),
        ('{"latency_ms": 7}\n{"latency_ms": 7}', "must be one JSON object"),
        ("{}", "must have latency_ms and may have latency_low_ms, latency_high_ms, device, got '{}'"),
        ('{"latency_ms": 7, "latency_hi_ms": 8}', "must have latency_ms and may have"),
        ('{"latency_ms": "7"}', "latency_ms must be a number of milliseconds above 0, got '7'"),
        ('{"latency_ms": true}', "latency_ms must be a number of milliseconds above 0, got True"),
        ('{"latency_ms": null}', "latency_ms must be a number of milliseconds above 0, got None"),
        ('{"latency_ms": -1}', "latency_ms must be a number of milliseconds above 0, got -1"),
        ('{"latency_ms": 0}', "latency_ms must be a number of milliseconds above 0, got 0"),
        ('{"latency_ms": NaN}', "latency_ms must be a number of milliseconds above 0, got nan"),
        ('{"latency_ms": 1e999}', "latency_ms must be a number of milliseconds above 0, got inf"),
        ('{"latency_ms": 7, "latency_low_ms": -7, "latency_high_ms": 8}', "latency_low_ms must be a number"),
        ('{"latency_ms": 7, "latency_low_ms": 6}', "must both be given and enclose latency_ms"),
        ('{"latency_ms": 7, "latency_low_ms": 8, "latency_high_ms": 9}', "must both be given and enclose latency_ms"),
        ('{"latency_ms": 7, "device": 3}', "device must be a name, got 3"),
        ('{"latency_ms": 7, "device": " "}', "device must be a name, got ' '"),
    ],
)
def test_a_wrong_answer_is_named(said: str, message: str, onnx_file: Path) -> None:
    with pytest.raises(ValueError, match=message):
        read_answer(said.encode())
    with pytest.raises(RunnerError, match=rf"--latency-cmd: .*{message}"):
        Runner(python(f"print({said!r})")).measure(onnx_file)


def test_a_failing_program_is_quoted(onnx_file: Path) -> None:
    code = "import sys; print('{\"latency_ms\": 7}'); sys.exit('phone not found')"
    with pytest.raises(RunnerError, match="must exit with 0, got 1: phone not found"):
        Runner(python(code)).measure(onnx_file)
    with pytest.raises(RunnerError, match="must exit with 0, got -9: standard error is empty"):
        Runner(python("import os; os.kill(os.getpid(), 9)")).measure(onnx_file)


def running() -> list[str]:
    """The command lines of all processes."""
    return subprocess.run(["ps", "-ww", "-eo", "args="], capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.parametrize("then", ["sleep 60.123", "echo 7"])  # it hangs itself, or has ended
def test_a_program_that_hangs_is_ended_with_all_that_it_started(then: str, onnx_file: Path) -> None:
    # the child of a shell holds standard output open, as what an ssh started would
    start = time.monotonic()
    with pytest.raises(RunnerError, match=r"must answer within 0\.5 s, and did not"):
        Runner(f"sh -c 'sleep 60.123 & {then}'", timeout_s=0.5).measure(onnx_file)
    assert time.monotonic() - start < 10
    assert "sleep 60.123" not in running()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_program_ends_with_the_process_that_asked_it(how: signal.Signals) -> None:
    """As a worker is ended while it measures."""
    code = "import sys; from mfsearch.cost.runner import Path, Runner; Runner(sys.argv[1]).measure(Path())"
    asked = "sh -c 'sleep 60.321 & sleep 60.321' {onnx}"
    with subprocess.Popen([sys.executable, "-c", code, asked]) as worker:
        wait_until(lambda: running().count("sleep 60.321") == 2)
        time.sleep(0.2)
        worker.send_signal(how)
    wait_until(lambda: "sleep 60.321" not in running())


def wait_until(so: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not so():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_another_device_than_before_is_refused(onnx_file: Path) -> None:
    phone = python('print(\'{"latency_ms": 7, "device": "phone"}\')')
    unnamed = python("print('{\"latency_ms\": 7}')")
    for command, device in ((phone, "phone"), (unnamed, None)):
        assert Runner(command).measure(onnx_file).device == device
        assert Runner(command, device=device).measure(onnx_file).device == device
    with pytest.raises(RunnerError, match="must always measure on the same device, 'tablet', got 'phone'"):
        Runner(phone, device="tablet").measure(onnx_file)
    with pytest.raises(
        RunnerError, match="must always measure on the same device, a device without a name, got 'phone'"
    ):
        Runner(phone, device=None).measure(onnx_file)
    with pytest.raises(
        RunnerError, match="must always measure on the same device, 'phone', got a device without a name"
    ):
        Runner(unnamed, device="phone").measure(onnx_file)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("", "--latency-cmd must be a command line, got ''"),
        ("ssh 'phone", "--latency-cmd must be a command line, got .*: No closing quotation"),
        ("no-such-program {onnx}", "must start with a program on this machine, got 'no-such-program'"),
    ],
)
def test_a_command_that_cannot_be_run_is_wrong_use(command: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Runner(command)


def test_a_program_that_the_system_refuses_is_named(onnx_file: Path, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF")
    program.chmod(0o755)
    runner = Runner(f"{shlex.quote(str(program))} 7")
    with pytest.raises(RunnerError, match=f"--latency-cmd must be runnable, got '{program}': Exec format error"):
        runner.measure(onnx_file)
    program.unlink()
    with pytest.raises(RunnerError, match=f"got '{program}': No such file or directory"):
        runner.measure(onnx_file)


def test_a_timeout_of_nothing_is_wrong_use() -> None:
    with pytest.raises(ValueError, match="--latency-timeout must be above 0 seconds, got 0"):
        Runner("true", timeout_s=0)
