"""The trained network that a study cuts its networks from."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mfsearch.config import MobileFormerConfig


@dataclass(frozen=True)
class ParentFacts:
    """What a manifest says of the parent. name: of its folder; digest: SHA-256 of its weights."""

    name: str
    arch_id: str
    digest: str


@dataclass(frozen=True)
class Parent:
    """A trained network outside the study. mean, std: of the images it was trained on; class_names: in the order of its
    logits, None if unknown. data: the name of those images, None if unknown. split_seed: of the split into training and
    validation images whose training part it got, None if it got all of train/."""

    facts: ParentFacts
    config: "MobileFormerConfig"
    weights: Path
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...] | None = None
    data: str | None = None
    split_seed: int | None = None
