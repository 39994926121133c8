"""The command line: parse, call one function, print. torch, pandas and optuna are imported only by what needs them."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mfsearch import __version__

DONE, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130

# each command is one function in mfsearch/commands
COMMANDS = {
    "run": "run:run",
    "calibrate": "calibrate:calibrate",
    "show": "study:show",
    "explore": "study:explore",
    "export": "export:export",
    "verify": "verify:verify",
    "describe": "network:describe",
    "latency": "network:latency",
    "space": "network:space",
    "twins": "twins:twins",
    "train": "train:train",
    "references": "references:references",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0 done, 1 an error of the run, 2 wrong use, 130 interrupted."""
    args = _parser().parse_args(argv)
    try:
        module, _, function = COMMANDS[args.command].partition(":")
        code: int = getattr(importlib.import_module(f"mfsearch.commands.{module}"), function)(args)
        return code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return FAILED
    except ValueError as error:  # every check of what a user gave raises one
        print(f"mfsearch: {error}", file=sys.stderr)
        return WRONG_USE
    except (RuntimeError, OSError) as error:
        print(f"mfsearch: {error}", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mfsearch", description="Neural architecture search and design-space explorer for Mobile-Former."
    )
    parser.add_argument("--version", action="version", version=f"mfsearch {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    run = _command(commands, "run", "search networks inside a budget; the same command again goes on")
    run.add_argument("--budget", required=True, help="multiply-adds at deployment: 150M, 1.2G or 120M..150M")
    run.add_argument("--latency", help="limit on measured latency, batch 1, one thread: 8ms (default: not measured)")
    _runner(run)
    run.add_argument("--space", default="mobile_former", help="name or YAML file (default: %(default)s)")
    run.add_argument("--data", help="digits, cifar10, cifar100 or an image folder (default: digits)")
    run.add_argument("--data-dir", type=Path, help="folder that holds CIFAR (default: $MFSEARCH_DATA)")
    run.add_argument("--download", action="store_true", help="fetch CIFAR into --data-dir if it is not there")
    run.add_argument("--trials", type=_whole, help="trained networks in the study, earlier ones counted (default: 30)")
    run.add_argument("--time", help="stop beginning new trials after 90s, 30m or 2h (default: no limit)")
    run.add_argument("--workers", type=_whole, default=1, help="processes of one thread each (default: %(default)s)")
    run.add_argument("--study", help="name of the study (default: made from data and budget)")
    run.add_argument("--from", dest="start_from", metavar="STUDY", help="try the best networks of this study first")
    run.add_argument("--storage", help="keep trials in this database URL instead of the study's folder")
    run.add_argument(
        "--sampler",
        default="auto",
        help="auto, gp, tpe, evolution, local, nsga2, or random, the control without starting points (%(default)s)",
    )
    run.add_argument("--seed", type=_whole, default=0, help="of proposals, data split and training (%(default)s)")
    run.add_argument("--device", default="cpu", help="where to train: cpu or cuda (default: %(default)s)")
    _short_training(run)
    longer = run.add_argument_group("longer trainings of the better networks")
    longer.add_argument("--rungs", default="1,3,9", help="lengths in short trainings, 1 for none (%(default)s)")
    longer.add_argument("--finalists", type=_whole, default=5, help="trained at the last length (default: %(default)s)")
    longer.add_argument("--rank-by", default="val_loss", help="val_loss, loss (of training) or top1 (%(default)s)")
    longer.add_argument("--final-seeds", type=_whole, default=2, help="seeds of each finalist (default: %(default)s)")
    _deployment(run)
    _results(run)
    run.add_argument("--dry-run", action="store_true", help="propose --trials networks and train none")
    _json(run)

    calibrate = _command(commands, "calibrate", "how far the short training's ranking can be trusted here")
    calibrate.add_argument("--budget", required=True, help="multiply-adds at deployment: 150M, 1.2G or 120M..150M")
    calibrate.add_argument("--data", required=True, help="digits, cifar10, cifar100 or an image folder")
    calibrate.add_argument("--space", default="mobile_former", help="name or YAML file (default: %(default)s)")
    calibrate.add_argument("--data-dir", type=Path, help="folder that holds CIFAR (default: $MFSEARCH_DATA)")
    calibrate.add_argument("--download", action="store_true", help="fetch CIFAR into --data-dir if it is not there")
    calibrate.add_argument(
        "--networks", type=_whole, default=16, help="within 10 %% of the budget, and as many below (16)"
    )
    calibrate.add_argument("--long", type=float, default=10.0, help="times the short training (default: %(default)g)")
    calibrate.add_argument("--seeds", type=_whole, default=3, help="of one network, for the noise (%(default)s)")
    calibrate.add_argument("--target", type=float, help="Kendall's tau wanted inside the band (default: 0.45)")
    calibrate.add_argument("--target-across", type=float, help="tau wanted across budgets (default: 0.75)")
    calibrate.add_argument("--workers", type=_whole, default=1, help="processes of one thread each (%(default)s)")
    calibrate.add_argument("--seed", type=_whole, default=0, help="of networks, data split and training (%(default)s)")
    calibrate.add_argument("--device", default="cpu", help="where to train: cpu or cuda (default: %(default)s)")
    calibrate.add_argument("--name", help="folder under RESULTS/calibrations (default: made from the settings)")
    _short_training(calibrate)
    _deployment(calibrate)
    _results(calibrate)
    _json(calibrate)

    show = _command(commands, "show", "the front of a study and what became of its trials")
    show.add_argument("study", nargs="?", help="name or folder (default: the newest)")
    show.add_argument("--all", action="store_true", help="every trial, not only the front")
    _results(show)
    _json(show)

    describe = _command(commands, "describe", "table and exact costs of a network")
    describe.add_argument("config", metavar="CONFIG", help="preset, YAML file or STUDY:TRIAL")
    _deployment(describe)
    _results(describe)
    _json(describe)

    latency = _command(commands, "latency", "milliseconds of networks, measured here beside a reference")
    latency.add_argument("configs", metavar="CONFIG", nargs="+", help="preset, YAML file or STUDY:TRIAL")
    latency.add_argument("--threads", type=_whole, help="threads of ONNX Runtime (default: 1)")
    latency.add_argument("--batch", type=_whole, default=1, help="images at once (default: %(default)s)")
    latency.add_argument("--breakdown", action="store_true", help="milliseconds by part, from the runtime's profile")
    latency.add_argument("--resolutions", help="against image size, beside MobileNetV3: 160..768 or 160,224,320")
    latency.add_argument("--figure", type=Path, help="page that --resolutions draws (latency-by-size.html)")
    latency.add_argument("--int8", action="store_true", help="also in int8, with its accuracy: static quantisation")
    latency.add_argument(
        "--data", help="images that --int8 is calibrated and judged by (default: a trial's, or digits)"
    )
    latency.add_argument("--data-dir", type=Path, help="folder that holds CIFAR (default: $MFSEARCH_DATA)")
    _runner(latency)
    _deployment(latency)
    _results(latency)
    _json(latency)

    space = _command(commands, "space", "knobs, size and reach of a search space")
    space.add_argument("space", metavar="SPACE", help="name or YAML file")
    space.add_argument("--budget", help="also the share of random draws that fit: 150M or 120M..150M")
    _deployment(space)
    _json(space)

    twins = _command(commands, "twins", "what each Mobile-Former knob of a network buys, at equal multiply-adds")
    twins.add_argument("config", metavar="CONFIG", help="preset, YAML file or STUDY:TRIAL")
    twins.add_argument("--knobs", help="like tokens.count=1+3,bridges,dyrelu.source (default: twelve twins or so)")
    twins.add_argument("--seeds", type=_whole, default=3, help="trainings of each network (default: %(default)s)")
    twins.add_argument("--latency", action="store_true", help="also time each twin in turns with the network")
    twins.add_argument("--data", help="digits, cifar10, cifar100 or an image folder (default: digits)")
    twins.add_argument("--data-dir", type=Path, help="folder that holds CIFAR (default: $MFSEARCH_DATA)")
    twins.add_argument("--download", action="store_true", help="fetch CIFAR into --data-dir if it is not there")
    twins.add_argument("--workers", type=_whole, default=1, help="processes of one thread each (default: %(default)s)")
    twins.add_argument("--seed", type=_whole, default=0, help="of the data split, and the first seed (%(default)s)")
    twins.add_argument("--name", help="folder under RESULTS/twins (default: made from network and data)")
    twins.add_argument("--device", default="cpu", help="where to train: cpu or cuda (default: %(default)s)")
    _short_training(twins)
    _deployment(twins)
    _results(twins)
    _json(twins)

    references = _command(commands, "references", "the published systems to compare with, unverified figures marked")
    _json(references)

    explore = _command(commands, "explore", "open the explorer in the browser")
    explore.add_argument("study", nargs="?", help="name or folder (default: choose in the page)")
    explore.add_argument("--port", type=_whole, default=8501, help="on 127.0.0.1 (default: %(default)s)")
    _results(explore)

    train = _command(commands, "train", "train a bundle's network in full; the same command again goes on")
    train.add_argument("bundle", metavar="BUNDLE", type=Path, help="a folder that `mfsearch export` wrote")
    train.add_argument("--data", required=True, help="a folder of train/CLASS/*.jpg, cifar10, cifar100 or digits")
    train.add_argument("--data-dir", type=Path, help="folder that holds CIFAR (default: $MFSEARCH_DATA)")
    train.add_argument("--download", action="store_true", help="fetch CIFAR into --data-dir, and a teacher's weights")
    train.add_argument("--samples", type=_whole, help="training images used (default: all)")
    train.add_argument("--to", type=Path, help="folder of checkpoint, weights and logs (default: BUNDLE-training)")
    train.add_argument("--replace", action="store_true", help="lose the weights of another full training in BUNDLE")
    train.add_argument("--device", default="cpu", help="cpu or cuda; several by torchrun (default: %(default)s)")
    train.add_argument("--amp", action="store_true", help="mixed precision, on cuda")
    train.add_argument("--workers", type=_whole, default=0, help="processes that load images (default: %(default)s)")
    train.add_argument("--checkpoint-minutes", type=float, default=10, help="within an epoch (default: %(default)g)")
    train.add_argument("--tensorboard", action="store_true", help="also write TensorBoard's logs")
    _json(train)
    recipe = train.add_argument_group("the recipe (defaults: the bundle's train.yaml)")
    recipe.add_argument("--epochs", type=_whole, help="passes over the images; another number fits the schedule to it")
    recipe.add_argument("--size", type=_whole, help="input side in pixels")
    recipe.add_argument("--batch", type=_whole, help="images a step, over all processes")
    recipe.add_argument("--micro-batch", type=_whole, help="images at once in one process (default: up to 128)")
    recipe.add_argument("--lr", type=float, help="peak learning rate, for the whole batch")
    recipe.add_argument("--seed", type=_whole, help="of first weights, order and augmentation")
    recipe.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any other key of train.yaml")
    begin = train.add_argument_group("fine-tuning and distillation")
    begin.add_argument("--weights", type=Path, help="file or bundle to begin from (default: first weights)")
    begin.add_argument("--new-classifier", action="store_true", help="draw the classifier of --weights anew")
    begin.add_argument("--teacher", metavar="NAME[:FILE]", help="a model of timm to learn from, and its weights")
    begin.add_argument("--distill", type=float, help="share of the loss that is the teacher's (default: 0.5)")
    begin.add_argument("--temperature", type=float, help="of the teacher's answers (default: 2)")

    export = _command(commands, "export", "write a network as a bundle: config, code, weights, ONNX, training, card")
    export.add_argument("network", metavar="NETWORK", help="a study, STUDY:TRIAL, a preset or a YAML file")
    which = export.add_argument_group("which network of a study")
    which.add_argument("--trial", type=_whole, help="the one of this number")
    which.add_argument("--knee", action="store_true", help="the most balanced one of the front")
    which.add_argument("--front", action="store_true", help="all of the front, a folder each")
    export.add_argument("--to", type=Path, required=True, help="a new or empty folder")
    export.add_argument("--dynamic-batch", action="store_true", help="an ONNX file for any number of images (one)")
    export.add_argument("--int8", action="store_true", help="also model.int8.onnx, by static quantisation")
    export.add_argument("--executorch", action="store_true", help="also model.pte for ExecuTorch (minutes; its extra)")
    export.add_argument("--data", help="the study's images: for --int8, and mean and std of old studies (the study's)")
    export.add_argument("--data-dir", type=Path, help="folder that holds CIFAR (default: $MFSEARCH_DATA)")
    export.add_argument("--latency", action="store_true", help="measure it here where its study has not, in ms")
    _deployment(export)
    _results(export)
    _json(export)

    verify = _command(commands, "verify", "whether bundles are what they say")
    verify.add_argument("folders", metavar="DIR", nargs="+", help="folder of a bundle")
    verify.add_argument("--no-latency", action="store_true", help="do not measure, which takes up to a minute")
    _json(verify)
    return parser


def _command(commands: Any, name: str, text: str) -> Any:
    command = commands.add_parser(name, allow_abbrev=False, help=text, description=text[0].upper() + text[1:] + ".")
    command.set_defaults(command=name)
    return command


def _short_training(command: Any) -> None:
    proxy = command.add_argument_group("the short training (defaults depend on the data)")
    proxy.add_argument("--proxy-resolution", type=_whole, help="input side in pixels while training")
    proxy.add_argument("--epochs", type=float, help="passes over the training images")
    proxy.add_argument("--samples", type=_whole, help="training images used")
    proxy.add_argument("--batch", type=_whole, help="images a step")
    proxy.add_argument("--optimizer", help="adamw or sgd")
    proxy.add_argument("--lr", type=float, help="peak learning rate")


def _runner(command: Any) -> None:
    command.add_argument(
        "--latency-cmd",
        metavar="CMD",
        help="measure by this program: {onnx} is the file's path, without it the file comes on standard input; it "
        'prints JSON like {"latency_ms": 7.9}',
    )
    command.add_argument("--latency-timeout", metavar="TIME", help="for one answer of CMD (default: 2m)")


def _deployment(command: Any) -> None:
    command.add_argument("--resolution", type=_whole, help="input side in pixels at deployment (default: 224)")
    command.add_argument("--classes", type=_whole, help="classes at deployment (default: 1000)")


def _results(command: Any) -> None:
    command.add_argument("--results", type=Path, default=Path("results"), help="folder of studies (%(default)s)")


def _json(command: Any) -> None:
    command.add_argument("--json", action="store_true", help="print JSON")


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number, 0 or more, got {text!r}")
    return int(text)
