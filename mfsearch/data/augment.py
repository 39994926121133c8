"""Batches of images: random crop and flip, and normalisation. The only file of this folder that needs torch.

B images, C channels, H height, W width. Works on the device where the images are.
"""

import torch
from torch import Tensor


def augment(images_BCHW: Tensor, generator: torch.Generator, *, flip: bool, pad: int) -> Tensor:
    """Each image cropped at random to its own size after reflecting `pad` pixels around it, and mirrored at random.

    Any dtype; the result is a new channels_last tensor. Three numbers are drawn for an image whatever pad and flip are,
    so that runs which differ in them stay in step. They are drawn on the generator's own device: a generator on the CPU
    gives the same crops to every device.
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
    """Positions outside 0..size-1 mirrored back at the first and last pixel, which are not repeated."""
    return size - 1 - (size - 1 - positions.abs()).abs()


def normalize(images_BCHW: Tensor, mean: tuple[float, float, float], std: tuple[float, float, float]) -> Tensor:
    """(image / 255 - mean) / std as float32 of a uint8 batch, in its memory format; mean and std on the scale 0..1."""
    if images_BCHW.dtype != torch.uint8:
        raise ValueError(f"normalize takes uint8 images of 0..255, got {images_BCHW.dtype}")
    scale_C = torch.tensor([1 / (255 * s) for s in std], device=images_BCHW.device)
    shift_C = torch.tensor([m / s for m, s in zip(mean, std, strict=True)], device=images_BCHW.device)
    return images_BCHW.float().mul_(scale_C[:, None, None]).sub_(shift_C[:, None, None])
