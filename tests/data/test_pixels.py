"""Statistics, fingerprint and resizing of image arrays."""

import math

import numpy as np
import pytest

from mfsearch.data.pixels import channel_mean_std, digest_of, resize_images


def test_mean_and_std_are_those_of_each_channel() -> None:
    images = np.zeros((2, 3, 1, 2), np.uint8)
    images[:, 0] = [[[0, 255]], [[0, 255]]]  # mean 0.5, deviation 0.5
    images[:, 1] = [[[51, 51]], [[102, 102]]]  # 0.2 and 0.4: mean 0.3, deviation 0.1
    images[:, 2] = [[[0, 0]], [[0, 255]]]  # mean 1/4, deviation sqrt(3)/4
    mean, std = channel_mean_std(images)
    assert mean == pytest.approx((0.5, 0.3, 0.25), abs=1e-12)
    assert std == pytest.approx((0.5, 0.1, math.sqrt(3) / 4), abs=1e-12)


def test_mean_and_std_of_many_images_have_no_seam_between_chunks() -> None:
    images = np.random.default_rng(0).integers(0, 256, (1001, 3, 4, 4), dtype=np.uint8)
    mean, std = channel_mean_std(images)
    assert mean == pytest.approx(images.mean((0, 2, 3)) / 255, abs=1e-12)
    assert std == pytest.approx(images.std((0, 2, 3)) / 255, abs=1e-12)


def test_a_constant_channel_has_a_deviation_of_one_step() -> None:
    mean, std = channel_mean_std(np.full((3, 3, 8, 8), 255, np.uint8))
    assert mean == (1.0, 1.0, 1.0)
    assert std == pytest.approx((1 / 255,) * 3)


def test_the_digest_tells_every_pixel_label_name_and_order() -> None:
    images = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4)
    labels = np.array([0, 1])
    one_pixel = images.copy()
    one_pixel[1, 2, 3, 3] ^= 1
    digests = [
        digest_of(("a", "b"), (images, labels)),
        digest_of(("a", "c"), (images, labels)),
        digest_of(("a", "b"), (one_pixel, labels)),
        digest_of(("a", "b"), (images, labels[::-1])),
        digest_of(("a", "b"), (images[::-1], labels)),
        digest_of(("a", "b"), (images.reshape(2, 3, 2, 8), labels)),
        digest_of(("a", "b"), (images[:1], labels[:1]), (images[1:], labels[1:])),
    ]
    assert len(set(digests)) == len(digests)
    assert all(len(digest) == 16 and int(digest, 16) >= 0 for digest in digests)
    assert digest_of(("a", "b"), (images.copy(), labels.copy())) == digests[0]


def test_resizing_keeps_channels_apart_and_orientation() -> None:
    images = np.zeros((1, 3, 8, 8), np.uint8)
    images[0, 0, :4] = 200  # red above
    images[0, 1, :, 4:] = 100  # green on the right
    large = resize_images(images, 32)
    assert large.shape == (1, 3, 32, 32)
    assert (large[0, 0, :12] == 200).all()
    assert (large[0, 0, 20:] == 0).all()
    assert (large[0, 1, :, 20:] == 100).all()
    assert (large[0, 1, :, :12] == 0).all()
    assert (large[0, 2] == 0).all()


def test_halving_averages_symmetrically() -> None:
    images = np.zeros((1, 3, 16, 16), np.uint8)
    images[:, :, ::2] = 240
    assert np.ptp(resize_images(images, 8)[:, :, 1:-1]) == 0
