"""The examples run as their first lines say, each in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_digits_goes_from_a_search_to_a_bundle(tmp_path: Path) -> None:
    """With one short training in the place of six and their longer ones."""
    text = (ROOT / "examples" / "digits.py").read_text(encoding="utf-8")
    shorter = text.replace("trials=6", "trials=1, rungs=Rungs((1,))")
    assert shorter != text
    script = tmp_path / "digits.py"
    script.write_text(f"from mfsearch.proxy.rungs import Rungs\n{shorter}", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "front.html").is_file()
    assert (tmp_path / "found" / "model.onnx").is_file()
    assert " ms [" in done.stdout
