"""Which knobs of a choice have a say in what is built: where a row is left out, its kernel is a number on paper."""

from typing import Any

from mfsearch.config import DYNAMIC_SOURCES
from mfsearch.space.space import Params, Row, SearchSpace, Value

# What a space file's defaults say where neither params nor space do; a token count has none: several.
_DEFAULTS: dict[str, Value] = {"tokens.count": 2, "bridges.final": True, "dyrelu.source": "first_token"}
_NOT_A_STAGE = ("heads", "ffn", "gate", "projections", "final")
_BY_STAGE: dict[str, Value] = {"bridges": "both", "former": True}


def active_knobs(params: Params, space: SearchSpace | None = None) -> set[str]:
    """The knobs of `params` that have a say: with another value alone, another network would be built, or none.

    By rules, in tens of microseconds; the truth is `MobileFormerConfig.arch_id` at width 1. `params` must build a
    network. Values that come to the same number, such as out 16 and `same` after 16, count as different. Without the
    space, what params do not say is what a file's defaults are, and a row stands unless its own `repeat` is 0.
    """
    get: dict[str, Any] = {**_DEFAULTS, **(dict(space.constants) if space else {}), **params}
    rows = space.rows if space else _named_rows(params)
    allowed = {row.name: all(get.get(name) == value for name, value in row.when) for row in rows}
    standing = {row.name for row in rows if allowed[row.name] and get.get(f"blocks.{row.name}.repeat", 1)}
    stages = {row.stage for row in rows if row.name in standing}
    if space is None:  # stages without a knob in their rows
        stages |= {name.partition(".")[2] for name in params if _is_by_stage(name)} - {row.stage for row in rows}
    bridges = {get.get(f"bridges.{stage}", _BY_STAGE["bridges"]) for stage in stages}

    to_former = get["bridges.final"] is not False or bool(bridges & {"both", "to_former"})
    has_tokens = to_former or "to_mobile" in bridges
    has_former = has_tokens and any(get.get(f"former.{stage}", _BY_STAGE["former"]) for stage in stages)
    several = has_tokens and get["tokens.count"] != 1
    dynamic = get["dyrelu.source"] in DYNAMIC_SOURCES
    acts = {
        "tokens.count": has_tokens,
        "tokens.dim": has_tokens,
        "tokens.init_std": has_tokens,
        "former.heads": has_former and several,  # attention over one token is 1, however many heads
        "former.ffn": has_former,
        "former.projections": has_former,
        "bridges.heads": to_former or several,
        "bridges.gate": to_former,
        "bridges.projections": has_tokens,
        "bridges.final": True,
        "dyrelu.source": several or not _one_for_one_token(space),
        "dyrelu.position": get["dyrelu.source"] != "none",
        "dyrelu.slopes": dynamic,
        "dyrelu.intercepts": dynamic,
        "dyrelu.reduction": dynamic,
    }
    conditions = {name for row in rows for name, _ in row.when}
    active = set()
    for name in params:
        section, _, rest = name.partition(".")
        if name in acts:
            says = acts[name]
        elif section == "blocks":
            row, _, field = rest.partition(".")
            says = allowed[row] if field == "repeat" else row in standing
            if field == "tail":
                says = says and get.get(f"blocks.{row}.stride", 2) != 1
        elif _is_by_stage(name):
            says = rest in stages and (section == "bridges" or has_tokens)
        else:
            says = True
        if says or name in conditions:
            active.add(name)
    return active


def _is_by_stage(name: str) -> bool:
    """bridges.s3, former.s3; a space's reader keeps rows from having the names of other keys."""
    section, _, rest = name.partition(".")
    return section in _BY_STAGE and rest not in _NOT_A_STAGE


def _named_rows(params: Params) -> tuple[Row, ...]:
    names = dict.fromkeys(name.split(".")[1] for name in params if name.startswith("blocks."))
    return tuple(Row(name, ()) for name in names)


def _one_for_one_token(space: SearchSpace | None) -> bool:
    """Whether all sources of DyReLU are one where there is one token: the first is then the mean."""
    knobs = space.knobs if space else ()
    return any(k.name == "dyrelu.source" and set(k.choices) <= {"first_token", "mean_token"} for k in knobs)
