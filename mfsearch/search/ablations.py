"""The paper's ablations of a network, and those that nobody has published: one part changed or removed in each row.

Each row is a network at the preset's own widths, as in the paper, or with all widths scaled for the network's
multiply-adds, as a twin. A change leaves no dead part: tokens that never see the image go, with their Former.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from mfsearch.config import DYNAMIC_SOURCES, MobileFormerConfig
from mfsearch.cost.madds import count_costs, count_madds
from mfsearch.living import living
from mfsearch.search.twin_networks import STAGES, at_equal_madds, changed_network
from mfsearch.space.knobs import Value
from mfsearch.study.twins_file import Twin, TwinReport

NETWORK, SCALED = "the network", " (scaled)"  # ends the name of a scaled row
WIDTHS = ("own", "scaled")  # scaled: to the network's multiply-adds


class Change(NamedTuple):
    """A row as it is asked for: the knobs changed, in their order, with their values; none for the network itself.

    paper: top1 of mf-294m with this change on ImageNet, a fraction; verified: whether it was read in the paper.
    """

    label: str
    knobs: Mapping[str, Value]
    paper: float | None = None
    verified: bool = False


class AblationRow(NamedTuple):
    """A change with its network as a twin, which has a reason instead of a config if it cannot be built.

    widths: one of WIDTHS. same_as: the earlier row, or the network itself, that this change leads to as well.
    """

    question: str
    widths: str
    change: Change
    twin: Twin
    same_as: str | None = None

    @property
    def paper(self) -> float | None:
        """The paper's top1 beside this row: its rows have their own widths."""
        return self.change.paper if self.widths == "own" else None


def make_rows(
    network: MobileFormerConfig, questions: Iterable[str] = (), widths: Iterable[str] = WIDTHS
) -> list[AblationRow]:
    """The rows of the questions (default: all), first at their own widths, then scaled, with exact costs.

    Raises ValueError for an unknown question. Of rows that build the same network, all but the first name the first.
    """
    asked = tuple(dict.fromkeys(questions)) or tuple(QUESTIONS)
    for question in asked:
        if question not in QUESTIONS:
            raise ValueError(f"--rows must be one or more of {', '.join(QUESTIONS)}, got {question!r:.200}")
    changes = [(question, change) for question in asked for change in QUESTIONS[question]]
    rows, first = [], {network.arch_id: NETWORK}
    for way, (question, change) in itertools.product(widths, changes):
        twin, same = _twin(network, change, way), None
        if (config := twin.config) is not None:
            twin = dataclasses.replace(twin, num_params=count_costs(config).num_params)
            same = first.setdefault(config.arch_id, twin.knob)
        rows.append(AblationRow(question, way, change, twin, None if same == twin.knob else same))
    return rows


def with_results(rows: Iterable[AblationRow], report: TwinReport) -> list[AblationRow]:
    """The rows with top1 by seed, effect and latency of their networks, from the report of the twins among them."""
    own = report.parent
    trained = {twin.config.arch_id: twin for twin in report.twins if twin.config}
    trained[own.arch_id] = Twin(NETWORK, "-", "-", top1=own.top1, failures=own.failures)

    def complete(twin: Twin) -> Twin:
        if twin.config is None:
            return twin
        found = trained[twin.config.arch_id]
        names = ("top1", "failures", "latency", "effect", "p_holm")
        return dataclasses.replace(twin, **{name: getattr(found, name) for name in names})

    return [row._replace(twin=complete(row.twin)) for row in rows]


def _changed(network: MobileFormerConfig, knobs: Mapping[str, Value]) -> MobileFormerConfig:
    """The network with the knobs changed; rows get no direction of a bridge that they had not."""
    rows, kept = network.blocks, knobs.get("bridges.blocks")
    if kept is not None:
        rows = tuple(dataclasses.replace(row, bridge=_less(row.bridge, str(kept))) for row in rows)
    source = knobs.get("dyrelu.source", network.dyrelu.source)
    if source not in DYNAMIC_SOURCES or knobs.get("tokens.count") == 0:  # single static rows are for dynamic sources
        rows = tuple(dataclasses.replace(row, static=False) for row in rows)
    others = {name: value for name, value in knobs.items() if name != "bridges.blocks"}
    changed = changed_network(dataclasses.replace(network, blocks=rows), others)
    return living(changed) if living(network) is network else changed


def _less(bridge: str, kept: str) -> str:
    """A bridge with at most the direction that is kept."""
    return kept if bridge == "both" else bridge if bridge == kept else "none"


def _twin(network: MobileFormerConfig, change: Change, way: str) -> Twin:
    twin = Twin(change.label if way == "own" else change.label + SCALED, "-", "-")
    try:
        changed = _changed(network, change.knobs)
    except ValueError as error:
        return dataclasses.replace(twin, reason=f"cannot be built: {error}")
    if way == "own" or changed.arch_id == network.arch_id:
        madds = count_madds(changed)
        return dataclasses.replace(twin, config=changed, width=1.0, madds_changed=madds, madds=madds)
    return at_equal_madds(twin, changed, count_madds(network))


# In each: the paper's rows first. Accuracies that are not verified were quoted from memory by a reader of the paper.
QUESTIONS: dict[str, tuple[Change, ...]] = {
    "parts": (
        Change("Mobile alone, ReLU", {"tokens.count": 0, "dyrelu.source": "none"}, 0.742),
        Change("+ Former and bridges", {"dyrelu.source": "none"}, 0.768),
        Change("+ DyReLU", {}, 0.778),
    ),
    "tokens": (
        Change("1 token", {"tokens.count": 1}, 0.771, True),
        Change("3 tokens", {"tokens.count": 3}, 0.776, True),
        Change("6 tokens", {"tokens.count": 6}, 0.778, True),
        Change("9 tokens", {"tokens.count": 9}, 0.777),
    ),
    "dim": (
        Change("token dim 64", {"tokens.dim": 64}, 0.768),
        Change("token dim 128", {"tokens.dim": 128}, 0.773),
        Change("token dim 192", {"tokens.dim": 192}, 0.778, True),
        Change("token dim 256", {"tokens.dim": 256}, 0.778),
        Change("token dim 320", {"tokens.dim": 320}, 0.776),
    ),
    "directions": (
        Change("no Mobile->Former", {"bridges.blocks": "to_mobile", "bridges.final": False}),
        Change("no Mobile<-Former", {"bridges.blocks": "to_former"}),
        Change("no bridge at all", {"tokens.count": 0, "dyrelu.source": "static"}),
    ),
    "stages": (
        *(Change(f"no bridge in {stage}", {f"bridges.{stage}": "none"}) for stage in STAGES),
        Change("no bridge before the head", {"bridges.final": False}),
        Change("bridge before head alone", {"bridges.blocks": "none"}),
    ),
    "dyrelu": tuple(
        Change(f"DyReLU {source.replace('_', ' ')}", {"dyrelu.source": source})
        for source in (*DYNAMIC_SOURCES, "static", "hswish", "none")
    ),
    "intercepts": (Change("DyReLU with intercepts", {"dyrelu.intercepts": True}),),
    "ffn": tuple(Change(f"FFN {ratio}", {"former.ffn": ratio}) for ratio in (0, 1, 2, 4)),
    "gate": (Change("no gate", {"bridges.gate": False}),),
}
