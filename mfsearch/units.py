"""Quantities as people type them: 150M multiply-adds, 120M..150M, 8ms, 30m; ValueError says what is allowed."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

_NUMBER = r"(\d{1,15}(?:\.\d{1,15})?)"
SMALLEST = 10_000  # multiply-adds or parameters; no network is so small, so a smaller bare number lacks its M
BAND = 0.85  # a budget given as one number is the band [0.85, 1] of it


@dataclass(frozen=True)
class Budget:
    """A band of multiply-adds. stated: the user typed the lower end, so it binds published networks too."""

    low: int
    high: int
    stated: bool

    def __str__(self) -> str:
        return f"{format_madds(self.low)}..{format_madds(self.high)}" if self.stated else format_madds(self.high)

    def holds(self, madds: int) -> bool:
        """Whether it is inside the budget: at most the upper end, and at least the lower end if that was stated."""
        return (self.low if self.stated else 0) <= madds <= self.high


@dataclass(frozen=True)
class CostLimits:
    """Upper limits on a network's costs beside the budget; None where there is none. onnx_bytes: of its ONNX file."""

    num_params: int | None = None
    activation_bytes: int | None = None
    onnx_bytes: int | None = None

    def __post_init__(self) -> None:
        for name, value in self.given.items():
            if type(value) is not int or value <= 0:
                raise ValueError(f"the limit on {name} must be a whole number above 0, got {value!r:.200}")

    @cached_property
    def given(self) -> dict[str, int]:
        """The limits there are, by the name of the cost."""
        return {name: value for name in LIMITED if (value := getattr(self, name)) is not None}

    def hold(self, costs: object) -> bool:
        """Whether a network is within every limit. costs: anything with the costs as attributes."""
        return all(getattr(costs, name) <= value for name, value in self.given.items())

    def options(self) -> dict[str, str]:
        """The limits in the form of their options, by name without dashes: {"params": "5M"}."""
        return {LIMITED[name][0]: format_limit(name, value) for name, value in self.given.items()}

    def __str__(self) -> str:
        return ", ".join(f"{LIMITED[name][2]} at most {format_limit(name, self.given[name])}" for name in self.given)


# by cost: its option, its unit and its words
LIMITED = {
    "num_params": ("params", "M", "parameters"),
    "activation_bytes": ("memory", "MB", "peak activations"),
    "onnx_bytes": ("size", "MB", "ONNX file"),
}
NO_LIMITS = CostLimits()


def format_limit(name: str, value: int) -> str:
    """A limit on one of LIMITED in the form of its option: `5M`, `0.8MB`."""
    return f"{value / 1e6:.10g}{LIMITED[name][1]}"


def parse_madds(text: str) -> int:
    """Multiply-adds from `150M`, `1.2G`, `800K` or a plain number."""
    return _parse_count(text, "multiply-adds must read like 150M or 1.2G")


def parse_params(text: str) -> int:
    """Parameters from `5M`, `800K` or a plain number."""
    return _parse_count(text, "parameters must read like 5M or 800K")


def _parse_count(text: str, rule: str) -> int:
    match = re.fullmatch(_NUMBER + r"\s*([KMG]?)", text.strip(), re.IGNORECASE)
    count = round(float(match[1]) * {"": 1, "K": 1e3, "M": 1e6, "G": 1e9}[match[2].upper()]) if match else 0
    if not count:
        raise ValueError(f"{rule}, got {text!r:.200}")
    if count < SMALLEST and match and not match[2]:
        raise ValueError(f"{rule}, got {text!r:.200}: is {text.strip():.50}M meant?")
    return count


def parse_bytes(text: str) -> int:
    """Bytes from `3MB`, `800KB` or `1.5GB`; 1 MB is 1,000,000 bytes."""
    match = re.fullmatch(_NUMBER + r"\s*([KMG]?B?)", text.strip(), re.IGNORECASE)
    unit = match[2].upper() if match else ""
    count = round(float(match[1]) * {"K": 1e3, "M": 1e6, "G": 1e9}.get(unit[:1], 1)) if match else 0
    if not count or not unit.endswith("B"):
        meant = f": is {match[1]}{unit or 'M'}B meant?" if count and match else ""
        raise ValueError(f"a size must read like 3MB or 800KB, got {text!r:.200}{meant}")
    return count


def parse_budget(text: str) -> Budget:
    """A budget from text: `150M` is the band 127.5M to 150M; `120M..150M` gives both ends."""
    low, dots, high = text.partition("..")
    if not dots:
        top = parse_madds(text)
        return Budget(round(BAND * top), top, stated=False)
    try:
        budget = Budget(parse_madds(low), parse_madds(high), stated=True)
    except ValueError as error:
        raise ValueError(f"budget {text!r:.200}: {error}") from None
    if budget.low >= budget.high:
        raise ValueError(f"budget {text!r:.200}: the lower end must come first, as in 120M..150M")
    return budget


def parse_ms(text: str) -> float:
    """Milliseconds from `8ms`, `800us` or `0.5s`."""
    match = re.fullmatch(_NUMBER + r"\s*(us|ms|s|)", text.strip(), re.IGNORECASE)
    if not match or float(match[1]) == 0:
        raise ValueError(f"a latency must read like 8ms, 800us or 0.5s, got {text!r:.200}")
    number, unit = float(match[1]), match[2].lower()
    if not unit:
        meant = f"{match[1]}{'ms' if number >= 1 else 's'}"
        raise ValueError(f"a latency must read like 8ms, 800us or 0.5s, got {text!r:.200}: is {meant} meant?")
    return number / 1000 if unit == "us" else number * {"ms": 1, "s": 1000}[unit]


def parse_seconds(text: str) -> float:
    """Seconds from `90s`, `30m` or `2h`."""
    match = re.fullmatch(_NUMBER + r"\s*([smh])", text.strip(), re.IGNORECASE)
    if not match or float(match[1]) == 0:
        raise ValueError(f"a time must read like 90s, 30m or 2h, got {text!r:.200}")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2].lower()]


def parse_limits(
    params: str | float | None = None, memory: str | float | None = None, size: str | float | None = None
) -> CostLimits:
    """Limits from texts, or from numbers of parameters and bytes; None where there is none."""
    pairs = ((params, parse_params), (memory, parse_bytes), (size, parse_bytes))
    read: list[Any] = [parse(one) if isinstance(one, str) else one for one, parse in pairs]
    return CostLimits(*(int(one) if isinstance(one, float) and one.is_integer() else one for one in read))


def counted(count: float, noun: str) -> str:
    """ "1 trial", "1,200 trials", "0.1 epochs"; fractions have three digits."""
    shown = f"{count:,.0f}" if count % 1 == 0 or count >= 100 else f"{count:.3g}"
    return f"{shown} {noun}{'' if shown == '1' else 's'}"


def format_madds(madds: float) -> str:
    """Multiply-adds as text: `152.0M`, `1.20G`, `40.5K`."""
    if madds >= 999.95e6:
        return f"{madds / 1e9:.2f}G"
    return f"{madds / 1e6:.1f}M" if madds >= 1e6 else f"{madds / 1e3:.1f}K"


def format_seconds(seconds: float) -> str:
    """A duration as text: `42s`, `3m 05s`, `1h 02m`, `3d 07h`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 3 * 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d {whole % 86400 // 3600:02d}h"


def format_left(seconds: float) -> str:
    """`3m 05s left`; `20s longer than estimated` below 0."""
    return f"{format_seconds(seconds)} left" if seconds >= 0 else f"{format_seconds(-seconds)} longer than estimated"
