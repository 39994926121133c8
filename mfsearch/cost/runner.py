"""Latency by a user's own program, on a device that only the program can reach.

The contract: the command is split into words like a shell would, and no shell runs. Where a word holds {onnx}, the path
of the ONNX file takes its place; where none does, the file comes on standard input, as `ssh phone ./run_onnx` wants it.
The program prints one JSON object on standard output: "latency_ms", and where it likes "latency_low_ms" with
"latency_high_ms", an interval, and "device", a name. It ends with 0, or with the reason on standard error.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PLACE = "{onnx}"
TIMEOUT_S = 120.0
KEYS = ("latency_ms", "latency_low_ms", "latency_high_ms", "device")
EXAMPLE = '{"latency_ms": 7.9, "latency_low_ms": 7.8, "latency_high_ms": 8.1, "device": "my phone"}'
ANY_DEVICE = ""  # no answer has been heard yet
SHOWN = 300  # characters of what a program said


class RunnerError(RuntimeError):
    """The user's program gave no latency; the message says what it did instead."""


@dataclass(frozen=True)
class RunnerLatency:
    """What a user's program said of one network. It knows no reference network and nothing of what else ran."""

    latency_ms: float
    latency_low_ms: float | None = None
    latency_high_ms: float | None = None
    device: str | None = None
    ratio: None = None
    disturbed: None = None

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, as JSON takes them."""
        return asdict(self)


@dataclass(frozen=True)
class Runner:
    """A user's program that measures ONNX files, see the top of this file.

    device: what the program must call its device, as its first answer did, None where that gave no name: figures of two
    devices are never mixed.
    """

    command: str
    timeout_s: float = TIMEOUT_S
    device: str | None = ANY_DEVICE

    def __post_init__(self) -> None:
        if not 0 < self.timeout_s < math.inf:
            raise ValueError(f"--latency-timeout must be above 0 seconds, got {self.timeout_s}")
        try:
            words = shlex.split(self.command)
        except ValueError as error:
            raise ValueError(f"--latency-cmd must be a command line, got {self.command!r}: {error}") from None
        if not words:
            raise ValueError(f"--latency-cmd must be a command line, got {self.command!r}")
        if shutil.which(words[0]) is None:
            raise ValueError(f"--latency-cmd: there is no program {words[0]!r} here")

    def measure(self, onnx_path: Path) -> RunnerLatency:
        """Return what the program says of the network in an ONNX file; RunnerError where it says nothing usable."""
        words = [word.replace(PLACE, str(onnx_path)) for word in shlex.split(self.command)]
        by_path = PLACE in self.command
        with Path(os.devnull if by_path else onnx_path).open("rb") as given:
            # a session of its own: Ctrl-C in the terminal is ours to act on, and a timeout ends all that it started
            try:
                process = subprocess.Popen(
                    words, stdin=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
                )
            except OSError as error:
                raise RunnerError(f"--latency-cmd must be runnable, got {words[0]!r}: {error.strerror}") from None
        with process:
            try:
                with _ending_with_us(process.pid):
                    said, complaint = process.communicate(timeout=self.timeout_s)
            except subprocess.TimeoutExpired:
                _end(process.pid)
                raise RunnerError(f"--latency-cmd must answer within {self.timeout_s:g} s, it did not") from None
            except BaseException:
                _end(process.pid)
                raise
        if process.returncode != 0:
            reason = _tail(complaint) or "it said nothing on standard error"
            raise RunnerError(f"--latency-cmd must end with 0, got {process.returncode}: {reason}")
        try:
            found = read_answer(said)
        except ValueError as error:
            raise RunnerError(f"--latency-cmd: {error}") from None
        if self.device not in (ANY_DEVICE, found.device):
            began, now = (repr(name) if name else "a device without a name" for name in (self.device, found.device))
            raise RunnerError(f"--latency-cmd must go on measuring on {began}, got {now}")
        return found


def read_answer(said: bytes) -> RunnerLatency:
    """The latency that a program printed; ValueError names what is wrong with it and what is allowed."""
    shown = _tail(said)
    try:
        answer = json.loads(said)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ValueError(f"standard output must be one JSON object like {EXAMPLE}, got {shown!r}")
    unknown = [key for key in answer if key not in KEYS]
    if unknown or "latency_ms" not in answer:
        raise ValueError(f"the JSON object must have latency_ms and may have {', '.join(KEYS[1:])}, got {shown!r}")
    for key in KEYS[:3]:
        value = answer.get(key)
        if not _is_time(value) and (value is not None or key == "latency_ms"):
            raise ValueError(f"{key} must be a number of milliseconds above 0, got {value!r}")
    low, high = answer.get("latency_low_ms"), answer.get("latency_high_ms")
    if (low is None) != (high is None) or (low is not None and not low <= answer["latency_ms"] <= high):
        raise ValueError(f"latency_low_ms and latency_high_ms must both be there and enclose latency_ms, got {shown!r}")
    device = answer.get("device")
    if device is not None and not (isinstance(device, str) and device.strip()):
        raise ValueError(f"device must be a name, got {device!r}")
    return RunnerLatency(**answer)


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


@contextlib.contextmanager
def _ending_with_us(group: int) -> Iterator[None]:
    """However this process ends meanwhile, by SIGKILL too, a program and all that it started end as well: else it would
    go on measuring on a device that the next one takes for free."""
    watch = ["sh", "-c", f"read _; kill -KILL -{group}"]  # the read ends when we do and our end of the pipe closes
    with subprocess.Popen(watch, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True) as guard:
        try:
            yield
        finally:
            guard.kill()


def _end(group: int) -> None:
    """End a program with all that it started, also where the program itself has ended already."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _tail(said: bytes) -> str:
    text = said.decode(errors="replace").strip()
    return text if len(text) <= SHOWN else f"...{text[-SHOWN:]}"
