"""The Python side of the command line: a search, a study, a figure, a latency and a bundle, each one call.

`import mfsearch as mf` gives these names and loads what is behind them when they are first used.
"""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mfsearch.config import MobileFormerConfig
from mfsearch.presets import preset
from mfsearch.proxy.recipe import Recipe, default_recipe
from mfsearch.proxy.rungs import Rungs, default_rungs
from mfsearch.space import SearchSpace, find_space
from mfsearch.study.files import RESULTS, check_name, find_lesson, find_study, study_name
from mfsearch.study.settings import Limits, Settings, parse_objectives
from mfsearch.study.study import Study
from mfsearch.units import parse_budget, parse_limits, parse_ms, parse_seconds

if TYPE_CHECKING:
    from mfsearch.analysis.latency.reference_figures import ReferenceFigures
    from mfsearch.cost.meter import Latency
    from mfsearch.model import MobileFormer
    from mfsearch.search.progress import SearchEvent
    from mfsearch.study.parent import Parent


def load_space(name: str | Path) -> SearchSpace:
    """The search space of a YAML file, or one that comes with mfsearch by its name, such as "mobile_former".

    ValueError names the line of a YAML file that is wrong, or the spaces that are known.
    """
    return find_space(str(name))


def search(
    space: SearchSpace | str | Path | None = None,
    *,
    budget: str | float,
    parent: str | Path | None = None,
    data: str | Path = "digits",
    data_dir: str | Path | None = None,
    latency: str | float | None = None,
    params: str | float | None = None,
    memory: str | float | None = None,
    size: str | float | None = None,
    objectives: str | Sequence[str] | None = None,
    trials: int | None = None,
    time: str | float | None = None,
    workers: int = 1,
    study: str | None = None,
    results: str | Path = RESULTS,
    sampler: str = Settings.sampler,
    seed: int = Settings.seed,
    device: str = Settings.device,
    recipe: Recipe | None = None,
    rungs: Rungs | None = None,
    classes: int | None = None,
    start_from: str | None = None,
    prior: str = Settings.prior,
    storage: str | None = None,
    on_event: "Callable[[SearchEvent], None] | None" = None,
) -> Study:
    """Search a space inside a budget of multiply-adds; the same call again resumes the study where it stopped.

    space: by default "mobile_former", or with a parent all that is inside it. budget: multiply-adds at deployment:
    "150M", 150e6 or "120M..150M". parent: folder of a bundle with trained weights, from which networks are cut.
    latency: limit at batch 1 on one thread here, "8ms" or a number of milliseconds. params, memory, size: limits on
    parameters ("5M" or 5e6), peak activations and the ONNX file ("3MB" or 3e6 bytes). objectives: what the front is of,
    as in "top1,params"; by default top1, madds and, with a limit on it, latency. data: "digits", "cifar10",
    "cifar100" (in `data_dir`) or an image folder with train/CLASS/*.jpg. trials: number of networks to train in the
    whole study. time: limit of this call, "30m" or seconds; those of recipe, rungs and trials that are not given are
    chosen to fit it. Without `trials` and `time`, 30 networks are trained. workers: processes, one thread each. study:
    its name under `results`, by default made from data and budget. recipe, rungs: the short training and the longer
    ones. classes: the number that costs are for, by default that of the data or of a SearchSpace. start_from: a study
    whose best networks are tried first. prior: "tables" or "none", what the model knows before the first training.
    storage: URL of a database. on_event: called with each SearchEvent; without it, a terminal or notebook shows a
    progress bar.

    Returns the study. Raises ValueError for settings that cannot work or that differ from the study's, and if no
    network is within the budget and the limits; RuntimeError if no network could be trained, StudyBusyError,
    DiskError and WorkerError. Ctrl-C raises KeyboardInterrupt after the running trials are put aside; everything
    finished is kept, and the same call resumes.
    """
    from mfsearch.export.parent_bundle import read_parent
    from mfsearch.search.bar import progress_bar
    from mfsearch.search.ending import check_found
    from mfsearch.search.loop import run_search

    results, budget = Path(results), budget if isinstance(budget, str) else f"{budget / 1e6:.12g}M"
    name = check_name(study or study_name(str(data), budget))
    if trials is None and time is None:
        trials = Limits.trials
    inside = None if parent is None else read_parent(Path(parent))
    whole = _space(space, inside)
    settings = Settings(
        study=name,
        budget=parse_budget(budget),
        latency_limit_ms=parse_ms(latency) if isinstance(latency, str) else latency,
        space=whole if classes is None else whole.deployed(whole.resolution, classes),
        data=str(data),
        recipe=recipe or default_recipe(str(data), inside=inside is not None),
        sampler=sampler,
        seed=seed,
        device=device,
        rungs=rungs or default_rungs(inside=inside is not None),
        data_dir=None if data_dir is None else Path(data_dir),
        start_from=find_lesson(start_from, name, results),
        prior=prior,
        cost_limits=parse_limits(params, memory, size),
        goals=() if objectives is None else parse_objectives(objectives),
        space_given=None if isinstance(space, SearchSpace | None) else str(space),
        parent=inside,
    )
    limits = Limits(trials, parse_seconds(time) if isinstance(time, str) else time, workers)
    given = {"resolution": recipe, "epochs": recipe, "rungs": rungs, "classes": classes}
    fixed = frozenset(option for option, value in given.items() if value is not None)
    if isinstance(space, SearchSpace):
        fixed |= {"classes"}
    with progress_bar() if on_event is None else nullcontext((on_event, lambda _: None)) as (display, on_stage):
        result = run_search(settings, limits, results / name, display, storage, fixed=fixed, on_stage=on_stage)
    if result.stopped == "interrupted":
        raise KeyboardInterrupt
    check_found(result.stopped, result.study, settings)
    return result.study


def _space(space: SearchSpace | str | Path | None, parent: "Parent | None") -> SearchSpace:
    """The space that was asked for, inside the parent if there is one."""
    from mfsearch.space.nested import NestedSpace, nested_space, read_nested

    if isinstance(space, SearchSpace):
        theirs = space.parent if isinstance(space, NestedSpace) else None
        if theirs != (parent and parent.config):
            raise ValueError(f"space {space.name} must be one inside the given parent, or neither")
        return space
    if parent is None:
        return find_space(str(space or "mobile_former"))
    return nested_space(parent.config) if space is None else read_nested(Path(space), parent.config)


def open_study(name: str | Path) -> Study:
    """The study in a folder, or of that name under results/; it may be one that a search is writing.

    ValueError where there is none or it cannot be read.
    """
    return Study.open(find_study(str(name)))


def plot_front(study: Study, cost: str = "madds") -> Any:
    """The study's trials as a plotly figure: top1 (%) against a cost, with the front and the parent, if any, marked.

    cost: "madds" (M), "latency_ms" or "num_params" (M). ValueError for any other, and where no trial has it.
    """
    from mfsearch.analysis.figures.tradeoff import COSTS, draw_tradeoff, tradeoff_points
    from mfsearch.analysis.front.cut import measured_objectives
    from mfsearch.analysis.front.summary import comparable
    from mfsearch.analysis.metrics import with_confidence

    frame = study.frame()
    if cost not in COSTS or not comparable(frame, cost).any():
        raise ValueError(f"cost must be one of {', '.join(COSTS)} that the study's trials have, got {cost!r}")
    objectives = measured_objectives(frame, study.objectives)
    frame = with_confidence(frame, objectives, study.manifest.data.val_images)
    return draw_tradeoff(tradeoff_points(frame, cost, objectives, study.manifest.limits, parent=study.parent))


def measure_latency(
    network: "MobileFormer | MobileFormerConfig | str",
    *,
    threads: int = 1,
    batch: int = 1,
    cache_dir: str | Path | None = None,
) -> "Latency":
    """Milliseconds of a network here by ONNX Runtime on the CPU, with the 95 % interval and the device's passport.

    network: a module, a config or a preset's name, timed at its config's resolution in turns with MobileNetV3-Large,
    whose own time is kept in cache_dir (by default ~/.cache/mfsearch). Takes ten to thirty seconds. ExportError where
    its ONNX file does not equal torch.
    """
    from mfsearch.cost.meter import LatencyMeter
    from mfsearch.cost.onnx_export import export_onnx
    from mfsearch.model import MobileFormer

    if isinstance(network, str):
        network = preset(network)
    model = network if isinstance(network, MobileFormer) else MobileFormer(network)
    with tempfile.TemporaryDirectory(prefix="mfsearch-") as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(model, model.config.resolution, path, batch=batch)
        cache = None if cache_dir is None else Path(cache_dir)
        return LatencyMeter.open(threads=threads, cache_dir=cache).measure(path)


def references(
    names: str | Sequence[str] = (),
    *,
    measure: bool = False,
    again: bool = False,
    resolution: int | None = None,
    results: str | Path = RESULTS,
    cache_dir: str | Path | None = None,
) -> "list[ReferenceFigures]":
    """Published networks: figures as published, exact costs as built here, and milliseconds kept for this device.

    names: networks or families, such as "GhostNet 1.0" or "LeViT"; by default all. measure: measure those that have no
    milliseconds yet, as `measure_latency` does, ten to thirty seconds each, and keep them under results/references;
    again: all of them. resolution: image side in pixels for all, by default the published one of each. Building them
    needs timm and torchvision (extra "references"): ValueError without, and for an unknown name.
    """
    from mfsearch.analysis.latency.reference_figures import reference_figures
    from mfsearch.references import find_references

    chosen = find_references([names] if isinstance(names, str) else names)
    cache = None if cache_dir is None else Path(cache_dir)
    return list(
        reference_figures(chosen, Path(results), measure=measure, again=again, resolution=resolution, cache_dir=cache)
    )


def export_bundle(
    source: Study | MobileFormerConfig | str, *, trial: int | None = None, to: str | Path, classes: int | None = None
) -> Path:
    """Write a network as a bundle: code, weights, ONNX, training and model card; returns its folder.

    source: a study with the number of one of its trials, a config, or a preset's name. to: a new or empty folder.
    classes: of the classifier, by default the config's. A study's trained classifier is kept only if they are the
    classes of its data, as in classes=study.manifest.data.classes; otherwise it is re-initialised. ValueError if there
    is no such trial or the folder is not empty.
    """
    from dataclasses import replace

    from mfsearch.export.bundle import write_bundle
    from mfsearch.export.origin import of_config, of_trial

    if isinstance(source, Study):
        if trial is None:
            raise ValueError("a study's bundle needs the number of a trial, as in export_bundle(study, trial=7, ...)")
        origin = of_trial(source.folder, trial, classes=classes)
    else:
        if trial is not None:
            raise ValueError(f"trial={trial} needs a study, as in export_bundle(study, trial={trial}, ...)")
        name, config = (source, preset(source)) if isinstance(source, str) else (source.arch_id, source)
        origin = of_config(name, replace(config, classes=config.classes if classes is None else classes))
    write_bundle(origin, Path(to))
    return Path(to)


def load_bundle(folder: str | Path) -> "MobileFormer":
    """The network of a bundle with its weights, in eval mode: images [N, 3, H, W] in, logits [N, classes] out.

    ValueError where the folder is no bundle or a file of it was altered in form; `mfsearch verify` checks all of it.
    """
    from mfsearch.export.bundle import load_network

    return load_network(Path(folder)).eval()


def load_published(name: str, path: str | Path) -> "MobileFormer":
    """A preset with the weights that the paper's authors released, in eval mode: images [N, 3, H, W] in, logits out.

    path: their PyTorch checkpoint of that size, which is read without running code. Images are normalised by ImageNet's
    mean and std. ValueError names the file and the key that does not fit, or the preset that the file is of.
    """
    from mfsearch.export.published_weights import read_published
    from mfsearch.model import MobileFormer

    model = MobileFormer(preset(name))
    model.load_state_dict(read_published(name, Path(path)))
    return model.eval()
