"""The batches of a training, and the loaders that open and transform their images."""

import os
import signal
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from mfsearch.train.draws import epoch_order, seed_draws
from mfsearch.train.images import Split
from mfsearch.train.parts import Transform

EVAL_BATCH = 256

Key = tuple[int, int]  # epoch, index of the image


class _TrainSplit(Dataset[tuple[Tensor, int]]):
    """Training images; random transforms depend on (seed, epoch, index) alone."""

    def __init__(self, split: Split, transform: Transform, seed: int) -> None:
        self.split, self.transform, self.seed = split, transform, seed

    def __getitem__(self, key: Key) -> tuple[Tensor, int]:
        epoch, index = key
        seed_draws(self.seed, "image", epoch, index)
        return self.transform(self.split.open(index)), int(self.split.labels[index])


class _Plain(Dataset[tuple[Tensor, int]]):
    """Validation images."""

    def __init__(self, split: Split, transform: Transform) -> None:
        self.split, self.transform = split, transform

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.split.open(index)), int(self.split.labels[index])


class Order(Sampler[list[Key]]):
    """The batches of one process from step `first` of an epoch; set epoch and first before iterating.

    The images of a step are split into parts of micro_batch. Part k x size + rank is the k-th of process `rank`, so the
    parts do not depend on the number of processes. An incomplete last step of an epoch is dropped.
    """

    def __init__(self, count: int, *, batch: int, micro_batch: int, rank: int, size: int, seed: int) -> None:
        self.count, self.batch, self.micro_batch, self.seed = count, batch, micro_batch, seed
        self.parts = range(rank, batch // micro_batch, size)
        self.steps = count // batch
        self.epoch, self.first = 0, 0

    def __iter__(self) -> Iterator[list[Key]]:
        order = epoch_order(self.count, self.seed, self.epoch).tolist()
        for step in range(self.first, self.steps):
            for part in self.parts:
                start = step * self.batch + part * self.micro_batch
                yield [(self.epoch, index) for index in order[start : start + self.micro_batch]]

    def __len__(self) -> int:
        return (self.steps - self.first) * len(self.parts)


def train_loader(
    split: Split, transform: Transform, order: Order, *, workers: int, pinned: bool
) -> DataLoader[tuple[Tensor, int]]:
    return DataLoader(
        _TrainSplit(split, transform, order.seed),
        batch_sampler=order,
        persistent_workers=workers > 0,
        **_loading(workers, pinned),
    )


def eval_loader(
    split: Split, transform: Transform, *, rank: int, size: int, workers: int, pinned: bool
) -> DataLoader[tuple[Tensor, int]]:
    """Every size-th image, starting at `rank`."""
    mine = range(rank, len(split.labels), size)
    batches = [list(mine[k : k + EVAL_BATCH]) for k in range(0, len(mine), EVAL_BATCH)]
    return DataLoader(_Plain(split, transform), batch_sampler=batches, **_loading(workers, pinned))


def _loading(workers: int, pinned: bool) -> Mapping[str, Any]:
    return {"num_workers": workers, "pin_memory": pinned, "worker_init_fn": _begin_worker}


def _begin_worker(_: int) -> None:
    """Shield a loader from signals to the terminal or group: the training itself ends it after its checkpoint."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
