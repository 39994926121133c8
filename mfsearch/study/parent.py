"""The trained network that a study cuts its networks from."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mfsearch.plain_files import parsed, read_json
from mfsearch.study.trial import Trial

if TYPE_CHECKING:
    from mfsearch.config import MobileFormerConfig

KEPT_PARENT = "parent.json"  # in the study's folder
FINE_TUNED = "fine-tuned on these images"


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


@dataclass(frozen=True)
class KeptParent:
    """A study's parent as it was measured before the search; never a member of the front.

    network: its config, costs at the study's deployment, latency if the study has a limit, and top1 on the study's
    validation images. reason: FINE_TUNED, or None if it may have been trained on them. space: what may be left out, as
    YAML.
    """

    facts: ParentFacts
    network: Trial
    space: str

    @classmethod
    def read(cls, folder: Path, facts: ParentFacts | None) -> "KeptParent | None":
        """That of the study in a folder; None without a parent or for earlier studies, ValueError if damaged."""
        path = folder / KEPT_PARENT
        if facts is None or not path.exists():
            return None
        try:
            values = read_json(path)
            network = Trial.from_dict(-1, {}, values["network"])
            if network.config.arch_id != facts.arch_id:
                raise ValueError(f"arch_id must be {facts.arch_id}, got {network.config.arch_id}")
            return cls(facts, network, parsed(str, values["space"], "space"))
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(
                f"{path} does not describe the study's parent; if deleted it is made again: {error!s:.200}"
            ) from None

    def to_dict(self) -> dict[str, Any]:
        return {"network": self.network.to_dict(), "space": self.space}
