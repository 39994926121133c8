"""Reads the results of calibrations: finds the one for a study, and states how far its ranking can be trusted."""

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
    """The content of calibration.json for this space, these images and this recipe; None without one.

    Any short training whose length the calibration recorded counts, because a curve's points do not depend on its end.
    Of several calibrations the nearest to the budget wins, then the newest. Other versions of the file are ignored.
    """
    matching = []
    for path in (results / CALIBRATIONS).glob(f"*/{CALIBRATION}"):
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"cannot read {path}: {error}; `mfsearch calibrate` writes it again") from None
        if not isinstance(kept, dict) or kept.get("schema") != SCHEMA:
            continue
        identity = kept["identity"]
        theirs = identity["space"]["digest"], identity["data"]["digest"], _without_epochs(identity["recipe"])
        ours = space_digest, data_digest, _without_epochs(recipe.as_dict())
        if theirs == ours and any(_same_epochs(epochs, recipe.epochs) for epochs in kept["epochs"]["short"]):
            matching.append(kept)

    def distance(kept: dict[str, Any]) -> float:
        return 0.0 if budget is None else abs(math.log(kept["identity"]["budget"]["high"] / budget.high))

    return min(sorted(matching, key=lambda kept: str(kept["date"]), reverse=True), key=distance, default=None)


def _without_epochs(recipe: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in recipe.items() if name != "epochs"}


def _same_epochs(one: float | None, other: float) -> bool:
    return one is not None and math.isclose(one, other, rel_tol=0.01)


def trust_line(calibration: dict[str, Any] | None, *, epochs: float, reading: str) -> str:
    """One sentence on how far the ranking by top1, val_loss or loss (`reading`) after `epochs` can be trusted."""
    if calibration is None:
        return (
            "ranking   not calibrated: `mfsearch calibrate` with the same space, data, seed and\n"
            "          short training measures how far it can be trusted"
        )
    words = []
    for group, place in (("band", "inside the band"), ("across", "across budgets")):
        rows = calibration["groups"][group]["proxies"]
        proxy = next(row for row in rows if row["name"] == reading and _same_epochs(row["epochs"], epochs))
        madds = next(row for row in rows if row["name"] == "madds")
        if proxy["tau"] is None:
            words.append(f"no tau {place}: all networks are equal")
            continue
        beside = "none" if madds["tau"] is None else f"{madds['tau']:.2f}"
        words.append(
            f"tau {proxy['tau']:.2f} [{proxy['low']:.2f}, {proxy['high']:.2f}] {place} over {proxy['n']} networks "
            f"(MAdds {beside})"
        )
    return f"ranking   by {reading}, {', '.join(words)}; calibrated {str(calibration['date'])[:10]}"
