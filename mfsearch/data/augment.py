"""Random crops and flips of image batches, and normalisation. The only file of this folder that needs torch.

B images, C channels, H height, W width. Runs on the device of the images.
"""

import torch
from torch import Tensor


def augment(images_BCHW: Tensor, generator: torch.Generator, *, flip: bool, pad: int) -> Tensor:
    """Crop each image at random to its own size after reflecting `pad` pixels around it, and mirror it at random.

    Takes any dtype and returns a new channels_last tensor. Each image always uses three random numbers, whatever pad
    and flip are, so that runs that differ in them stay in step. They are drawn on the generator's device: a generator
    on the CPU gives the same crops on every device.
    """
    B, _, H, W = images_BCHW.shape
    if not 0 <= pad < min(H, W):
        raise ValueError(f"pad must be 0..{min(H, W) - 1} for images of {H}x{W}, got {pad}")
    u_3B = torch.rand(3, B, generator=generator, device=generator.device).to(images_BCHW.device)
    shift_2B = (u_3B[:2] * (2 * pad + 1)).long() - pad  # an odd factor: the product rounds to less than it
    rows_BH = _reflect(shift_2B[0, :, None] + torch.arange(H, device=images_BCHW.device), H)
    columns_BW = _reflect(shift_2B[1, :, None] + torch.arange(W, device=images_BCHW.device), W)
    if flip:
        columns_BW = torch.where(u_3B[2, :, None] < 0.5, columns_BW.flip(1), columns_BW)
    batch_B = torch.arange(B, device=images_BCHW.device)
    cropped_BHWC = images_BCHW.permute(0, 2, 3, 1)[batch_B[:, None, None], rows_BH[:, :, None], columns_BW[:, None, :]]
    return cropped_BHWC.permute(0, 3, 1, 2)


def _reflect(positions: Tensor, size: int) -> Tensor:
    """Mirror positions outside 0..size-1 at the first and last pixel, which are not repeated."""
    return size - 1 - (size - 1 - positions.abs()).abs()


def normalize(images_BCHW: Tensor, mean: tuple[float, float, float], std: tuple[float, float, float]) -> Tensor:
    """(image / 255 - mean) / std of a uint8 batch, as float32 in its memory format; mean and std are on 0..1."""
    if images_BCHW.dtype != torch.uint8:
        raise ValueError(f"images must be uint8 (0..255) to be normalised, got {images_BCHW.dtype}")
    scale_C = torch.tensor([1 / (255 * s) for s in std], device=images_BCHW.device)
    shift_C = torch.tensor([m / s for m, s in zip(mean, std, strict=True)], device=images_BCHW.device)
    return images_BCHW.float().mul_(scale_C[:, None, None]).sub_(shift_C[:, None, None])
