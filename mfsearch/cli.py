"""The command line: assembles the commands, runs one, and is the one place that reads the environment."""

import argparse
import difflib
import errno
import importlib
import itertools
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from mfsearch import __version__

DONE, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130
MOST = 200  # characters of a given value that a message repeats

# Each is a module of mfsearch/commands: add_options(parser), run(args), and a docstring that is its help.
NAMES = "run calibrate show explore export verify describe latency space twins ablate train predict evaluate references"
COMMANDS = {name: importlib.import_module(f"mfsearch.commands.{name}") for name in NAMES.split()}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """A usage error is one sentence, like every other error."""
        raise ValueError(f"{message}; see `{self.prog} --help`")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, but an unknown option comes first: it may be the mistyped name of one that is missing."""
        for word in itertools.takewhile("--".__ne__, () if self._subparsers else args):
            name = word.partition("=")[0]
            if name.startswith("--") and name not in self._option_string_actions:
                near = difflib.get_close_matches(name, self._option_string_actions, n=1)
                self.error(f"unknown option {name}" + (f": did you mean {near[0]}?" if near else ""))
        if self._subparsers and args and not args[0].startswith("-") and args[0] not in COMMANDS:
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            self.error(f"unknown command {args[0]!r}: " + (f"did you mean {near[0]}?" if near else ", ".join(COMMANDS)))
        return super().parse_known_args(args, namespace)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0 done, 1 an error of the run, 2 wrong use, 130 interrupted."""
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        args = _parser().parse_args(_with_values(words))
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
        _print_error(error, words)
        return WRONG_USE
    except (RuntimeError, OSError) as error:
        _print_error(error, words)
        return WRONG_USE if getattr(error, "errno", None) == errno.ENAMETOOLONG else FAILED


def _print_error(error: Exception, words: list[str]) -> None:
    over = "\r\x1b[K" if sys.stderr.isatty() else ""  # a note of the present step may stand in the line
    print(f"{over}mfsearch: {_shortened(str(error), words)}", file=sys.stderr)


def _with_values(words: Sequence[str]) -> list[str]:
    """The words, with a value like -3ms joined to its option: argparse would take it for an option of its own."""
    joined: list[str] = []
    for word in words:
        if joined and re.match(r"-\.?\d", word) and re.fullmatch(r"--[a-z0-9-]+", joined[-1]):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _shortened(message: str, words: Sequence[str]) -> str:
    """The message with at most MOST characters of each value that it repeats from the command line."""
    for word in words:
        for value in {word, word.partition("=")[2]}:
            for shown in {value, repr(value)[1:-1]}:
                if len(shown) > MOST:
                    message = message.replace(shown, f"{shown[:MOST]}...")
    return re.sub(rf"([^\s\"']{{{MOST}}})[^\s\"']{{4,}}", r"\1...", message)[:5000]


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
