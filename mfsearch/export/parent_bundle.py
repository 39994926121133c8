"""A bundle as the parent of a search."""

from pathlib import Path

from mfsearch.cost.madds import count_costs
from mfsearch.export.bundle import CHECKED, Bundle, read_bundle
from mfsearch.export.bundle_manifest import WEIGHTS
from mfsearch.export.check import wrong_files
from mfsearch.export.source import check_fit, read_tensors, stored_numbers
from mfsearch.living import check_living
from mfsearch.model import MobileFormer
from mfsearch.study.files import JOURNAL
from mfsearch.study.parent import Parent, ParentFacts


def read_parent(folder: Path, option: str = "--parent") -> Parent:
    """The network in a bundle as a parent or teacher; ValueError if a file was altered, or its weights are not trained.

    option: its place in the command.
    """
    if not folder.is_dir():
        raise ValueError(
            f"{option} {folder}: must be the folder of a bundle, there is none; `mfsearch export` writes one"
        )
    if (folder / JOURNAL).exists():
        way = f"`mfsearch export {folder.resolve().name} --best --to DIR` writes one of its best network"
        raise ValueError(f"{option} {folder}: must be the folder of a bundle, this is a study; {way}")
    bundle = read_bundle(folder)
    if wrong := wrong_files(folder, bundle.manifest, CHECKED):
        raise ValueError(f"{option} {wrong[0]}")
    if bundle.weights is None or not bundle.metrics.weights.trained_tensors:
        raise ValueError(
            f"{option} {folder}: its weights are not trained; `mfsearch train {folder} --data DIR` trains them"
        )
    stored, num_params = stored_numbers(bundle.weights), count_costs(bundle.config).num_params
    if stored < num_params:  # before a network of any size is built
        raise ValueError(f"{bundle.weights}: holds {stored} numbers, the network has {num_params} parameters")
    check_fit(MobileFormer(bundle.config, seed=None), read_tensors(bundle.weights), bundle.weights)
    told = bundle.preprocessing
    if told.mean is None or told.std is None:
        raise ValueError(f"{option} {folder}: it does not say the mean and std of the pixels it was trained on")
    data, split_seed = _trained_on(bundle)
    return Parent(
        facts=ParentFacts(folder.resolve().name, bundle.config.arch_id, bundle.manifest.files[WEIGHTS].sha256),
        config=check_living(bundle.config, folder),
        weights=bundle.weights,
        mean=told.mean,
        std=told.std,
        class_names=told.class_names,
        data=data,
        split_seed=split_seed,
    )


def _trained_on(bundle: Bundle) -> tuple[str | None, int | None]:
    """The data of the last training, and the seed of its split; see Parent."""
    full, proxy, study = bundle.metrics.full_training, bundle.metrics.proxy, bundle.manifest.study
    if full is not None:
        held_out = str(full.get("val_from")).endswith("of the training images")
        return full.get("data"), 0 if held_out else None  # SPLIT_SEED of every full training
    if proxy is not None and study is not None and study.parent is None:
        return proxy.data.name, study.seed
    return None, None
