"""The command line: assembles the commands, runs one, and is the one place that reads the environment."""

import argparse
import errno
import importlib
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from mfsearch import __version__

DONE, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130

# Each is a module of mfsearch/commands: add_options(parser), run(args), and a docstring that is its help.
NAMES = "run calibrate show explore export verify describe latency space twins train references"
COMMANDS = {name: importlib.import_module(f"mfsearch.commands.{name}") for name in NAMES.split()}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """A usage error is one sentence, like every other error."""
        raise ValueError(f"{message}; see `{self.prog} --help`")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0 done, 1 an error of the run, 2 wrong use, 130 interrupted."""
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        args = _parser().parse_args(words)
        args.command_line = shlex.join(["mfsearch", *words])
        for name, variable in (("data_home", "MFSEARCH_DATA"), ("cache_dir", "MFSEARCH_CACHE")):
            setattr(args, name, Path(os.environ[variable]) if os.environ.get(variable) else None)
        args.checkpoint_seconds = float(os.environ.get("MFSEARCH_CHECKPOINT_SECONDS") or 0) or None
        code: int = COMMANDS[args.command].run(args)
        return code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return FAILED
    except ValueError as error:  # every check of what a user gave raises one
        print(f"mfsearch: {_short(str(error))}", file=sys.stderr)
        return WRONG_USE
    except (RuntimeError, OSError) as error:
        print(f"mfsearch: {_short(str(error))}", file=sys.stderr)
        return WRONG_USE if getattr(error, "errno", None) == errno.ENAMETOOLONG else FAILED


def _short(message: str) -> str:
    """A message that repeats at most 200 letters of a path, a number or a word that it was given."""
    return re.sub(r"(\S{200})\S+", r"\1...", message)[:5000]


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="mfsearch", description="Neural architecture search and design-space explorer for Mobile-Former."
    )
    parser.add_argument("--version", action="version", version=f"mfsearch {__version__}")
    commands = parser.add_subparsers(dest="command", title="commands", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        words = (command.__doc__ or name).partition("\n")[0]
        options = commands.add_parser(
            name, allow_abbrev=False, help=words[0].lower() + words[1:].removesuffix("."), description=words
        )
        command.add_options(options)
    return parser
