"""Stratified random choices from labels and a seed, made before any image is decoded."""

import numpy as np
from numpy.typing import NDArray

from mfsearch.data.image_data import Indices, Labels


def class_shares(sizes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Split `count` over the classes: one each, then in proportion by largest remainder; at most a class's size.

    Needs len(sizes) <= count <= sum(sizes) and no empty class. Integer arithmetic; ties go to the lower class.
    """
    spare = sizes - 1
    wanted = (count - len(sizes)) * spare
    whole = max(1, int(spare.sum()))
    shares = 1 + wanted // whole
    left = count - int(shares.sum())
    shares[np.argsort(-(wanted % whole), kind="stable")[:left]] += 1
    return shares


def stratified_subset(labels: Labels, shares: NDArray[np.int64], seed: int) -> Indices:
    """Sorted indices of shares[c] items of each class c. With one seed, a larger share contains a smaller one."""
    rng = np.random.default_rng(seed)
    by_class = [rng.permutation(np.flatnonzero(labels == c))[:share] for c, share in enumerate(shares)]
    return np.sort(np.concatenate(by_class)).astype(np.int64)


def stratified_split(labels: Labels, fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Sorted indices of `fraction` of the items, and of the rest; each part has at least one item of every class.

    Needs labels 0..K-1 with at least two items each.
    """
    sizes = np.bincount(labels)
    count = int(np.clip(round(fraction * len(labels)), len(sizes), len(labels) - len(sizes)))
    part = stratified_subset(labels, class_shares(sizes - 1, count), seed)
    return part, np.setdiff1d(np.arange(len(labels)), part)
