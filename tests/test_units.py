"""Quantities as people type them."""

import pytest

from mfsearch.units import (
    Budget,
    CostLimits,
    counted,
    format_madds,
    format_seconds,
    parse_budget,
    parse_bytes,
    parse_limits,
    parse_madds,
    parse_ms,
    parse_params,
    parse_seconds,
)

NO_NUMBER = ["", " ", "M", "-1", "+1", "1,5", "1e6", "1.", ".5", "1_000", "0x10", "nan", "inf", "no", "9" * 400]


@pytest.mark.parametrize(
    ("text", "madds"),
    [
        ("150M", 150_000_000),
        ("150m", 150_000_000),
        (" 150 M ", 150_000_000),
        ("1.2G", 1_200_000_000),
        ("800K", 800_000),
        ("0.5M", 500_000),
        ("25991712", 25_991_712),
    ],
)
def test_madds_read_as_typed(text: str, madds: int) -> None:
    assert parse_madds(text) == madds


@pytest.mark.parametrize("text", [*NO_NUMBER, "0", "0M", "0.4", "150MB", "150 M M", "150T", "8ms"])
def test_what_is_not_a_number_of_madds_is_refused_with_the_text_and_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="must read like 150M or 1.2G") as error:
        parse_madds(text)
    assert repr(text)[:200] in str(error.value)


def test_a_budget_of_one_number_aims_at_its_upper_seventh_and_binds_only_above() -> None:
    budget = parse_budget("150M")
    assert budget == Budget(low=127_500_000, high=150_000_000, stated=False)
    assert budget.holds(26_000_000)
    assert budget.holds(150_000_000)
    assert not budget.holds(150_000_001)
    assert str(budget) == "150.0M"


def test_a_budget_of_two_ends_binds_at_both() -> None:
    budget = parse_budget("120M..150M")
    assert budget == Budget(low=120_000_000, high=150_000_000, stated=True)
    assert [budget.holds(madds) for madds in (119_999_999, 120_000_000, 150_000_000, 150_000_001)] == [
        False,
        True,
        True,
        False,
    ]
    assert str(budget) == "120.0M..150.0M"
    assert parse_budget(str(budget)) == budget


@pytest.mark.parametrize("text", ["150M..120M", "150M..150M", "..150M", "120M..", "..", "1M..2M..3M", "120M-150M"])
def test_a_budget_without_two_ends_in_order_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"150M"):
        parse_budget(text)


@pytest.mark.parametrize(("text", "ms"), [("8ms", 8.0), ("800us", 0.8), ("8.5 MS", 8.5), ("0.5s", 500.0)])
def test_latencies_read_as_typed(text: str, ms: float) -> None:
    assert parse_ms(text) == ms


@pytest.mark.parametrize("text", [*NO_NUMBER, "0ms", "8", "8m", "8M"])
def test_what_is_not_a_latency_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a latency must read like 8ms, 800us or 0.5s, got "):
        parse_ms(text)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1.5 H", 5400)])
def test_times_read_as_typed(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", [*NO_NUMBER, "90", "0s", "5d", "1h30m", "8ms"])
def test_what_is_not_a_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a time must read like 90s, 30m or 2h, got "):
        parse_seconds(text)


@pytest.mark.parametrize(
    ("madds", "text"),
    [
        (400, "0.4K"),
        (40_000, "40.0K"),
        (25_991_712, "26.0M"),
        (152_010_000, "152.0M"),
        (999_900_000, "999.9M"),
        (999_960_000, "1.00G"),
        (1_200_000_000, "1.20G"),
    ],
)
def test_madds_are_shown_with_at_most_four_digits(madds: int, text: str) -> None:
    assert format_madds(madds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (42.4, "42s"),
        (59.6, "1m 00s"),
        (185, "3m 05s"),
        (3599.6, "1h 00m"),
        (3725, "1h 02m"),
        (90_000, "25h 00m"),
        (280_000, "3d 05h"),
    ],
)
def test_times_are_shown_in_their_two_largest_units(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_a_budget_that_lacks_its_m_is_asked_about() -> None:
    with pytest.raises(ValueError, match="got '150': is 150M meant"):
        parse_budget("150")


@pytest.mark.parametrize(("text", "meant"), [("25", "25ms"), ("0.025", "0.025s")])
def test_a_latency_that_lacks_its_unit_is_asked_about(text: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"got '{text}': is {meant} meant"):
        parse_ms(text)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (1, "1 epoch"),
        (1.0, "1 epoch"),
        (1.0000001, "1 epoch"),
        (0, "0 epochs"),
        (0.1, "0.1 epochs"),
        (0.1 * 3, "0.3 epochs"),
        (2 / 3, "0.667 epochs"),
        (1200, "1,200 epochs"),
        (1234.5, "1,234 epochs"),
    ],
)
def test_one_is_singular_and_fractions_are_short(count: float, text: str) -> None:
    assert counted(count, "epoch") == text


@pytest.mark.parametrize(("text", "count"), [("5M", 5_000_000), ("800k", 800_000), ("1.2G", 1.2e9), ("26400", 26_400)])
def test_parameters_read_as_typed(text: str, count: int) -> None:
    assert parse_params(text) == count


@pytest.mark.parametrize("text", [*NO_NUMBER, "0", "0M", "5MB", "5T"])
def test_what_is_not_a_number_of_parameters_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="parameters must read like 5M or 800K, got"):
        parse_params(text)


def test_parameters_without_a_unit_are_refused_as_a_budget_is() -> None:
    with pytest.raises(ValueError, match="got '5': is 5M meant"):
        parse_params("5")


@pytest.mark.parametrize(
    ("text", "count"), [("3MB", 3_000_000), ("800 kb", 800_000), ("1.5GB", 1.5e9), ("0.8MB", 800_000), ("4096B", 4096)]
)
def test_bytes_read_as_typed(text: str, count: int) -> None:
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", [*NO_NUMBER, "0MB", "3TB", "3MiB", "8ms", "MB"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="a size must read like 3MB or 800KB, got"):
        parse_bytes(text)


@pytest.mark.parametrize(("text", "meant"), [("3", "3MB"), ("3M", "3MB"), ("800k", "800KB")])
def test_a_size_without_its_unit_is_refused_with_what_was_meant(text: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"is {meant} meant"):
        parse_bytes(text)


def test_limits_hold_up_to_and_with_their_value_and_read_back_as_options() -> None:
    limits = parse_limits("5M", 3e6, "8.25MB")
    assert limits == CostLimits(5_000_000, 3_000_000, 8_250_000)
    assert limits.hold(limits)
    for name, value in limits.given.items():
        assert not limits.hold(CostLimits(**{**limits.given, name: value + 1}))
    assert limits.options() == {"params": "5M", "memory": "3MB", "size": "8.25MB"}
    assert parse_limits(**limits.options()) == limits
    assert str(limits) == "parameters at most 5M, peak activations at most 3MB, ONNX file at most 8.25MB"
    assert not parse_limits().given
    assert not parse_limits().options()


@pytest.mark.parametrize("value", [0, -1, 0.5, float("nan"), True])
def test_a_limit_that_is_no_count_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="limit on num_params must be"):
        parse_limits(value)
