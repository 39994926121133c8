"""Shared fixtures: one torch thread, a cache of its own, small images on disk."""

from pathlib import Path

import numpy as np
import pytest

TINY_SPACE = Path(__file__).parent / "tiny_space.yaml"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train/{dark,light}/*.png: 24 small images of each of two classes that a network can tell apart."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name, level in (("dark", 60), ("light", 190)):
        place = folder / "train" / name
        place.mkdir(parents=True)
        for k in range(24):
            pixels = rng.normal(level, 30, (20, 20, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(place / f"{k}.png")
    return folder


@pytest.fixture
def cache_dir(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The latency baseline is kept here, not in the user's cache."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("MFSEARCH_CACHE", str(folder))
    return folder
