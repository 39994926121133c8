"""What the command that began a study asked for, as its manifest keeps it."""

import shlex
from collections.abc import Mapping
from typing import NamedTuple


class Option(NamedTuple):
    """An option as it was typed: its name without dashes, "" for what stands alone, and its value, None for none."""

    name: str
    value: str | None
    words: list[str]


def command_words(manifest: Mapping[str, object]) -> list[str]:
    """The words of the command; none where it was not recorded, or is not to be read."""
    try:
        return shlex.split(str(manifest.get("command") or ""))
    except ValueError:
        return []


def command_options(manifest: Mapping[str, object]) -> list[Option]:
    """What follows the command's name, in its order: --name value, --name=value, --name, and words alone."""
    words, at = command_words(manifest)[2:], 0
    found = []
    while at < len(words):
        name, equals, value = words[at].removeprefix("--").partition("=")
        if not words[at].startswith("--"):
            found.append(Option("", words[at], [words[at]]))
        elif equals:
            found.append(Option(name, value, [words[at]]))
        elif at + 1 < len(words) and not words[at + 1].startswith("--"):
            found.append(Option(name, words[at + 1], words[at : at + 2]))
        else:
            found.append(Option(name, None, [words[at]]))
        at += len(found[-1].words)
    return found


def given_options(manifest: Mapping[str, object]) -> dict[str, str]:
    """The options that were given a value, by name; the last of several."""
    return {option.name: option.value for option in command_options(manifest) if option.name and option.value}
