"""What calibrations left behind: which fits a study, and what it says of the ranking. Free of torch."""

import json
import math
from pathlib import Path
from typing import Any

from mfsearch.proxy.recipe import Recipe
from mfsearch.units import Budget

SCHEMA = 1
CALIBRATIONS, CALIBRATION = "calibrations", "calibration.json"
GROUPS = ("band", "across")


def find_calibration(
    results: Path, space_digest: str, data_digest: str, recipe: Recipe, budget: Budget | None = None
) -> dict[str, Any] | None:
    """What calibration.json holds for this space, these images and this recipe; None if nobody calibrated them.

    The short training may be any that the calibration read on its way: a curve's points do not depend on its end. Of
    several it is that nearest to the budget, then the newest. Files of another version of mfsearch do not count.
    """
    found = []
    for path in (results / CALIBRATIONS).glob(f"*/{CALIBRATION}"):
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"cannot read {path}: {error}; `mfsearch calibrate` writes it anew") from None
        if not isinstance(kept, dict) or kept.get("schema") != SCHEMA:
            continue
        identity = kept["identity"]
        theirs = identity["space"]["digest"], identity["data"]["digest"], _without_epochs(identity["recipe"])
        ours = space_digest, data_digest, _without_epochs(recipe.as_dict())
        if theirs == ours and any(_same_epochs(epochs, recipe.epochs) for epochs in kept["epochs"]["short"]):
            found.append(kept)

    def distance(kept: dict[str, Any]) -> float:
        return 0.0 if budget is None else abs(math.log(kept["identity"]["budget"]["high"] / budget.high))

    return min(sorted(found, key=lambda kept: str(kept["date"]), reverse=True), key=distance, default=None)


def _without_epochs(recipe: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in recipe.items() if name != "epochs"}


def _same_epochs(one: float | None, other: float) -> bool:
    return one is not None and math.isclose(one, other, rel_tol=0.01)


def trust_line(calibration: dict[str, Any] | None, *, epochs: float, reading: str) -> str:
    """One sentence on how far the ranking by a reading (top1, val_loss, loss) after so many epochs can be trusted."""
    if calibration is None:
        return (
            "ranking   never calibrated here: `mfsearch calibrate` with the same space, data, seed and\n"
            "          short training says what it is worth"
        )
    words = []
    for group, place in (("band", "inside the band"), ("across", "across budgets")):
        rows = calibration["groups"][group]["proxies"]
        proxy = next(row for row in rows if row["name"] == reading and _same_epochs(row["epochs"], epochs))
        madds = next(row for row in rows if row["name"] == "madds")
        if proxy["tau"] is None:
            words.append(f"no tau {place}: all networks alike")
            continue
        beside = "none" if madds["tau"] is None else f"{madds['tau']:.2f}"
        words.append(
            f"tau {proxy['tau']:.2f} [{proxy['low']:.2f}, {proxy['high']:.2f}] {place} over {proxy['n']} networks "
            f"(MAdds {beside})"
        )
    return f"ranking   by {reading}, {', '.join(words)}; calibrated {str(calibration['date'])[:10]}"
