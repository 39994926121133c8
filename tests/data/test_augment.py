"""The batch augmentation against crops and flips made one by one."""

import pytest
import torch
from torch.nn import functional as F

from mfsearch.data.augment import augment, normalize

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def distinct_images(batch: int, height: int, width: int) -> torch.Tensor:
    """uint8 images in which every pixel of a channel differs from the others."""
    pixels = torch.arange(3 * height * width).reshape(3, height, width)
    return torch.stack([(pixels + 7 * i) % 256 for i in range(batch)]).to(torch.uint8)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(("height", "width"), [(6, 6), (5, 8)])
def test_every_crop_and_flip_occurs_equally_often_and_nothing_else(flip: bool, height: int, width: int) -> None:
    pad = 2
    image = distinct_images(1, height, width)
    padded = F.pad(image.float(), (pad, pad, pad, pad), mode="reflect")[0].to(torch.uint8)
    allowed = {}
    for dy in range(2 * pad + 1):
        for dx in range(2 * pad + 1):
            crop = padded[:, dy : dy + height, dx : dx + width]
            allowed[crop.numpy().tobytes()] = (dy, dx, False)
            if flip:
                allowed[crop.flip(2).contiguous().numpy().tobytes()] = (dy, dx, True)
    assert len(allowed) == 25 * (1 + flip)
    out = augment(image.expand(10_000, -1, -1, -1), seeded(), flip=flip, pad=pad)
    counts = dict.fromkeys(allowed.values(), 0)
    for crop in out.contiguous():
        counts[allowed[crop.numpy().tobytes()]] += 1
    expected = 10_000 / len(counts)
    assert all(abs(count - expected) < 6 * expected**0.5 for count in counts.values())


def test_each_image_is_cropped_on_its_own_and_stays_in_its_place() -> None:
    images = torch.arange(64, dtype=torch.uint8)[:, None, None, None].expand(64, 3, 8, 8)
    out = augment(images, seeded(), flip=True, pad=4)
    assert torch.equal(out, images)  # plain images: only a mixed-up batch would differ
    same = distinct_images(1, 8, 8).expand(64, -1, -1, -1)
    assert len({crop.numpy().tobytes() for crop in augment(same, seeded(), flip=True, pad=4).contiguous()}) > 30


def test_without_pad_and_flip_nothing_changes() -> None:
    images = distinct_images(4, 8, 8)
    assert torch.equal(augment(images, seeded(), flip=False, pad=0), images)


def test_the_same_numbers_are_drawn_whatever_is_asked() -> None:
    images = distinct_images(5, 8, 8)
    states = []
    for flip, pad in ((False, 0), (True, 0), (False, 3), (True, 7)):
        generator = seeded(3)
        augment(images, generator, flip=flip, pad=pad)
        states.append(generator.get_state())
    assert all(torch.equal(state, states[0]) for state in states)
    without, with_flip = (augment(images, seeded(3), flip=flip, pad=2) for flip in (False, True))
    for plain, crop in zip(without, with_flip, strict=True):  # the crop is the same, mirrored or not
        assert torch.equal(plain, crop) or torch.equal(plain, crop.flip(2))


def test_one_seed_gives_one_result_and_the_images_stay_as_they_were() -> None:
    images = distinct_images(16, 8, 8)
    before = images.clone()
    first, again, other = (augment(images, seeded(seed), flip=True, pad=2) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(images, before)
    first.zero_()
    assert torch.equal(images, before)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
def test_any_dtype_on_any_device_gives_the_same_crops(dtype: torch.dtype, device: str) -> None:
    images = distinct_images(8, 8, 8)
    expected = augment(images, seeded(), flip=True, pad=3).to(dtype)
    out = augment(images.to(device, dtype), seeded(), flip=True, pad=3)
    assert out.dtype == dtype
    assert torch.equal(out.cpu(), expected)


@pytest.mark.parametrize("pad", range(32))
def test_the_largest_draw_does_not_round_up_to_a_crop_that_does_not_exist(
    pad: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.full(shape, 1 - 2**-24))  # the largest float32 below 1
    images = torch.arange(40, dtype=torch.uint8).expand(1, 3, 40, 40)
    assert augment(images, seeded(), flip=False, pad=pad)[0, 0, 0, 0] == pad


def test_degenerate_batches_pass() -> None:
    assert augment(distinct_images(1, 8, 8)[:0], seeded(), flip=True, pad=4).shape == (0, 3, 8, 8)
    assert augment(distinct_images(1, 1, 1), seeded(), flip=True, pad=0).shape == (1, 3, 1, 1)


@pytest.mark.parametrize("pad", [-1, 8])
def test_a_pad_that_cannot_be_reflected_is_an_error(pad: int) -> None:
    with pytest.raises(ValueError, match=rf"pad must be 0\.\.7 for images of 8x8, got {pad}"):
        augment(distinct_images(1, 8, 8), seeded(), flip=False, pad=pad)


@pytest.mark.parametrize("device", DEVICES)
def test_normalize_takes_away_the_mean_and_divides_by_the_std(device: str) -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8, device=device).reshape(1, 3, 1, 1)
    out = normalize(images, (0.5, 0.1, 0.0), (0.25, 0.1, 0.5))
    assert out.dtype == torch.float32
    assert out.flatten().tolist() == pytest.approx([-2.0, 1.0, 2.0], abs=1e-6)
    assert images.flatten().tolist() == [0, 51, 255]


def test_channels_last_survives_augmentation_and_normalisation() -> None:
    out = normalize(augment(distinct_images(4, 8, 8), seeded(), flip=True, pad=2), (0.5,) * 3, (0.2,) * 3)
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_normalize_refuses_images_of_unknown_scale() -> None:
    with pytest.raises(ValueError, match=r"images must be uint8 \(0\.\.255\) to be normalised, got torch\.float32"):
        normalize(torch.zeros(1, 3, 8, 8), (0.5,) * 3, (0.2,) * 3)
