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
    logits, None if unknown."""

    facts: ParentFacts
    config: "MobileFormerConfig"
    weights: Path
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...] | None = None
