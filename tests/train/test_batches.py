"""Which images a process sees, and that loader processes and resuming do not change them."""

import itertools

import pytest
import torch
from torch import Tensor

from mfsearch.train.batches import Order, eval_loader, train_loader
from mfsearch.train.draws import epoch_order, generators_kept
from mfsearch.train.images import load_images
from mfsearch.train.parts import eval_transform, train_transform
from mfsearch.train.train_options import make_settings
from tests.train.conftest import CHANGES

SETTINGS = make_settings({"lr": 1e-3, "aa": "rand-m9-mstd0.5"}, 32, CHANGES)


def order(rank: int = 0, size: int = 1, count: int = 43) -> Order:
    return Order(count, batch=8, micro_batch=4, rank=rank, size=size, seed=3)


def batches(workers: int, first: int = 0) -> list[tuple[Tensor, Tensor]]:
    images = load_images("digits", seed=0, samples=43)
    own = order()
    own.epoch, own.first = 1, first
    loader = train_loader(images.train, train_transform(SETTINGS, flip=True), own, workers=workers, pinned=False)
    with generators_kept():
        return list(loader)


def test_a_step_is_the_next_images_of_the_order_in_parts() -> None:
    wanted = epoch_order(43, 3, 0).tolist()
    got = [index for keys in order() for _, index in keys]
    assert got == wanted[:40]  # five whole steps; the three images left over wait for another epoch
    assert [len(keys) for keys in order()] == [4] * 10
    assert {epoch for keys in order() for epoch, _ in keys} == {0}


def test_processes_share_the_parts_of_every_step() -> None:
    alone, one, two = list(order()), list(order(0, 2)), list(order(1, 2))
    assert len(one) == len(two) == 5
    assert [*itertools.chain(*zip(one, two, strict=True))] == alone


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_with_loader_processes_and_from_the_middle(workers: int) -> None:
    whole = batches(0)
    found = batches(workers, first=2)
    assert len(found) == len(whole) - 4
    for (images, labels), (other, of_other) in zip(found, whole[4:], strict=True):
        assert torch.equal(images, other)
        assert torch.equal(labels, of_other)


def test_validation_images_are_all_seen_once() -> None:
    images = load_images("digits", seed=0)
    seen = []
    for rank in range(3):
        loader = eval_loader(
            images.val, eval_transform(SETTINGS, SETTINGS.size), rank=rank, size=3, workers=0, pinned=False
        )
        seen.append(torch.cat([labels for _, labels in loader]))
    assert sum(map(len, seen)) == 360
    assert torch.cat(seen).sort().values.tolist() == sorted(images.val.labels.tolist())
