"""Random draws of a training, each seeded by the training's seed and its place, never by earlier draws.

An image's crop depends on (seed, epoch, image), a batch's Mixup and dropout on (seed, step, part). So loader processes,
a kill and the number of training processes change no draw, and no generator's state has to be saved.
"""

import contextlib
import hashlib
import random
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray


def seed_draws(seed: int, *place: int | str) -> None:
    """Seed the global generators of Python, NumPy and torch, which timm draws from, by a place in the training."""
    value = _value(seed, *place)
    random.seed(value)
    np.random.seed(value % 2**32)  # noqa: NPY002  (timm draws from NumPy's global generator)
    torch.manual_seed(value)


def epoch_order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order of an epoch: a permutation of 0..count-1."""
    return np.random.default_rng(_value(seed, "order", epoch)).permutation(count)


@contextlib.contextmanager
def generators_kept() -> Iterator[None]:
    """Restore the global generators afterwards."""
    python, numpy, of_torch = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.set_rng_state(of_torch)


def _value(seed: int, *place: int | str) -> int:
    return int.from_bytes(hashlib.sha256(repr((seed, *place)).encode()).digest()[:7], "big")
