"""Damaged and hostile files of every kind through the command line: no traceback, no hang, no flood, no silence."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_a_hundred_mutated_files_end_as_they_should() -> None:
    command = [sys.executable, "benchmarks/mutations.py", "--count", "100", "--seed", "1", "--json"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.stdout, run.stderr
    found = json.loads(run.stdout)
    assert found["faults"] == []
    assert found["peak_mb"] < 1024
