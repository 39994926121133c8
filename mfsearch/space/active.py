"""Which knobs have a say in the network of some params: the kernel of a row that is left out, for one, has none."""

from typing import Any

from mfsearch.config import Wiring, effective_source, has_say, has_tail
from mfsearch.space.knobs import KNOBS, find_knob
from mfsearch.space.search_space import Params, Row, SearchSpace

# Used if neither params nor the space give a value; the token count has no default, so several tokens are assumed.
_DEFAULTS = {name: spec.default for name, spec in KNOBS.items()} | {"tokens.count": 2}


def active_knobs(params: Params, space: SearchSpace | None = None) -> set[str]:
    """The knobs of `params` that have a say: changing one alone builds another network, or none.

    This applies rules and takes tens of microseconds; comparing `MobileFormerConfig.arch_id` at width 1 gives the same.
    `params` must build a network. Values that come to the same number, such as out 16 and `same` after 16, count as
    different. Without the space, defaults fill in for missing values, and a row is there unless its `repeat` is 0.
    """
    get: dict[str, Any] = {**_DEFAULTS, **(dict(space.constants) if space else {}), **params}
    named = () if space else dict.fromkeys(name.split(".")[1] for name in params if name.startswith("blocks."))
    rows = space.rows if space else tuple(Row(name, ()) for name in named)
    allowed = {row.name: all(get.get(name) == value for name, value in row.when) for row in rows}
    standing = {row.name for row in rows if allowed[row.name] and get.get(f"blocks.{row.name}.repeat", 1)}
    stages = {row.stage for row in rows if row.name in standing}
    if space is None:  # stages whose rows have no knobs
        of_rows, keys = {row.stage for row in rows}, {n: n.partition(".")[2] for n in params}
        stages |= {key for name, key in keys.items() if find_knob(name).about == "stage" and key not in of_rows}
    bridges = {get.get(f"bridges.{stage}", _DEFAULTS["bridges.STAGE"]) for stage in stages}

    to_former = get["bridges.final"] is not False or bool(bridges & {"both", "to_former"})
    has_tokens = to_former or "to_mobile" in bridges
    has_former = has_tokens and any(get.get(f"former.{stage}", _DEFAULTS["former.STAGE"]) for stage in stages)
    wiring = Wiring(get["tokens.count"] if has_tokens else 0, has_former, to_former, get["dyrelu.source"])
    conditions = {name for row in rows for name, _ in row.when}
    active = set()
    for name in params:
        section, _, rest = name.partition(".")
        row, _, field = rest.partition(".")
        if section == "blocks":
            says = allowed[row] if field == "repeat" else row in standing
            if field == "tail":
                says = says and has_tail(get.get(f"blocks.{row}.stride", 2))
        elif find_knob(name).about == "stage":
            says = rest in stages and (section == "bridges" or has_tokens)
        elif name == "tokens.count":  # without bridges there are no tokens
            says = has_tokens
        elif name == "dyrelu.source":
            choices = [str(c) for k in (space.knobs if space else ()) if k.name == name for c in k.choices]
            says = wiring.tokens > 1 or {effective_source(choice, 1) for choice in choices} != {"first_token"}
        else:
            says = has_say(name, wiring)
        if says or name in conditions:
            active.add(name)
    return active
