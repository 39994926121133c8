"""Quantities as people type them: 150M multiply-adds, 120M..150M, 8ms, 30m; ValueError says what is allowed."""

import re
from dataclasses import dataclass

_NUMBER = r"(\d{1,15}(?:\.\d{1,15})?)"
SMALLEST = 10_000  # multiply-adds; no network is so small, so a smaller bare number lacks its M
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


def parse_madds(text: str) -> int:
    """Multiply-adds from `150M`, `1.2G`, `800K` or a plain number."""
    match = re.fullmatch(_NUMBER + r"\s*([KMG]?)", text.strip(), re.IGNORECASE)
    count = round(float(match[1]) * {"": 1, "K": 1e3, "M": 1e6, "G": 1e9}[match[2].upper()]) if match else 0
    if not count:
        raise ValueError(f"multiply-adds must read like 150M or 1.2G, got {text!r:.200}")
    if count < SMALLEST and match and not match[2]:
        raise ValueError(f"multiply-adds must read like 150M or 1.2G, got {text!r:.200}: is {text.strip():.50}M meant?")
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
