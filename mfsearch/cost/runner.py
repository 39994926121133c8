"""Latency measured by a user's own program, for example on a phone.

The contract: the command is split into words as in a shell, but no shell runs. {onnx} in a word is replaced by the path
of the ONNX file; without {onnx} the file is sent to standard input, as in `ssh phone ./run_onnx`. The program prints
one JSON object on standard output with "latency_ms"; optional are "latency_low_ms" and "latency_high_ms" (an interval)
and "device" (a name). It exits with 0, or with the reason on standard error.
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
ANY_DEVICE = ""  # before the first answer
SHOWN = 300  # characters of a program's output in a message


class RunnerError(RuntimeError):
    """The user's program gave no latency; the message says why."""


@dataclass(frozen=True)
class RunnerLatency:
    """The latency that a user's program reported for one network; it has no reference ratio and no `disturbed`."""

    latency_ms: float
    latency_low_ms: float | None = None
    latency_high_ms: float | None = None
    device: str | None = None
    ratio: None = None
    disturbed: None = None

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Runner:
    """A user's program that measures ONNX files; the contract is at the top of this file.

    device: the name in the program's first answer, None if it gave none. Later answers must repeat it, so that figures
    of two devices are never mixed.
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
            raise ValueError(f"--latency-cmd must start with a program on this machine, got {words[0]!r}")

    def measure(self, onnx_path: Path) -> RunnerLatency:
        """Return the program's answer for the network in an ONNX file; raises RunnerError without a usable answer."""
        words = [word.replace(PLACE, str(onnx_path)) for word in shlex.split(self.command)]
        with Path(os.devnull if PLACE in self.command else onnx_path).open("rb") as given:
            # A session of its own: we handle Ctrl-C ourselves, and a timeout ends all of the program's processes.
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
                raise RunnerError(f"--latency-cmd must answer within {self.timeout_s:g} s, and did not") from None
            except BaseException:
                _end(process.pid)
                raise
        if process.returncode != 0:
            reason = _tail(complaint) or "standard error is empty"
            raise RunnerError(f"--latency-cmd must exit with 0, got {process.returncode}: {reason}")
        try:
            latency = read_answer(said)
        except ValueError as error:
            raise RunnerError(f"--latency-cmd: {error}") from None
        if self.device not in (ANY_DEVICE, latency.device):
            first, now = (repr(name) if name else "a device without a name" for name in (self.device, latency.device))
            raise RunnerError(f"--latency-cmd must always measure on the same device, {first}, got {now}")
        return latency


def read_answer(said: bytes) -> RunnerLatency:
    """The latency that a program printed; ValueError states the rule and the wrong value."""
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
            raise ValueError(f"{key} must be a number of milliseconds above 0, got {value!r:.200}")
    low, high = answer.get("latency_low_ms"), answer.get("latency_high_ms")
    if (low is None) != (high is None) or (low is not None and not low <= answer["latency_ms"] <= high):
        raise ValueError(f"latency_low_ms and latency_high_ms must both be given and enclose latency_ms, got {shown!r}")
    device = answer.get("device")
    if device is not None and not (isinstance(device, str) and device.strip()):
        raise ValueError(f"device must be a name, got {device!r:.200}")
    return RunnerLatency(**answer)


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


@contextlib.contextmanager
def _ending_with_us(group: int) -> Iterator[None]:
    """Kill the program and its children if this process ends inside, even by SIGKILL. Otherwise the program would go on
    measuring on a device that the next program takes for free."""
    watch = ["sh", "-c", f"read _; kill -KILL -{group}"]  # our end closes the pipe, which ends the read
    with subprocess.Popen(watch, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True) as guard:
        try:
            yield
        finally:
            guard.kill()


def _end(group: int) -> None:
    """End a program and its children, even if the program itself has ended already."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _tail(said: bytes) -> str:
    text = said.decode(errors="replace").strip()
    return text if len(text) <= SHOWN else f"...{text[-SHOWN:]}"
