import pytest

from mfsearch.analysis.figures.tradeoff import Brush
from mfsearch.analysis.region import brush_text, parse_brush, search_command

MANIFEST = {
    "command": "mfsearch run --budget 150M --latency=10ms --data 'my photos' --download --trials 3 --workers 2"
}


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


@pytest.mark.parametrize("text", ["", "madds", "madds:1:2:3", "madds:2:1:3:4", "seconds:1:2:3:4", "madds:a:2:3:4"])
def test_what_is_no_brush_is_none(text: str) -> None:
    assert parse_brush(text) is None


def test_a_brush_survives_the_address() -> None:
    brush = Brush("latency_ms", 4.25, 5.5, 30, 40.5)
    assert parse_brush(brush_text(brush)) == brush
    assert parse_brush("madds:nan:nan:1:2") is None
