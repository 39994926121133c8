"""The 1,797 handwritten digits in scikit-learn; they need no download and no folder."""

import numpy as np

from mfsearch.data.image_data import Images, Indices, Source
from mfsearch.data.pixels import resize_images
from mfsearch.data.split import stratified_split

TEST_FRACTION = 0.2  # always held out; the same images for every seed of a search
TEST_SEED = 0


def digits_source(*, test: bool = False) -> Source:
    """The 1,438 digits for a search, or the 359 that are held out. Gray 0..16 of 8x8 becomes RGB 0..255."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    held_out, learn = stratified_split(digits.target.astype(np.int64), TEST_FRACTION, TEST_SEED)
    part = held_out if test else learn
    gray = np.rint(digits.images[part] * (255 / 16)).astype(np.uint8)
    images = np.repeat(gray[:, None], 3, axis=1)

    def read(indices: Indices, resolution: int) -> Images:
        return resize_images(images[indices], resolution)

    return Source(
        name="digits",
        place="digits",
        classes=tuple(str(name) for name in digits.target_names),
        labels=digits.target[part].astype(np.int64),
        flip=False,
        val_fraction=0.25,  # a tenth would be 144 images, too few to tell networks apart
        read=read,
    )
