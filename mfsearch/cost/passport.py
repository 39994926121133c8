"""The device passport: latencies are comparable only if their passports are equal."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

CPUINFO = Path("/proc/cpuinfo")
GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


@dataclass(frozen=True)
class DevicePassport:
    """The machine and the runtime behind a latency; fields that the system does not report are "unknown"."""

    cpu: str
    cores: int
    governor: str  # of the clock frequency
    threads: int
    runtime: str
    runtime_version: str
    provider: str
    system: str

    @property
    def digest(self) -> str:
        """Twelve hex digits, the same for equal passports."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()[:12]

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DevicePassport:
        """The passport that as_dict() wrote; raises ValueError on a missing or unknown field."""
        names = [field.name for field in fields(cls)]
        if set(values) != set(names):
            raise ValueError(f"a passport must have the fields {names}, got {list(values)}")
        return cls(**values)


def read_passport(threads: int = 1) -> DevicePassport:
    """Return the passport of this machine, for ONNX Runtime on its CPU with `threads` threads."""
    if threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    import onnxruntime

    return DevicePassport(
        cpu=_cpu_name(),
        cores=os.cpu_count() or 1,
        governor=_read(GOVERNOR).strip() or "unknown",
        threads=threads,
        runtime="onnxruntime",
        runtime_version=onnxruntime.__version__,
        provider="CPUExecutionProvider",
        system=f"{platform.system() or 'unknown'} {platform.machine() or 'unknown'}",
    )


def _cpu_name() -> str:
    """The processor's name with family, model and stepping: virtual machines name every generation "AMD EPYC"."""
    values: dict[str, str] = {}
    for line in _read(CPUINFO).split("\n\n")[0].splitlines():
        key, _, value = line.partition(":")
        values[key.strip()] = value.strip()
    name = values.get("model name") or platform.processor() or "unknown"
    # ARM reports the last three instead of the first three
    keys = ("cpu family", "model", "stepping", "CPU implementer", "CPU part", "CPU revision")
    details = [f"{key.removeprefix('cpu ').removeprefix('CPU ')} {values[key]}" for key in keys if values.get(key)]
    return f"{name} ({', '.join(details)})" if details else name


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
