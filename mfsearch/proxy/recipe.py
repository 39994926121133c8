"""The recipe of the short training, one for all networks of a study."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mfsearch.data import ImageData


@dataclass(frozen=True)
class Recipe:
    """The fixed short training. epochs may be a fraction; the learning rate is constant after its warm-up.

    resolution: input side in pixels during training; it may differ from the network's own. samples: training images,
    None for all. warmup: passes in which the learning rate rises, whatever `epochs` is. average: the evaluated weights
    are a mean in which step t has weight t ** average; 0 takes the last step alone. norm_images: training images that
    reset the BatchNorm statistics before an evaluation. zero_residual: the last BatchNorm of a residual branch starts
    at 0 (arXiv:1706.02677, section 5.1), which is worth several times the epochs (docs/LOG.md). crop: pixels of
    reflection around an image before a random crop to its own size.
    """

    resolution: int
    epochs: float
    samples: int | None = None
    val_samples: int | None = None
    batch: int = 64
    optimizer: str = "adamw"
    lr: float = 2.5e-3
    weight_decay: float = 0.05
    warmup: float = 0.25
    average: float = 8.0
    norm_images: int = 1024
    zero_residual: bool = True
    label_smoothing: float = 0.0
    crop: int = 4

    def __post_init__(self) -> None:
        rules = {
            "resolution": (16 <= self.resolution <= 512, "16 to 512 pixels"),
            "epochs": (0 < self.epochs <= 10_000, "above 0"),
            "batch": (2 <= self.batch <= 65_536, "2 or more"),
            "optimizer": (self.optimizer in OPTIMIZERS, " or ".join(OPTIMIZERS)),
            "lr": (0 < self.lr <= 10, "above 0 and up to 10"),
            "weight_decay": (0 <= self.weight_decay <= 10, "0 to 10"),
            "warmup": (0 <= self.warmup <= 1000, "0 to 1000 passes over the samples"),
            "average": (0 <= self.average <= 1000, "0 to 1000"),
            "norm_images": (self.norm_images >= 2, "2 or more"),
            "label_smoothing": (0 <= self.label_smoothing < 1, "at least 0 and below 1"),
            "crop": (0 <= self.crop < self.resolution, f"0 to {self.resolution - 1} pixels"),
        }
        for name, (ok, allowed) in rules.items():
            if not ok:
                raise ValueError(f"recipe.{name} must be {allowed}, got {getattr(self, name)!r:.200}")

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def load_images(
        self,
        data: str,
        *,
        data_dir: Path | None,
        seed: int,
        download: bool = False,
        skip_damaged: bool = False,
        notes: bool = True,
    ) -> "ImageData":
        """The images for this recipe; every process of a study must load the same ones. Raises DataError.

        notes: as in `load_data`.
        """
        from mfsearch.data import load_data

        return load_data(
            data,
            resolution=self.resolution,
            data_dir=data_dir,
            samples=self.samples,
            val_samples=self.val_samples,
            seed=seed,
            download=download,
            skip_damaged=skip_damaged,
            notes=notes,
        )


OPTIMIZERS = ("adamw", "sgd")

# digits are 8x8 images, upscaled so that a map is left after five halvings; CIFAR at 48 px likewise (docs/LOG.md).
_BY_DATA = {
    "digits": Recipe(resolution=32, epochs=1, batch=32, lr=2e-3, warmup=0.25, crop=2),
    "cifar10": Recipe(resolution=48, epochs=0.1, samples=40_000, batch=128, warmup=0.05, crop=6),
    "cifar100": Recipe(resolution=48, epochs=0.2, samples=40_000, batch=128, warmup=0.05, crop=6),
}
_FOLDER = Recipe(resolution=64, epochs=3, samples=None, batch=32, lr=2e-3, warmup=0.5, crop=8)


INSIDE_LR = 1e-3  # for networks cut from a trained parent; from first weights 2.5e-3 (docs/LOG.md)


def default_recipe(data: str, *, inside: bool = False) -> Recipe:
    """The default recipe of a data set by name; any other name is an image folder. inside: for a search in a parent."""
    recipe = _BY_DATA.get(data, _FOLDER)
    return dataclasses.replace(recipe, lr=INSIDE_LR) if inside else recipe
