"""Which widths a layer can be cut to, so that each head and each group keeps equally many of its own channels.

A channel that stays must keep its head, its group in every grouped convolution, and its place in every shuffle. So the
channels of a parent have places, those of a narrower network have places too, and a cut fills each place of the narrow
network with a channel of the parent that has the same one.
"""

import math
from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from mfsearch.space.knobs import STEP

Place = tuple[int, ...]


def shuffled(channels: int, groups: int) -> list[int]:
    """The channel before a shuffle that stands at each position after it, as in `mfsearch.model.mobile.shuffle`."""
    return [(p % groups) * (channels // groups) + p // groups for p in range(channels)]


def inverse(order: list[int]) -> list[int]:
    """The position of each channel in an order."""
    return sorted(range(len(order)), key=order.__getitem__)


class Demand(NamedTuple):
    """What the layers around some channels ask of them.

    groups: of the convolutions. heads: of the bridges; 1 where no bridge touches the channels. interleaved: a grouped
    convolution with a shuffle writes them. to_head: the network's head reads them, which shuffles first.
    """

    groups: int = 1
    heads: int = 1
    interleaved: bool = False
    to_head: bool = False

    def places(self, width: int) -> list[Place]:
        """The place of each channel: its block of the groups, its head, and its groups beyond the shuffles."""
        groups = self.groups
        columns = [[p * parts // width for p in range(width)] for parts in (groups, self.heads) if parts > 1]
        if self.interleaved:
            columns.append([p % groups for p in range(width)])
        if self.to_head:
            columns.append([q * groups // width for q in inverse(shuffled(width, groups))])
        return list(zip(*columns, strict=True)) or [()] * width


@cache
def fitting_widths(demand: Demand, width: int) -> tuple[int, ...]:
    """The widths to which `width` channels can be cut: multiples of 4, heads and groups; the last is `width` itself."""
    groups = demand.groups if width % demand.groups == 0 else 1  # a stem need not be a multiple of them
    step = math.lcm(STEP, groups, demand.heads)
    narrower: Iterable[int] = range(step, width, step)
    if demand.groups > 1:
        whole = Counter(demand.places(width))
        narrower = (part for part in narrower if Counter(demand.places(part)) <= whole)
    return (*narrower, width)


@cache
def fitting_multipliers(times: int, groups: int) -> tuple[int, ...]:
    """The multipliers to which a depthwise convolution can be cut that makes `times` channels of each input.

    A grouped 1x1 reads them, after a shuffle if there are several groups and times > 1. Output i of an input in block q
    of the groups is then in group (i groups + q) // times, and a narrower network may need no more of any group.
    """

    def counts(times: int) -> list[Counter[int]]:
        return [Counter((i * groups + q) // times for i in range(times)) for q in range(groups)]

    whole = counts(times)
    return tuple(t for t in range(1, times + 1) if all(a <= b for a, b in zip(counts(t), whole, strict=True)))


def nearest(values: Iterable[int], target: float) -> int:
    """The value nearest to the target, the larger of two."""
    return min(values, key=lambda value: (abs(value - target), -value))
