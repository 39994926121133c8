"""The plan that fits a search into its time: image side, epochs, networks, rungs and seeds, by measured paces."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

from mfsearch.proxy.recipe import Recipe
from mfsearch.proxy.rungs import Rungs
from mfsearch.units import counted, format_seconds

USED = 0.9  # share of the time that is planned; the rest is a reserve
START_SECONDS = 8.0  # until the workers have loaded torch
JUDGED = 0.4  # time to evaluate one image, as a share of training on it
TRIED = 1.4  # networks measured for each one within the latency limit
FULL = 3.0  # a final latency takes this many times as long as one in the search
LATENCY_SHARE = 0.15  # largest share of the time for the final latencies
GOOD_STEPS, MOST_STEPS, LEAST_STEPS = 60, 400, 10  # of the optimizer in a short training
NORM_IMAGES = 256  # for BatchNorm's statistics, if the plan chooses the length
ENOUGH = 0.8  # a larger image is chosen if it still allows this share of the most steps
MOST_NETWORKS = 300
FEW = 8  # networks that are no search yet
# networks, lengths of training, finalists and their seeds: the fullest search first; the final takes half at the most
SHAPES: tuple[tuple[int, tuple[float, ...], int, int], ...] = (
    (30, (1.0, 3.0, 9.0), 3, 2),
    (20, (1.0, 3.0, 9.0), 2, 2),
    (16, (1.0, 3.0), 3, 2),
    (12, (1.0, 3.0), 2, 2),
    (8, (1.0, 3.0), 2, 1),
    (6, (1.0,), 0, 1),
)


@dataclass(frozen=True)
class Pace:
    """A measurement of this machine with these images.

    image_seconds: to train a network at the budget on one image in one worker, by image side. load_seconds: to load one
    image. network_seconds: to build, check and cut one network. latency_seconds: to measure its latency, 0 without a
    limit. workers: how many train at once, each at this pace. parent: the time to train the parent on one image, as a
    multiple of image_seconds; 0 if it is not fine-tuned.
    """

    image_seconds: Mapping[int, float]
    load_seconds: float
    network_seconds: float
    latency_seconds: float = 0.0
    workers: int = 1
    parent: float = 0.0


@dataclass(frozen=True)
class Plan:
    """A search that fits its time. short_seconds: of a short training; seconds: of the whole run; parent_seconds: of
    fine-tuning the parent before it."""

    recipe: Recipe
    rungs: Rungs
    networks: int
    short_seconds: float
    latencies: int
    latency_seconds: float
    seconds: float
    parent_seconds: float = 0.0

    def lines(self, seconds: float | None) -> list[str]:
        """The plan in words, for the header of a run. seconds: its time limit, None without one."""
        worth = self.rungs.short_trainings(self.networks)
        length = f"{counted(self.recipe.epochs, 'epoch')} at {self.recipe.resolution} px"
        words = f"{format_seconds(self.short_seconds)} each ({length})"
        if self.rungs.starts_cut:
            words = f"cut and ranked; then trainings worth {worth:.0f} short ones, {words}"
        elif longer := round(worth - self.networks):
            words += f", longer ones worth {longer} more"
        lines = [f"plan      about {counted(self.networks, 'network')}, {words}"]
        if self.parent_seconds:
            about = format_seconds(self.parent_seconds)
            lines.append(f"          before that the parent is fine-tuned, as its classes are not these: {about}")
        if self.latencies:
            measured = counted(self.latencies, "latency measurement")
            lines.append(f"          about {measured}, {format_seconds(self.latency_seconds)} in all")
        limit = ""
        if seconds is not None:
            limit = f" of {format_seconds(seconds)}"
        if seconds is not None and self.seconds > 1.2 * seconds:
            lines.append(
                f"          all of this takes {format_seconds(self.seconds)}, the limit is {format_seconds(seconds)}: "
                "only the first networks will be trained"
            )
        else:
            lines.append(f"          expected end after {format_seconds(self.seconds)}{limit}")
        if seconds is not None and self.networks <= FEW:
            lines.append("          that compares a few networks: a search wants 30 or more")
        return lines


def make_plan(
    pace: Pace,
    images: tuple[int, int],
    seconds: float | None,
    recipe: Recipe,
    rungs: Rungs,
    *,
    networks: int | None = None,
    fixed: frozenset[str] = frozenset(),
) -> Plan:
    """The fullest search that fits `seconds` (None: no limit); the smallest one if none does.

    images: numbers of training and validation images. fixed: those of resolution, epochs, rungs (which hold the next
    two), finalists and seeds that the user gave; they stay as in `recipe` and `rungs`. networks: as given by the user,
    None to choose.
    """
    seconds = math.inf if seconds is None else seconds
    plans = []
    for count, factors, finalists, seeds in SHAPES:
        own = rungs
        if "rungs" not in fixed:
            if rungs.starts_cut:
                if len(factors) == 1:
                    continue  # nothing would be trained
                factors = rungs.factors[: len(factors)]
            if len(factors) == 1 and fixed & {"finalists", "seeds"} and rungs.finalists:
                continue  # it has no final
            own = dataclasses.replace(
                rungs,
                factors=factors,
                finalists=rungs.finalists if "finalists" in fixed else finalists,
                seeds=rungs.seeds if "seeds" in fixed else seeds,
            )
        sizes = sorted(pace.image_seconds, reverse=True)
        plans += [_fitted(pace, images, seconds, recipe, own, networks or count, size, fixed) for size in sizes]
    good = next((plan for plan, steps in plans if steps >= GOOD_STEPS and plan.seconds <= seconds), None)
    if good is None:
        least = [(plan, steps) for plan, steps in plans[-len(sizes) :] if plan.seconds <= seconds] or plans[-1:]
        return next(plan for plan, steps in least if steps >= ENOUGH * max(steps for _, steps in least))
    for more in range(good.networks + 1, 1 if networks else MOST_NETWORKS):  # where time is left
        bigger, _ = _fitted(
            pace, images, seconds, good.recipe, good.rungs, more, good.recipe.resolution, fixed | {"epochs"}
        )
        if bigger.seconds > USED * seconds:
            break
        good = bigger
    return good


def _fitted(
    pace: Pace,
    images: tuple[int, int],
    seconds: float,
    recipe: Recipe,
    rungs: Rungs,
    networks: int,
    size: int,
    fixed: frozenset[str],
) -> tuple[Plan, float]:
    """The plan of this many networks at this size, with the most epochs that fit; and the steps of a short training."""
    train, val = images
    if "epochs" not in fixed:
        recipe = dataclasses.replace(recipe, norm_images=min(recipe.norm_images, NORM_IMAGES))
    batch, each = min(recipe.batch, train), pace.image_seconds[size]
    judging = 2 * JUDGED * (min(recipe.norm_images, train) + val)
    last = FULL * pace.latency_seconds * (rungs.finalists + 2)
    last = min(last, LATENCY_SHARE * seconds)
    tried = math.ceil(networks * TRIED) if pace.latency_seconds else 0
    before = START_SECONDS + 2 * (train + val) * pace.load_seconds
    beside = before + last + (networks * pace.network_seconds + tried * pace.latency_seconds) / pace.workers
    if rungs.starts_cut:
        beside += networks * each * judging / 2 / pace.workers
    shorts = max(rungs.short_trainings(networks), 1e-9) / pace.workers  # 0 where cut networks have no final
    longest = pace.parent * rungs.factors[-1]  # the parent's training by one process, in short trainings
    epochs = recipe.epochs
    if "epochs" not in fixed:
        left = (USED * seconds - beside) / each - (shorts + pace.parent) * judging
        left = left / (shorts + longest) / train
        least, most = (steps * batch / train for steps in (LEAST_STEPS, MOST_STEPS))
        epochs = float(f"{min(max(left, least), most):.2g}")
    short = each * (epochs * train + judging)
    parent_seconds = each * (longest * epochs * train + pace.parent * judging)
    crop = recipe.crop if size == recipe.resolution else size // 8
    plan = Plan(
        recipe=dataclasses.replace(recipe, resolution=size, epochs=epochs, crop=crop),
        rungs=rungs,
        networks=networks,
        short_seconds=short,
        latencies=tried + (rungs.finalists + 2 if tried else 0),
        latency_seconds=tried * pace.latency_seconds / pace.workers + last,
        seconds=beside + shorts * short + parent_seconds,
        parent_seconds=parent_seconds,
    )
    return plan, math.inf if "epochs" in fixed else epochs * train / batch
