"""How the short training is done: one recipe for every network of a study."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mfsearch.data import ImageData, load_data


@dataclass(frozen=True)
class Recipe:
    """The fixed short training. epochs may be a fraction; the learning rate goes up and down once (one-cycle).

    resolution: input side in pixels while training, whatever the network is deployed at. samples: training images
    used, None for all. crop: pixels of reflection around an image before a crop of its own size.
    """

    resolution: int
    epochs: float
    samples: int | None = None
    val_samples: int | None = None
    batch: int = 64
    optimizer: str = "adamw"
    lr: float = 5e-3
    weight_decay: float = 0.05
    warmup: float = 0.25
    label_smoothing: float = 0.1
    crop: int = 4

    def __post_init__(self) -> None:
        rules = {
            "resolution": (16 <= self.resolution <= 512, "16 to 512 pixels"),
            "epochs": (0 < self.epochs <= 10_000, "above 0"),
            "batch": (2 <= self.batch <= 65_536, "2 or more"),
            "optimizer": (self.optimizer in OPTIMIZERS, " or ".join(OPTIMIZERS)),
            "lr": (0 < self.lr <= 10, "above 0 and up to 10"),
            "weight_decay": (0 <= self.weight_decay <= 10, "0 to 10"),
            "warmup": (0 < self.warmup < 1, "between 0 and 1, a share of the steps"),
            "label_smoothing": (0 <= self.label_smoothing < 1, "from 0 up to, not including, 1"),
            "crop": (0 <= self.crop < self.resolution, f"0 to {self.resolution - 1} pixels"),
        }
        for name, (ok, allowed) in rules.items():
            if not ok:
                raise ValueError(f"recipe.{name} must be {allowed}, got {getattr(self, name)!r}")

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def load_images(self, data: str, *, data_dir: Path | None, seed: int, download: bool = False) -> ImageData:
        """The images that this recipe trains on; every process of a study must load them alike. Raises DataError."""
        return load_data(
            data,
            resolution=self.resolution,
            data_dir=data_dir,
            samples=self.samples,
            val_samples=self.val_samples,
            seed=seed,
            download=download,
        )


OPTIMIZERS = ("adamw", "sgd")

# First choices, not yet calibrated (docs/LOG.md). digits: 8x8 images upscaled, so that five halvings leave a map.
_BY_DATA = {
    "digits": Recipe(resolution=32, epochs=4, batch=32, lr=3e-3, crop=2),
    "cifar10": Recipe(resolution=32, epochs=1, samples=20_000, batch=64, lr=5e-3),
    "cifar100": Recipe(resolution=32, epochs=2, samples=20_000, batch=64, lr=5e-3),
}
_FOLDER = Recipe(resolution=64, epochs=6, samples=None, batch=32, lr=3e-3, crop=8)


def default_recipe(data: str) -> Recipe:
    """The recipe that suits a data set by name; any other name is an image folder."""
    return _BY_DATA.get(data, _FOLDER)
