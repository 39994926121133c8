"""A tiny network as a bundle, and a few images: a training of a second."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mfsearch.config import BlockConfig, HeadConfig, LiteConfig, MobileFormerConfig, TokenConfig
from mfsearch.export.bundle import write_bundle
from mfsearch.export.origin import of_config
from mfsearch.train.train_options import Request

TINY = MobileFormerConfig(
    tokens=TokenConfig(2, 32),
    stem=8,
    lite=LiteConfig(16, 8, 2),
    blocks=(BlockConfig(24, 12, 2), BlockConfig(36, 12), BlockConfig(36, 16, 2)),
    head=HeadConfig(64, 64),
    classes=2,
    resolution=32,
)
# 43 training images of the fixture's 48 in two classes: 5 steps an epoch. Everything that draws is on.
CHANGES: dict[str, Any] = {
    "epochs": 3,
    "batch": 8,
    "micro_batch": 4,
    "reprob": 0.5,
    "drop_path": 0.2,
    "cutmix": 0.5,
    "model_ema": True,
    "model_ema_warmup": True,
}


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """The bundle of the tiny network for so many classes; tests take copies."""
    written: dict[int, Path] = {}

    def make(classes: int) -> Path:
        if classes not in written:
            written[classes] = tmp_path_factory.mktemp("made") / "tiny"
            write_bundle(of_config("tiny", dataclasses.replace(TINY, classes=classes)), written[classes])
        return written[classes]

    return make


@pytest.fixture
def bundle(made: Callable[[int], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made(2), tmp_path / "tiny"))


@pytest.fixture
def request_of(image_folder: Path) -> Callable[..., Request]:
    """A request for a short training on the fixture's images."""

    def make(folder: Path, **other: Any) -> Request:
        asked: dict[str, Any] = {"bundle": folder, "data": str(image_folder), "changes": CHANGES} | other
        return Request(**asked)

    return make
