"""Can a short training's ranking be trusted? The same networks are trained short, and long with another seed; inside a
parent they are also judged as they are cut.

Networks are drawn at random within 10 % below the budget (the band) and at sizes far below it (across budgets). Each
training is one line of a file; the same call resumes. analysis/ranking/verdict.py evaluates the trainings.
"""

import dataclasses
import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from mfsearch.config import MobileFormerConfig
from mfsearch.cost.madds import count_costs
from mfsearch.data import ImageData
from mfsearch.proxy.rungs import Rungs
from mfsearch.proxy.zero_cost import ZERO_COST
from mfsearch.search.cutter import Cutter, ParentWeights, prepare_parent
from mfsearch.search.proposal import check_reachable
from mfsearch.search.trainings import MakeTrainer, Proxy, Task, Trainer, run_tasks, train_task
from mfsearch.space import SearchSpace
from mfsearch.space.solve import fit
from mfsearch.study.calibration_file import CALIBRATIONS, GROUPS, CalibrationIdentity
from mfsearch.study.files import check_name, locked
from mfsearch.study.manifest import DataFacts, NamedSpace, StudyRequest, make_manifest
from mfsearch.study.settings import Calibration, Settings, check_device
from mfsearch.study.task_file import TRAININGS, TaskFile, TaskRecord, ZeroCostScore
from mfsearch.units import Budget, format_madds

BAND = 0.9  # lower end of the band, as a fraction of the budget
REACH = 6.0  # networks across budgets go down to a sixth of the budget
ATTEMPTS = 500  # draws per network before the space counts as exhausted
SCORE_IMAGES = 64  # batch size of the zero-cost scores


class Network(NamedTuple):
    """A network to train short and long, with its costs at the deployment size."""

    config: MobileFormerConfig
    madds: int
    num_params: int

    @property
    def arch_id(self) -> str:
        return self.config.arch_id


class NetworkRecords(NamedTuple):
    """A finished calibration: networks by group, the record of each training by key, and the shared identity."""

    networks: dict[str, list[Network]]
    records: dict[str, TaskRecord]
    identity: CalibrationIdentity


def short_key(network: Network, seed: int) -> str:
    return f"short-{network.arch_id}-{seed}"


def long_key(network: Network, seed: int) -> str:
    return f"long-{network.arch_id}-{seed}"


def draw_networks(space: SearchSpace, budget: Budget, count: int, seed: int) -> dict[str, list[Network]]:
    """`count` different networks inside the band and as many across budgets; a larger count starts with the networks of
    a smaller one.

    Params are random, and the width is solved for a random target: log-uniform over the band, or from a sixth of the
    budget (or its stated lower end) up to it. Raises ValueError if the space does not hold enough networks.
    """
    top = budget.high
    floor = max(BAND * top, budget.low if budget.stated else 0)
    lowest = min(top / REACH, budget.low if budget.stated else top)
    drawn = {}
    for group, start in (("band", (floor + top) / 2), ("across", lowest)):
        rng = random.Random(f"{seed}:{group}")
        networks: dict[str, Network] = {}
        for _ in range(ATTEMPTS * count):
            if len(networks) == count:
                break
            target = start * (top / start) ** rng.random()
            try:
                sized = fit(space, space.draw(rng), floor if group == "band" else BAND * target, target)
            except ValueError:
                continue  # not every width of a draw can be built
            if sized is not None:
                costs = count_costs(sized.config)
                networks.setdefault(sized.config.arch_id, Network(sized.config, costs.madds, costs.num_params))
        if len(networks) < count:
            low = floor if group == "band" else lowest
            raise ValueError(
                f"space {space.name} must hold {count} networks (--networks) of {format_madds(low)} to "
                f"{format_madds(top)} multiply-adds; {ATTEMPTS * count} draws gave {len(networks)}"
            )
        drawn[group] = list(networks.values())
    return drawn


def list_tasks(networks: dict[str, list[Network]], settings: Calibration) -> list[Task]:
    """All trainings, short ones first: short with seed s and long with s + 1, so that the two share no noise. The first
    network of the band trains long with `seeds` seeds from s + 1 on."""
    seed, every = settings.seed, [network for group in GROUPS for network in networks[group]]
    tasks = [Task(short_key(network, seed), network.config, seed, settings.points) for network in every]
    longs = [(networks["band"][0], each) for each in settings.long_seeds]
    longs += [(network, seed + 1) for network in every]
    tasks += [Task(long_key(network, s), network.config, s, settings.long_points) for network, s in longs]
    return list({task.key: task for task in tasks}.values())  # a network may be in both groups


def calibration_folder(results: Path, settings: Calibration, name: str | None = None) -> Path:
    """The folder of a calibration: its name, which by default is made from space or parent, data and budget."""
    space = settings.space.name if settings.parent is None else f"inside-{settings.parent.facts.name}"
    made = f"{space}-{Path(settings.data).name or 'data'}-{settings.budget}".replace("..", "-")
    return results / CALIBRATIONS / check_name(name or re.sub(r"[^A-Za-z0-9._-]+", "-", made).strip("._-"))


def run_calibration(
    settings: Calibration,
    folder: Path,
    *,
    workers: int,
    on_start: Callable[[list[Task], tuple[str, ...]], None] | None = None,
    on_done: Callable[[Task, TaskRecord], None] | None = None,
    on_tick: Callable[[], None] = lambda: None,
    on_stage: Callable[[str], None] = lambda _: None,
    make_trainer: MakeTrainer | None = None,
) -> NetworkRecords:
    """Run the trainings that the folder's file does not hold yet. Raises the errors of `run_tasks`."""
    check_device(settings.device)
    check_reachable(settings.space, settings.budget)
    networks = draw_networks(settings.space, settings.budget, settings.networks, settings.seed)
    images = settings.recipe.load_images(
        settings.data,
        data_dir=settings.data_dir,
        seed=settings.seed,
        download=settings.download,
        skip_damaged=settings.skip_damaged,
    )
    notes = images.notes
    space, inside = settings.space, settings.parent
    identity = CalibrationIdentity(
        space=NamedSpace(space.name, space.digest),
        resolution=space.resolution,
        classes=space.classes,
        data=DataFacts(**images.facts()),
        recipe=settings.recipe,
        budget=settings.budget,
        long=settings.long,
        seed=settings.seed,
        device=settings.device.split(":")[0],
        parent=None if inside is None else inside.facts.digest,
    )
    parent = None if inside is None else _own_parent(settings, images, identity, folder, on_stage)
    del images  # each worker loads its own
    tasks = list_tasks(networks, settings)
    if on_start is not None:
        on_start(tasks, notes)
    records = run_tasks(
        tasks,
        data=settings.data,
        data_dir=settings.data_dir,
        data_seed=settings.seed,
        recipe=settings.recipe,
        device=settings.device,
        workers=workers,
        path=folder / TRAININGS,
        identity=identity.to_dict(),
        on_done=on_done,
        on_tick=on_tick,
        make_trainer=make_trainer or calibration_trainer,
        parent=parent,
    )
    return NetworkRecords(networks, records, identity)


def _own_parent(
    settings: Calibration,
    images: ImageData,
    identity: CalibrationIdentity,
    folder: Path,
    on_stage: Callable[[str], None],
) -> ParentWeights | None:
    """The calibration's own copy of its parent, as a study of the same settings has it."""
    study = Settings(
        folder.name,
        settings.budget,
        None,
        settings.space,
        settings.data,
        settings.recipe,
        seed=settings.seed,
        device=settings.device,
        rungs=Rungs((1.0, settings.long)),
        data_dir=settings.data_dir,
        parent=settings.parent,
    )
    manifest = make_manifest(study, images, StudyRequest(settings.data), passport=None, baseline_ms=None)
    with locked(folder):
        TaskFile(folder / TRAININGS, identity.to_dict())  # another calibration keeps its parent
        return prepare_parent(study, manifest, folder, on_stage)


def calibration_trainer(proxy: Proxy) -> Trainer:
    """A trainer that also records core-seconds and, for a short training from first weights, the zero-cost scores."""
    torch.set_num_threads(1)
    data = proxy.load_data()
    cutter = None if proxy.parent is None else Cutter(proxy.parent)
    batch_BCHW = data.normalized(data.train_images[:SCORE_IMAGES])

    def train(task: Task) -> TaskRecord:
        scores: dict[str, ZeroCostScore] = {}
        if cutter is None and task.key.startswith("short-"):
            assert isinstance(task.config, MobileFormerConfig)
            config = dataclasses.replace(task.config, classes=len(data.data.classes))
            scores = score_all(config, batch_BCHW, task.seed)
        wall, cpu = time.perf_counter(), time.process_time()
        record = train_task(task, data, proxy, cutter)
        assert record.train_seconds is not None
        # CPU time over wall time, because a resumed training knows only its wall time; 1 on another device
        share = (time.process_time() - cpu) / max(time.perf_counter() - wall, 1e-9) if proxy.device == "cpu" else 1.0
        seconds = record.train_seconds * min(1.0, share)
        return dataclasses.replace(
            record, images_per_second=None, zero_cost=scores, core_seconds=seconds, device=data.device.type
        )

    return train


def score_all(config: MobileFormerConfig, images_BCHW: torch.Tensor, seed: int) -> dict[str, ZeroCostScore]:
    """Every zero-cost score, or the reason why it has none."""
    scores: dict[str, ZeroCostScore] = {}
    for name, score in ZERO_COST.items():
        start = time.process_time()
        try:
            value = score(config, images_BCHW, seed)
        except (ValueError, RuntimeError) as error:
            scores[name] = ZeroCostScore(None, reason=str(error).partition("\n")[0])
            continue
        scores[name] = ZeroCostScore(value, core_seconds=time.process_time() - start)
    return scores
