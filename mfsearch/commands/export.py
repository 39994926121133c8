"""Export a network as a bundle: config, code, weights, ONNX, training, card."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mfsearch.commands import options
from mfsearch.proxy.recipe import default_recipe

if TYPE_CHECKING:
    from mfsearch.data import ImageData
    from mfsearch.export.bundle import BundleFiles
    from mfsearch.export.origin import Origin


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("network", metavar="NETWORK", help="study, STUDY:TRIAL, preset, YAML file or bundle")
    which = parser.add_argument_group("which network of a study")
    which.add_argument("--trial", type=options.whole, help="number of the trial to export")
    told = "the trial of the front with the highest top1 (also as --knee, an earlier name)"
    which.add_argument("--best", "--knee", dest="best", action="store_true", help=told)
    which.add_argument("--front", action="store_true", help="every trial of the front, one folder each")
    text = "the authors' published weights of a preset (.pth of AAboys/MobileFormer)"
    parser.add_argument("--weights", type=Path, metavar="FILE", help=text)
    parser.add_argument("--to", type=Path, required=True, help="new or empty folder to write")
    parser.add_argument("--dynamic-batch", action="store_true", help="write ONNX for any batch size (default: 1)")
    parser.add_argument("--int8", action="store_true", help="also write model.int8.onnx, by static quantisation")
    parser.add_argument("--executorch", action="store_true", help="also write model.pte (minutes; needs its extra)")
    options.add_data(
        parser, "images for --int8, and older studies' mean and std (default: the study's)", download=False
    )
    parser.add_argument("--latency", action="store_true", help="measure latency here if the study has none")
    options.add_results(parser)
    options.add_deployment(parser, "network")


def run(args: argparse.Namespace) -> int:
    """Write a bundle, or with --front one for each network of a study's front."""
    from mfsearch.cost.quantize import CHOSEN
    from mfsearch.export.bundle import check_new, write_bundle
    from mfsearch.export.bundle_manifest import INT8
    from mfsearch.study.files import without_password

    folders = {args.to / name: origin for name, origin in _origins(args).items()}
    check_new(args.to)
    images = _int8_images(args, next(iter(folders.values())))
    rows = []
    for folder, origin in folders.items():
        written = write_bundle(
            origin,
            folder,
            command=without_password(args.command_line),
            dynamic_batch=args.dynamic_batch,
            int8=images,
            executorch=args.executorch,
            measure=args.latency,
            cache_dir=args.cache_dir,
        )
        int8 = str(CHOSEN) if INT8 in written.files else None
        size, trained_size = origin.config.resolution, origin.preprocessing.trained_size
        row = {
            "name": origin.name,
            "size": size,
            "trained_size": trained_size,
            "int8": int8,
            "folder": str(written.folder),
            "files": written.files,
            "weights": written.note,
        }
        rows.append(row | {"arch_id": origin.config.arch_id, "onnx_difference": written.onnx_difference})
        if not args.json:
            _print(written, origin)
        if written.warm and not written.fresh and trained_size not in (None, size):
            print(
                f"{folder}: the weights were trained at {trained_size} px and model.onnx is for {size} px: expect a "
                f"lower top1; --resolution {trained_size} writes it for the size of the training",
                file=sys.stderr,
            )
    if args.json:
        print(json.dumps({"networks": rows} if args.front else rows[0], indent=1))
    return 0


def _origins(args: argparse.Namespace) -> "dict[str, Origin]":
    """The networks that are asked for, by the folder of each under --to."""
    from mfsearch.export.bundle import of_bundle
    from mfsearch.export.bundle_manifest import ARCH, MANIFEST
    from mfsearch.export.origin import of_config, of_trial
    from mfsearch.study.configs import find_config
    from mfsearch.study.files import find_study, list_studies

    ways = [name for name in ("trial", "best", "front") if getattr(args, name) not in (None, False)]
    if len(ways) > 1:
        raise ValueError(f"--{ways[0]} goes without --{ways[1]}: say which network in one way")
    if args.weights is not None:
        return {".": _published(args, ways)}
    if not ways and (Path(args.network) / MANIFEST).is_file() and (Path(args.network) / ARCH).is_file():
        return {".": of_bundle(Path(args.network), resolution=args.resolution, classes=args.classes)}
    study, trial = args.network, args.trial
    if not ways and ":" in study and Path(study).suffix not in (".yaml", ".yml", ".json"):
        study, _, number = study.rpartition(":")
        if not number.isdecimal():
            raise ValueError(f"a trial is a whole number, as in {study}:3, got {number!r:.200}")
        trial = int(number)
    if trial is None and not ways:
        if study in list_studies(args.results):
            raise ValueError(f"{study} is a study: say which network with --trial, --best or --front")
        config = options.deployed(find_config(study, args.results), args)
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
            data_dir=args.data_dir or args.data_home,
        )
        for number in numbers
    }


def _published(args: argparse.Namespace, ways: list[str]) -> "Origin":
    """A preset with the authors' weights."""
    from mfsearch.export.published_weights import of_published
    from mfsearch.presets import PRESETS

    if ways or args.network not in PRESETS:
        given = f"--{ways[0]}" if ways else f"{args.network!r:.200}"
        raise ValueError(f"--weights goes with one of {', '.join(PRESETS)}, got {given}")
    return of_published(args.network, args.weights, resolution=args.resolution, classes=args.classes)


def _chosen(folder: Path, *, front: bool) -> list[int]:
    """The numbers of the front, or its best one alone."""
    from mfsearch.study.study import Study

    study = Study.open(folder)
    options.tell_strange(study)
    best = study.best()
    if best is None:
        raise ValueError(f"the study in {folder} has no front: nothing is trained")
    return [trial.number for trial in study.front()] if front else [best.number]


def _int8_images(args: argparse.Namespace, origin: "Origin") -> "ImageData | None":
    """The images that calibrate int8: from --data, else the study's, else digits."""
    if not args.int8:
        return None
    data = args.data or (origin.study.data.name if origin.study else "digits")
    seed = origin.study.seed if origin.study else 0
    data_dir = args.data_dir or args.data_home
    return default_recipe(data).load_images(data, data_dir=data_dir, seed=seed, skip_damaged=args.skip_damaged)


def _print(written: "BundleFiles", origin: "Origin") -> None:
    print(f"{written.folder}: {', '.join(written.files)}  (arch_id {origin.config.arch_id})")
    print(f"weights: {written.note}")
    print(f"ONNX Runtime differs from torch by at most {written.onnx_difference:.1e} of the largest logit")
    from mfsearch.cost.quantize import CHOSEN
    from mfsearch.export.bundle_manifest import INT8

    if INT8 in written.files:
        print(f"{INT8}: {CHOSEN}")
    if written.fresh or not written.warm:
        print("train it in full before use", file=sys.stderr)
