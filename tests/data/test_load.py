"""What holds of load_data whatever the source, shown on the digits; and the digits themselves."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from mfsearch.data import DataError, ImageData, load_data
from mfsearch.data.digits import digits_source


def keys(images: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in images}


def test_importing_and_the_error_path_need_neither_torch_nor_pillow_nor_sklearn() -> None:
    code = (
        "import sys; import mfsearch.data as d\n"
        "try: d.load_data('cifar-10', resolution=32)\n"
        "except d.DataError: print(sorted({'torch', 'PIL', 'sklearn'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_digits_are_the_embedded_ones_in_rgb() -> None:
    digits = load_digits()
    data = load_data("digits", resolution=8)
    assert (data.name, data.classes, data.flip) == ("digits", tuple("0123456789"), False)
    assert data.train_images.shape == (1078, 3, 8, 8)  # 1797 - 359 held out = 1438; a quarter of them, 360, validates
    assert data.val_images.shape == (360, 3, 8, 8)
    known = {image.tobytes(): int(label) for image, label in zip(digits.images, digits.target, strict=True)}
    levels = {round(level * 255 / 16): level for level in range(17)}
    for image, label in zip(data.val_images, data.val_labels, strict=True):
        assert (image == image[0]).all()
        gray = np.vectorize(levels.__getitem__, otypes=[np.float64])(image[0])
        assert known[gray.tobytes()] == label


def test_a_fifth_of_the_digits_is_never_seen_whatever_the_seed() -> None:
    seen: set[bytes] = set()
    for seed in range(6):
        data = load_data("digits", resolution=8, seed=seed)
        seen |= keys(data.train_images) | keys(data.val_images)
    digits = load_digits()
    assert len(keys(digits.images)) == 1797  # no two are alike
    assert len(seen) == 1438
    held_out = np.bincount(digits.target) - np.bincount(digits_source().labels)
    assert held_out.sum() == 359
    assert held_out.min() >= 34
    assert held_out.max() <= 37


def test_the_splits_share_no_image_and_hold_every_class_in_proportion() -> None:
    data = load_data("digits", resolution=8)
    assert not keys(data.train_images) & keys(data.val_images)
    share = np.bincount(data.val_labels) / (np.bincount(data.val_labels) + np.bincount(data.train_labels))
    assert np.abs(share - 0.25).max() < 0.01


def test_one_seed_one_result_and_another_seed_another_split() -> None:
    first, again, other = (load_data("digits", resolution=8, seed=seed) for seed in (1, 1, 2))
    for field in ("train_images", "train_labels", "val_images", "val_labels"):
        assert (getattr(first, field) == getattr(again, field)).all()
    assert (first.digest, first.mean, first.std) == (again.digest, again.mean, again.std)
    assert first.digest != other.digest
    assert keys(first.val_images) != keys(other.val_images)


def test_the_validation_images_do_not_depend_on_the_samples() -> None:
    whole = load_data("digits", resolution=8)
    part = load_data("digits", resolution=8, samples=500)
    assert (part.val_images == whole.val_images).all()
    assert keys(part.train_images) < keys(whole.train_images)
    assert len(part.train_images) == 500


def test_validation_is_no_larger_than_the_samples_unless_asked() -> None:
    def sizes(samples: int | None, val_samples: int | None) -> tuple[int, int]:
        data = load_data("digits", resolution=8, samples=samples, val_samples=val_samples)
        return len(data.train_images), len(data.val_images)

    assert sizes(100, None) == (100, 100)
    assert sizes(100, 300) == (100, 300)
    assert sizes(None, 20) == (1078, 20)
    assert sizes(10, 10) == (10, 10)
    assert sizes(1078, 360) == (1078, 360)


def test_a_smaller_sample_lies_within_a_larger_one() -> None:
    small, large = (keys(load_data("digits", resolution=8, samples=n).train_images) for n in (200, 400))
    assert small < large


def test_the_smallest_sample_holds_each_class_once() -> None:
    data = load_data("digits", resolution=8, samples=10)
    assert sorted(data.train_labels.tolist()) == sorted(data.val_labels.tolist()) == list(range(10))


def test_mean_and_std_are_those_of_the_training_images() -> None:
    data = load_data("digits", resolution=16, samples=300)
    assert data.mean == pytest.approx(data.train_images.mean((0, 2, 3)) / 255, abs=1e-9)
    assert data.std == pytest.approx(data.train_images.std((0, 2, 3)) / 255, abs=1e-9)


@pytest.mark.parametrize("resolution", [8, 9, 32, 512])
def test_every_allowed_resolution_is_met(resolution: int) -> None:
    data: ImageData = load_data("digits", resolution=resolution, samples=10)
    assert data.resolution == resolution
    assert data.train_images.shape == (10, 3, resolution, resolution)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"resolution": 7}, r"resolution must be 8\.\.512 pixels, got 7"),
        ({"resolution": 513}, r"resolution must be 8\.\.512 pixels, got 513"),
        ({"val_fraction": 0.0}, "val_fraction must lie between 0 and 1, got 0"),
        ({"val_fraction": 1.0}, "val_fraction must lie between 0 and 1, got 1"),
        ({"val_fraction": float("nan")}, "val_fraction must lie between 0 and 1, got nan"),
        ({"samples": 9}, r"samples must be 10\.\.1078 for digits .* got 9"),
        ({"samples": 1079}, r"samples must be 10\.\.1078 for digits .* training split\), got 1079"),
        ({"samples": -1}, r"samples must be 10\.\.1078"),
        ({"val_samples": 361}, r"val_samples must be 10\.\.360 for digits .* validation split\), got 361"),
        ({"val_samples": 0}, r"val_samples must be 10\.\.360"),
        ({"seed": -1}, "seed must be 0 or more, got -1"),
    ],
)
def test_wrong_arguments_say_what_is_allowed(wrong: dict[str, float], message: str) -> None:
    arguments = {"resolution": 8, **wrong}
    with pytest.raises(DataError, match=message):
        load_data("digits", **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("fraction", [1e-9, 1 - 1e-9])
def test_an_extreme_fraction_leaves_each_class_on_both_sides(fraction: float) -> None:
    data = load_data("digits", resolution=8, val_fraction=fraction)
    assert min(len(data.train_images), len(data.val_images)) == 10
    assert len(set(data.train_labels.tolist())) == len(set(data.val_labels.tolist())) == 10


def test_more_than_the_memory_holds_is_refused_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sysconf", lambda name: 1024)  # 1024 pages of 1024 bytes
    assert load_data("digits", resolution=8).resolution == 8  # 1438 x 192 bytes fit
    with pytest.raises(DataError, match=r"1438 images at 32 px need 0\.0 GB .* fewer samples"):
        load_data("digits", resolution=32)


def test_statistics_can_be_written_as_json() -> None:
    data = load_data("digits", resolution=8, samples=10)
    assert all(type(value) is float for value in (*data.mean, *data.std))
