import pytest

from mfsearch.analysis.front.command import command_options, command_words, given_options

COMMAND = {"command": "mfsearch run --budget=150M --download --data 'my photos' --seed -1 --dry-run"}


def test_options_are_read_with_their_values_however_they_were_typed() -> None:
    assert given_options(COMMAND) == {"budget": "150M", "data": "my photos", "seed": "-1"}


def test_the_words_of_all_options_are_those_of_the_command() -> None:
    words = [word for option in command_options(COMMAND) for word in option.words]
    assert words == command_words(COMMAND)[2:]
    assert [option.name for option in command_options(COMMAND)] == ["budget", "download", "data", "seed", "dry-run"]


@pytest.mark.parametrize("command", [None, "", "mfsearch run 'x", "mfsearch run"])
def test_without_options_there_are_none(command: str | None) -> None:
    assert command_options({"command": command}) == []
    assert given_options({}) == {}
