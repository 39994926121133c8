"""Draws belong to their place: nothing that happened before moves them."""

import random

import numpy as np
import torch

from mfsearch.train.draws import epoch_order, generators_kept, seed_draws


def drawn() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002


def test_draws_depend_on_their_place_alone() -> None:
    with generators_kept():
        seed_draws(1, "image", 2, 3)
        first = drawn()
        drawn()
        seed_draws(1, "image", 2, 3)
        assert drawn() == first
        others = []
        for place in ((2, "image", 2, 3), (1, "step", 2, 3), (1, "image", 3, 2), (1, "image", 23)):
            seed_draws(*place)
            others.append(drawn())
        assert len({first, *others}) == 5


def test_an_epoch_is_a_permutation_of_its_own() -> None:
    orders = [epoch_order(100, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(order.tolist()) == list(range(100)) for order in orders)
    assert len({tuple(order.tolist()) for order in orders}) == 4
    assert (epoch_order(100, 0, 0) == orders[0]).all()
    assert epoch_order(1, 0, 0).tolist() == [0]


def test_the_callers_generators_are_kept() -> None:
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    expected = drawn()
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    with generators_kept():
        seed_draws(0, "x")
        drawn()
    assert drawn() == expected
