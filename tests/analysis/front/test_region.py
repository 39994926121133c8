import pytest

from mfsearch.analysis.figures.tradeoff import Brush
from mfsearch.analysis.front.region import brush_text, parse_brush, search_command

MANIFEST = {"command": "mfsearch run --budget 150M --latency=10ms --data 'my photos' --download --trials 3 --workers 2"}


def test_a_brush_over_multiply_adds_becomes_a_budget_from_low_to_high() -> None:
    command = search_command(MANIFEST, "a", Brush("madds", 110.04, 130.02, 30, 40), {"latency_ms": 8.0})
    wanted = "mfsearch run --budget 110M..130.1M --data 'my photos' --download --workers 2 --latency 8ms --from a"
    assert command == wanted


def test_a_brush_over_latency_becomes_its_upper_end() -> None:
    command = search_command(MANIFEST, "b c", Brush("latency_ms", 4, 5.019, 30, 40), {"madds": 120e6, "latency_ms": 9})
    assert "--budget 120M " in command
    assert "--latency 5.02ms" in command
    assert command.endswith("--from 'b c'")


def test_without_brush_or_limit_the_budget_stays() -> None:
    assert search_command(MANIFEST, "a", None, {}).startswith("mfsearch run --budget 150M --data")
    assert search_command({}, "a", None, {}) == "mfsearch run --budget 150M --from a"
    below_zero = search_command({}, "a", Brush("madds", -3, 20, 0, 1), {})
    assert below_zero == "mfsearch run --budget 20M --from a"


def test_a_lower_end_that_was_typed_stays() -> None:
    typed = {"command": "mfsearch run --budget 120M..150M", "budget": {"low": 120e6, "high": 150e6, "stated": True}}
    assert search_command(typed, "a", None, {"madds": 150e6}) == "mfsearch run --budget 120M..150M --from a"
    assert search_command(typed, "a", None, {"madds": 140e6}) == "mfsearch run --budget 120M..140M --from a"
    assert search_command(typed, "a", None, {"madds": 110e6}) == "mfsearch run --budget 110M --from a"
    usual = {"command": "mfsearch run --budget 150M", "budget": {"low": 127.5e6, "high": 150e6, "stated": False}}
    assert search_command(usual, "a", None, {"madds": 150e6}) == "mfsearch run --budget 150M --from a"


def test_a_command_that_is_not_to_be_read_gives_way_to_the_usual_one() -> None:
    assert search_command({"command": "mfsearch run 'x"}, "a", None, {}) == "mfsearch run --budget 150M --from a"


@pytest.mark.parametrize("text", ["", "madds", "madds:1:2:3", "madds:2:1:3:4", "seconds:1:2:3:4", "madds:a:2:3:4"])
def test_what_is_no_brush_is_none(text: str) -> None:
    assert parse_brush(text) is None


def test_a_brush_survives_the_address() -> None:
    brush = Brush("latency_ms", 4.25, 5.5, 30, 40.5)
    assert parse_brush(brush_text(brush)) == brush
    narrow = Brush("madds", 149.96, 150.04, 30, 40)
    assert parse_brush(brush_text(narrow)) == narrow
    assert parse_brush("madds:nan:nan:1:2") is None
    assert parse_brush("madds:0:inf:0:1") is None
