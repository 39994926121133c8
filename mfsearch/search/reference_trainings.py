"""Gives the published networks the short training of a study."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mfsearch.config import MobileFormerConfig
from mfsearch.presets import PRESETS
from mfsearch.proxy.recipe import Recipe
from mfsearch.references import Reference
from mfsearch.search.trainings import Task, run_tasks
from mfsearch.study.task_file import TaskRecord
from mfsearch.study.trained_references import Identity, trainings_path


def reference_tasks(references: Sequence[Reference], seed: int) -> dict[str, Task]:
    """The training of each network by its name; those that were searched with their input side have none."""
    networks: dict[str, MobileFormerConfig | Reference] = {
        row.name: row if row.preset is None else PRESETS[row.preset] for row in references if row.resolution
    }
    return {
        name: Task(f"{re.sub('[^A-Za-z0-9.]+', '-', name)}_s{seed}", network, seed)
        for name, network in networks.items()
    }


def train_references(
    tasks: Mapping[str, Task],
    results: Path,
    shared: Identity,
    *,
    data: str,
    data_dir: Path | None,
    recipe: Recipe,
    workers: int,
    device: str = "cpu",
    on_done: Callable[[Task, TaskRecord], None] | None = None,
    on_tick: Callable[[], None] = lambda: None,
) -> dict[str, TaskRecord]:
    """The record of each network by its name; only what is not kept is trained. A network that cannot take these images
    has a failed record with the reason. Raises as `run_tasks`."""
    path = trainings_path(results, shared)
    records = run_tasks(
        tasks.values(),
        data=data,
        data_dir=data_dir,
        recipe=recipe,
        workers=workers,
        path=path,
        identity=shared,
        on_done=on_done,
        on_tick=on_tick,
        data_seed=shared["seed"],
        device=device,
    )
    return {name: records[task.key] for name, task in tasks.items()}
