"""A tiny network and a few digits: a short training of a second."""

import pytest
import torch

from mfsearch.config import BlockConfig, HeadConfig, LiteConfig, MobileFormerConfig, TokenConfig
from mfsearch.data import load_data
from mfsearch.proxy.recipe import Recipe
from mfsearch.proxy.short_train import DeviceData

TINY = MobileFormerConfig(
    tokens=TokenConfig(2, 32),
    stem=8,
    lite=LiteConfig(16, 8, 2),
    blocks=(BlockConfig(24, 12, 2), BlockConfig(36, 12), BlockConfig(36, 16, 2)),
    head=HeadConfig(64, 64),
)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits() -> DeviceData:
    return DeviceData(load_data("digits", resolution=32, samples=256, val_samples=120), torch.device("cpu"))


@pytest.fixture
def tiny() -> MobileFormerConfig:
    return TINY


@pytest.fixture
def brief() -> Recipe:
    """12 steps in an epoch and a half."""
    return Recipe(resolution=32, epochs=1.5, batch=32, crop=2, lr=1e-2)
