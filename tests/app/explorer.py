"""The explorer over made-up or real studies, as a visitor opens it."""

import sys
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from benchmarks.simulated_study import write_study
from mfsearch.commands.explore import app_path
from mfsearch.study.manifest import Manifest
from mfsearch.study.trial import Trial
from tests.analysis.rows import MANIFEST, manifest

REFERENCE = Path(__file__).resolve().parents[2] / "results" / "reference"
BUDGET = {"low": 1, "high": 150_000_000, "stated": False}
PLAIN = manifest(objectives=["top1", "madds"], budget=BUDGET, latency_limit_ms=None, rungs=None)  # asks for little


class Explorer:
    """The explorer over a folder of studies; page: the one that it opens at where a link names none."""

    def __init__(self, results: Path, monkeypatch: pytest.MonkeyPatch, page: str | None = None) -> None:
        self.results, self.monkeypatch, self.page = results, monkeypatch, page
        monkeypatch.setitem(
            sys.modules, "__main__", sys.modules["__main__"]
        )  # AppTest puts the page there and leaves it

    def add(self, name: str, trials: list[Trial], manifest: Manifest = MANIFEST) -> Path:
        folder = self.results / name
        write_study(folder, manifest, trials)
        return folder

    def open(self, *args: str, **query: str) -> AppTest:
        self.monkeypatch.setattr(sys, "argv", ["explorer.py", f"--results={self.results}", *args])
        app = AppTest.from_file(app_path(), default_timeout=60)
        app.query_params.update(({"page": self.page} if self.page else {}) | query)
        app.run()
        assert not app.exception, app.exception[0].value
        return app


def texts(app: AppTest) -> str:
    """What stands on the page as text, Markdown or caption."""
    return "\n".join([element.value for element in (*app.text, *app.markdown, *app.caption)])
