"""Options that several commands share, and the objects built from them. Free of torch, numpy and yaml, like every
command's options, because `--help` imports them all."""

import argparse
import dataclasses
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mfsearch.cost.runner import Runner
from mfsearch.proxy.recipe import OPTIMIZERS, Recipe, default_recipe
from mfsearch.study.settings import MAX_WORKERS, Limits, Settings
from mfsearch.units import format_left, format_seconds, parse_budget, parse_bytes, parse_params, parse_seconds

if TYPE_CHECKING:
    from mfsearch.config import MobileFormerConfig
    from mfsearch.space import SearchSpace
    from mfsearch.study.parent import Parent
    from mfsearch.study.study import Study

SPACE = "mobile_former"  # searched by default
DATA = "digits, cifar10, cifar100 or an image folder"
NETWORK = "preset, YAML file or STUDY:TRIAL"


def whole(text: str) -> int:
    """Parse a whole number from the command line."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number, 0 or more, got {text!r:.200}")
    return int(text)


def worker_count(text: str) -> int:
    """Parse a number of worker processes; refused here, before any image is loaded."""
    if not 1 <= whole(text) <= MAX_WORKERS:
        raise argparse.ArgumentTypeError(f"must be 1 to {MAX_WORKERS}, got {text:.200}")
    return int(text)


def checked(parse: Callable[[str], object]) -> Callable[[str], str]:
    """The text of an option, if `parse` accepts it; otherwise argparse names the option and the allowed values."""

    def read(text: str) -> str:
        try:
            parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return text

    return read


def add_default(parser: argparse._ActionsContainer, option: str, default: float | str, text: str) -> None:
    """Add an option with a default of its type; the help text ends with the default."""
    kind: Any = {float: float, int: whole}.get(type(default), str)
    shown = default if isinstance(default, str) else f"{default:g}"
    parser.add_argument(option, type=kind, default=default, help=f"{text} (default: {shown})")


def begin(command: str, of: str, data: str | None) -> None:
    """Say on a terminal what begins; DataError for data that is not there, before anything that takes seconds."""
    note(f"mfsearch {command}: {of}")
    if data is not None:
        from mfsearch.data.load import check_data_name

        check_data_name(data)


def note(text: str) -> None:
    """Show the current step on a terminal until the next line; without rich, for steps before slow imports."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}\r", end="", file=sys.stderr, flush=True)


def tell_strange(study: "Study") -> None:
    """Say on standard error what cannot be read in a study; in a very large one not the configs, which take seconds."""
    for sentence in study.strange() if len(study.trials) <= 5000 else study.unreadable:
        left_out = "; it is left out" if sentence in study.unreadable else ""
        print(f"mfsearch: {sentence:.500}{left_out}", file=sys.stderr)


class TimeLeft:
    """An estimate of the seconds until all trainings are done, which counts down and is corrected as they end."""

    def __init__(self, seconds: float, work: float) -> None:
        """work: of all trainings that are left, in any unit."""
        self.started = self.at = time.monotonic()
        self.seconds, self.work, self.left = seconds, work, work

    def done(self, work: float) -> None:
        self.at, self.left = time.monotonic(), self.left - work
        self.seconds = (self.at - self.started) * self.left / max(self.work - self.left, 1e-9)

    def text(self) -> str:
        now = time.monotonic()
        return f"{format_seconds(now - self.started)} gone, about {format_left(self.seconds - (now - self.at))}"


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def add_results(parser: argparse.ArgumentParser, *, json: bool = True) -> None:
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="folder of studies (default: %(default)s)"
    )
    if json:
        add_json(parser)


def add_budget(parser: argparse.ArgumentParser) -> None:
    text = "multiply-adds at deployment: 150M, 1.2G or 120M..150M"
    parser.add_argument("--budget", type=checked(parse_budget), required=True, help=text)
    add_default(parser, "--space", SPACE, "name or YAML file of the search space")


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Add the limits on costs other than multiply-adds and milliseconds."""
    parser.add_argument("--params", type=checked(parse_params), help="limit on parameters: 5M, 800K (default: none)")
    text = "limit on peak activations of one image in fp32: 3MB, 800KB (default: none)"
    parser.add_argument("--memory", type=checked(parse_bytes), metavar="BYTES", help=text)
    text = "limit on the ONNX file: 8MB, 800KB (default: none)"
    parser.add_argument("--size", type=checked(parse_bytes), metavar="BYTES", help=text)


def add_parent(parser: argparse.ArgumentParser) -> None:
    text = "search inside the trained network of this bundle; --space: a file from `mfsearch space --parent`"
    parser.add_argument("--parent", type=Path, metavar="BUNDLE", help=text)


def add_data(parser: argparse.ArgumentParser, text: str, *, required: bool = False, download: bool = True) -> None:
    parser.add_argument("--data", required=required, help=text)
    parser.add_argument("--data-dir", type=Path, help="folder that holds CIFAR (default: $MFSEARCH_DATA)")
    parser.add_argument("--skip-damaged", action="store_true", help="leave damaged image files out and list them")
    if download:
        parser.add_argument("--download", action="store_true", help="download CIFAR into --data-dir if it is missing")


def add_training(parser: argparse.ArgumentParser) -> None:
    """Add the options for worker processes, seed and device, and those of the short training."""
    text = f"worker processes, one thread each (default: {Limits.workers})"
    parser.add_argument("--workers", type=worker_count, default=Limits.workers, help=text)
    add_default(parser, "--seed", Settings.seed, "seed of everything random")
    add_default(parser, "--device", Settings.device, "device to train on: cpu or cuda")
    group = parser.add_argument_group("short training")
    group.add_argument("--proxy-resolution", type=whole, help=f"input side in pixels ({_by_data('resolution')})")
    group.add_argument("--epochs", type=float, help=f"passes over the training images ({_by_data('epochs')})")
    group.add_argument("--samples", type=whole, help=f"training images used ({_by_data('samples')})")
    group.add_argument("--batch", type=whole, help=f"images per step ({_by_data('batch')})")
    group.add_argument("--optimizer", help=f"{' or '.join(OPTIMIZERS)} (default: {Recipe.optimizer})")
    group.add_argument("--lr", type=float, help=f"peak learning rate ({_by_data('lr')})")


def _by_data(field: str) -> str:
    """A recipe's default for each kind of data: "default: digits 1, cifar10 0.1, cifar100 0.2, folders 3"."""
    values = {data: getattr(default_recipe(data), field) for data in ("digits", "cifar10", "cifar100", "folders")}
    words = [f"{data} {'all' if value is None else f'{value:g}'}" for data, value in values.items()]
    return f"default: {', '.join(words)}"


def recipe_of(args: argparse.Namespace) -> Recipe:
    """The default recipe of the data, changed by the options given."""
    given = {name: getattr(args, name) for name in ("epochs", "samples", "batch", "optimizer", "lr")}
    if args.proxy_resolution is not None:
        given |= {"resolution": args.proxy_resolution, "crop": args.proxy_resolution // 8}
    changed = {name: value for name, value in given.items() if value is not None}
    inside = getattr(args, "parent", None) is not None
    return dataclasses.replace(default_recipe(args.data, inside=inside), **changed)


def add_runner(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--latency-cmd",
        metavar="CMD",
        help="measure with this program: {onnx} becomes the file's path; without it the file comes on standard input; "
        'CMD prints JSON like {"latency_ms": 7.9}',
    )
    text = f"time limit for each answer of CMD (default: {Runner.timeout_s:g}s)"
    parser.add_argument("--latency-timeout", type=checked(parse_seconds), metavar="TIME", help=text)


def runner_of(args: argparse.Namespace) -> Runner | None:
    """The user's runner if --latency-cmd is given, else None."""
    if args.latency_cmd is None:
        if args.latency_timeout is not None:
            raise ValueError("--latency-timeout is for --latency-cmd, which is not given")
        return None
    timeout_s = Runner.timeout_s if args.latency_timeout is None else parse_seconds(args.latency_timeout)
    return Runner(args.latency_cmd, timeout_s)


def add_deployment(parser: argparse.ArgumentParser, whose: str, classes: str | None = None) -> None:
    """Add --resolution and --classes; `whose` and `classes` name their defaults' sources: network, space or data."""
    parser.add_argument("--resolution", type=whole, help=f"input side in pixels at deployment (default: the {whose}'s)")
    parser.add_argument("--classes", type=whole, help=f"classes at deployment (default: the {classes or whose}'s)")


def deployed(config: "MobileFormerConfig", args: argparse.Namespace) -> "MobileFormerConfig":
    """The network with --resolution and --classes, if given."""
    resolution = config.resolution if args.resolution is None else args.resolution
    classes = config.classes if args.classes is None else args.classes
    return dataclasses.replace(config, resolution=resolution, classes=classes)


def deployed_space(args: argparse.Namespace) -> "SearchSpace":
    """The space of --space with --resolution and --classes, if given."""
    from mfsearch.space import find_space

    return _deployed(find_space(args.space), args)


def space_and_parent(args: argparse.Namespace) -> tuple["SearchSpace", "Parent | None"]:
    """The space of --space, inside --parent if that is given, with --resolution and --classes."""
    if args.parent is None:
        return deployed_space(args), None
    from mfsearch.export.parent_bundle import read_parent
    from mfsearch.space.nested import nested_space, read_nested

    parent = read_parent(args.parent)
    whole = args.space in (None, SPACE)
    if not whole and not Path(args.space).is_file():
        raise ValueError(
            f"--space {args.space!r:.200}: inside a parent it must be a file that `mfsearch space --parent` printed"
        )
    space = nested_space(parent.config) if whole else read_nested(Path(args.space), parent.config)
    return _deployed(space, args), parent


def _deployed(space: "SearchSpace", args: argparse.Namespace) -> "SearchSpace":
    resolution = space.resolution if args.resolution is None else args.resolution
    space = space.deployed(resolution, space.classes if args.classes is None else args.classes)
    space.draw(random.Random(0))  # raises ValueError for a size that no network takes
    return space
