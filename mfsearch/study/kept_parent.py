"""The parent of a study as it was measured before the search."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mfsearch.plain_files import parsed, read_json
from mfsearch.study.parent import ParentFacts
from mfsearch.study.trial import Trial

KEPT_PARENT = "parent.json"  # in the study's folder
FINE_TUNED = "fine-tuned on these images"


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
