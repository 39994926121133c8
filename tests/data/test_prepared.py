"""Real CIFAR-10 and the flowers folder, where MFSEARCH_DATA says that they are prepared."""

import os
from pathlib import Path

import numpy as np
import pytest

from mfsearch.data import load_data
from mfsearch.data.cifar import cifar_source
from mfsearch.data.folder import folder_source
from mfsearch.data.pixels import channel_mean_std

PREPARED = Path(os.environ.get("MFSEARCH_DATA", "nowhere"))
needs_cifar = pytest.mark.skipif(
    not (PREPARED / "cifar-10-batches-bin").is_dir(), reason="no CIFAR-10 in MFSEARCH_DATA"
)
needs_flowers = pytest.mark.skipif(not (PREPARED / "flowers5").is_dir(), reason="no flowers5 in MFSEARCH_DATA")


@needs_cifar
def test_the_full_training_set_of_cifar10_has_its_published_statistics() -> None:
    source = cifar_source("cifar10", PREPARED, download=False)
    assert np.bincount(source.labels).tolist() == [5000] * 10
    mean, std = channel_mean_std(source.read(np.arange(50_000), 32))
    assert mean == pytest.approx((0.49140, 0.48216, 0.44653), abs=5e-4)
    assert std == pytest.approx((0.24701, 0.24348, 0.26157), abs=5e-4)


@needs_cifar
def test_cifar10_splits_into_45000_and_5000() -> None:
    data = load_data("cifar10", resolution=32, data_dir=PREPARED)
    assert np.bincount(data.train_labels).tolist() == [4500] * 10
    assert np.bincount(data.val_labels).tolist() == [500] * 10
    assert not {image.tobytes() for image in data.val_images} & {image.tobytes() for image in data.train_images}


@needs_flowers
def test_the_flowers_folder_has_its_2934_training_images_in_5_classes() -> None:
    source = folder_source(PREPARED / "flowers5")
    assert source.classes == ("daisy", "dandelion", "roses", "sunflowers", "tulips")
    assert len(source.labels) == 2934
    data = load_data(str(PREPARED / "flowers5"), resolution=64, samples=200, val_samples=100)
    assert data.train_images.shape == (200, 3, 64, 64)
    assert len(data.val_images) == 100
    assert data.mean[0] > data.mean[2]  # flowers are yellow and red rather than blue
