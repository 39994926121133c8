"""With no study of one's own the explorer opens on those that come with mfsearch."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mfsearch.commands import explore
from tests.app.explorer import REFERENCE, Explorer


def test_the_first_look_is_never_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mfsearch.commands.explore.committed_results", lambda: REFERENCE)
    explorer = Explorer(tmp_path / "results", monkeypatch)
    app = explorer.open()
    others = ["fast151", "cifar10-150M-10ms", "living151-random", "fast151-random"]
    assert app.selectbox(key="study").options == ["living151", *others]
    assert "these come with mfsearch" in app.caption[0].value
    assert app.get("plotly_chart")
    explorer.add("mine", [])
    again = explorer.open()
    assert again.selectbox(key="study").value == "mine"
    assert "fast151" in again.selectbox(key="study").options
    assert not [text for text in again.caption if "come with mfsearch" in text.value]


def test_studies_lie_in_a_wheel_or_in_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert explore.committed_results() == REFERENCE
    monkeypatch.setattr("mfsearch.commands.explore.__file__", str(tmp_path / "mfsearch" / "commands" / "explore.py"))
    assert explore.committed_results() is None
    (tmp_path / "mfsearch" / "_results" / "reference").mkdir(parents=True)
    assert explore.committed_results() == tmp_path / "mfsearch" / "_results" / "reference"


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_the_server_ends_with_the_command(tmp_path: Path, end: signal.Signals) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mfsearch", "explore", "--results", str(tmp_path), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ, start_new_session=True) as process:
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        process.send_signal(end)  # to the command alone, not to its group
        try:
            assert process.wait(30) == 0
        finally:
            os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else None
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
