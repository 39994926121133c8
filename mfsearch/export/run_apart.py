"""Runs an ONNX file in a process of its own, because a foreign graph may never end or may crash ONNX Runtime."""

import io
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

RUN_SECONDS = 30.0  # for an ONNX file to answer

Array = np.ndarray[Any, Any]


def run_apart(path: Path, batches: Sequence[Array], seconds: float = RUN_SECONDS) -> list[Array]:
    """The first output for each batch of images; ValueError if there is no answer in time."""
    given, taken = io.BytesIO(), io.BytesIO()
    np.savez(given, *batches)
    command = [sys.executable, "-P", "-c", _RUNNER, str(path)]
    try:
        ran = subprocess.run(command, input=given.getbuffer(), capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise ValueError(f"{path.name} must answer in {seconds:g} s, and did not") from None
    if ran.returncode:
        said = ran.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise ValueError(f"{path.name} does not run in ONNX Runtime: {said or f'code {ran.returncode}'!s:.200}")
    taken.write(ran.stdout)
    taken.seek(0)
    with np.load(taken) as answers:
        return [answers[name] for name in answers.files]


_RUNNER = """
import io, sys
import numpy as np, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads, options.log_severity_level = 1, 3  # errors
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
given, taken = np.load(io.BytesIO(sys.stdin.buffer.read())), io.BytesIO()
np.savez(taken, *(session.run(None, {"image": given[name]})[0] for name in given.files))
sys.stdout.buffer.write(taken.getvalue())
"""
