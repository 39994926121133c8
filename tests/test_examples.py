"""The examples run as their first lines say, each in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_digits_goes_from_a_search_to_a_bundle(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "digits.py"), str(tmp_path)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {"front.html", "found", "results"} <= {path.name for path in tmp_path.iterdir()}
    assert (tmp_path / "found" / "model.onnx").is_file()
    assert " ms [" in done.stdout
