"""export: networks of a study, a preset or a file as bundles."""

import argparse
import json
import shlex
import sys
from pathlib import Path
from typing import Any

from mfsearch.commands.network import deployed
from mfsearch.data import ImageData
from mfsearch.export.bundle import Written, check_new, of_bundle, write_bundle
from mfsearch.export.bundle_manifest import ARCH, MANIFEST
from mfsearch.export.origin import Origin, of_config, of_trial
from mfsearch.proxy.recipe import default_recipe
from mfsearch.search.settings import without_password


def export(args: argparse.Namespace) -> int:
    """Write a bundle, or with --front one for each network of a study's front."""
    folders = {args.to / name: origin for name, origin in _origins(args).items()}
    check_new(args.to)
    images = _int8_images(args, next(iter(folders.values())))
    command = without_password(shlex.join(["mfsearch", *sys.argv[1:]]))
    rows = []
    for folder, origin in folders.items():
        written = write_bundle(
            origin,
            folder,
            command=command,
            dynamic_batch=args.dynamic_batch,
            int8=images,
            executorch=args.executorch,
            measure=args.latency,
        )
        rows.append(_row(written, origin))
        if not args.json:
            _print(written, origin)
    if args.json:
        print(json.dumps({"networks": rows} if args.front else rows[0], indent=1))
    return 0


def _origins(args: argparse.Namespace) -> dict[str, Origin]:
    """The networks that are asked for, by the folder of each under --to."""
    from mfsearch.study.configs import find_config
    from mfsearch.study.ledger import find_study, list_studies

    ways = [name for name in ("trial", "knee", "front") if getattr(args, name) not in (None, False)]
    if len(ways) > 1:
        raise ValueError(f"--{ways[0]} goes without --{ways[1]}: say which network in one way")
    if not ways and (Path(args.network) / MANIFEST).is_file() and (Path(args.network) / ARCH).is_file():
        return {".": of_bundle(Path(args.network), resolution=args.resolution, classes=args.classes)}
    study, trial = args.network, args.trial
    if not ways and ":" in study and Path(study).suffix not in (".yaml", ".yml", ".json"):
        study, _, number = study.rpartition(":")
        if not number.isdecimal():
            raise ValueError(f"a trial is a whole number, as in {study}:3, got {number!r}")
        trial = int(number)
    if trial is None and not ways:
        if study in list_studies(args.results):
            raise ValueError(f"{study} is a study: say which network with --trial, --knee or --front")
        config = deployed(find_config(study, args.results), args)
        name = Path(study).name if Path(study).suffix in (".yaml", ".yml", ".json") else study
        return {".": of_config(name, config)}
    folder = find_study(study, args.results)
    numbers = [trial] if trial is not None else _chosen(folder, front=args.front)
    return {
        f"trial-{number:04}" if args.front else ".": of_trial(
            folder,
            number,
            resolution=args.resolution,
            classes=args.classes,
            data=args.data,
            data_dir=args.data_dir,
        )
        for number in numbers
    }


def _chosen(folder: Path, *, front: bool) -> list[int]:
    """The numbers of the front, or its most balanced one alone."""
    from mfsearch.analysis.frame import study_frame
    from mfsearch.analysis.front.cut import knee, measured_objectives
    from mfsearch.search.front import front_numbers
    from mfsearch.study.ledger import read_manifest, read_trials

    rows, objectives = read_trials(folder), read_manifest(folder)["objectives"]
    numbers = front_numbers(rows, objectives)
    if not numbers:
        raise ValueError(f"the study in {folder} has no front: nothing is trained")
    if front:
        return numbers
    frame = study_frame(rows)
    balanced = knee(frame[frame["number"].isin(numbers)], measured_objectives(frame, objectives))
    assert balanced is not None
    return [balanced]


def _int8_images(args: argparse.Namespace, origin: Origin) -> ImageData | None:
    """What int8 is calibrated by: --data, else the study's images, else digits."""
    if not args.int8:
        return None
    data = args.data or (origin.study.data.name if origin.study else "digits")
    seed = origin.study.seed if origin.study else 0
    return default_recipe(data).load_images(data, data_dir=args.data_dir, seed=seed)


def _row(written: Written, origin: Origin) -> dict[str, Any]:
    return {
        "name": origin.name,
        "folder": str(written.folder),
        "files": written.files,
        "weights": written.note,
        "arch_id": origin.config.arch_id,
        "onnx_difference": written.onnx_difference,
    }


def _print(written: Written, origin: Origin) -> None:
    print(f"{written.folder}: {', '.join(written.files)}  (arch_id {origin.config.arch_id})")
    print(f"weights: {written.note}")
    print(f"ONNX Runtime differs from torch by at most {written.onnx_difference:.1e} of the largest logit")
    if written.fresh or not written.warm:
        print("train it in full before use", file=sys.stderr)
