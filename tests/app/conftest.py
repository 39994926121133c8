"""The pages see the studies that a test made, and none that come with mfsearch."""

import pytest


@pytest.fixture(autouse=True)
def _no_committed_studies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mfsearch.commands.explore.committed_results", lambda: None)
