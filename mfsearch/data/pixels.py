"""Arrays of images: resizing, statistics, fingerprint."""

import hashlib

import numpy as np

from mfsearch.data.image_data import Images, Labels

CHUNK = 64  # images squared at a time, so that they stay in the processor's cache


def resize_images(images: Images, resolution: int) -> Images:
    """Resize square images to resolution x resolution, bilinear (area-weighted when shrinking)."""
    from PIL import Image

    if images.shape[-1] == resolution:
        return images
    resized = np.empty((len(images), 3, resolution, resolution), np.uint8)
    for i, pixels in enumerate(images):
        image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
        resized[i] = np.asarray(image.resize((resolution, resolution), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    return resized


def channel_mean_std(images: Images) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation of R, G and B over all pixels, on the scale 0..1.

    The deviation is at least one step of 255, so that a constant channel can be divided by it.
    """
    total, total_of_squares = np.zeros(3, np.int64), np.zeros(3, np.int64)  # exact, so the order does not matter
    for start in range(0, len(images), CHUNK):
        chunk = images[start : start + CHUNK].astype(np.uint16)
        total += chunk.sum((0, 2, 3), dtype=np.int64)
        total_of_squares += np.square(chunk).sum((0, 2, 3), dtype=np.int64)  # 255 squared fits
    count = images.size // 3
    mean = total / count
    std = np.sqrt(np.maximum(total_of_squares / count - mean**2, 1.0))
    return _triple(mean / 255), _triple(std / 255)


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    r, g, b = values.tolist()
    return r, g, b


def digest_of(classes: tuple[str, ...], *splits: tuple[Images, Labels]) -> str:
    """16 hex digits that change with any class name, pixel or label, and with their order."""
    sha = hashlib.sha256(repr(classes).encode())
    for images, labels in splits:
        sha.update(repr(images.shape).encode())
        sha.update(np.ascontiguousarray(images).data)
        sha.update(labels.astype("<i8").tobytes())
    return sha.hexdigest()[:16]
