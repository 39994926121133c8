"""Which knobs have a say in the network of some params: the kernel of a row that is left out, for one, has none."""

from typing import Any

from mfsearch.config import BRIDGES, MOBILES, SOURCES, TOKEN_SOURCES, Wiring, effective_source, has_say
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
    order = (
        [stage for stage in dict.fromkeys(row.stage for row in rows) if stage in stages] if space else sorted(stages)
    )
    order = order or [""] * (space is None)  # params of no row: one stage, all defaults
    bridges = [get.get(f"bridges.{stage}", _DEFAULTS["bridges.STAGE"]) for stage in order]
    first = next((k for k, bridge in enumerate(bridges) if bridge in ("both", "to_former")), len(order))
    living = order[first:]  # the stages whose tokens depend on the image

    has_tokens = get["bridges.final"] is not False or bool(living)
    has_former = any(get.get(f"former.{stage}", _DEFAULTS["former.STAGE"]) for stage in living)
    source = get["dyrelu.source"] if living or get["dyrelu.source"] not in TOKEN_SOURCES else "static"
    mixed = has_former or bool({"both", "to_mobile"} & set(bridges[first:])) or source in ("mean_token", "spatial")
    count = get["tokens.count"] if mixed else 1  # tokens beyond the first that nothing reads are dropped
    wiring = Wiring(count if has_tokens else 0, has_former, has_tokens, source)
    choices = {knob.name: knob.choices for knob in (space.knobs if space else ())}
    conditions = {
        name
        for row in rows
        for name, _ in row.when
        if get.get(f"blocks.{row.name}.repeat", 1)
        and all(get.get(other) == value for other, value in row.when if other != name)
    }
    active = set()
    for name in params:
        section, _, rest = name.partition(".")
        row, _, field = rest.partition(".")
        if section == "blocks":
            says = allowed[row] if field == "repeat" else row in standing
            at = f"blocks.{row}."
            stride, mobile = get.get(at + "stride", 2), get.get(at + "mobile", _DEFAULTS["blocks.ROW.mobile"])
            if field == "tail":
                says = says and stride == 2 and mobile == "inverted_bottleneck"
            elif field == "before":
                says = says and mobile == "universal"
            elif field == "mobile" and stride == 1 and get.get(at + "kernel", 3) > 2 and not get.get(at + "before"):
                says = says and not set(choices.get(name, MOBILES)) <= set(MOBILES[:2])  # the same but in name
        elif section == "former" and find_knob(name).about == "stage":
            says = rest in living
        elif find_knob(name).about == "stage":  # before the first Mobile->Former, to_mobile is as good as none
            says = rest in living or (rest in stages and not set(choices.get(name, BRIDGES)) <= {"none", "to_mobile"})
        elif name == "tokens.count":
            says = has_tokens and (mixed or 0 in choices.get(name, ()))
        elif name == "dyrelu.source":
            sources = {_built(str(each), get["tokens.count"], bool(living)) for each in choices.get(name, SOURCES)}
            says = len(sources) > 1
        else:
            says = has_say(name, wiring)
        if says or name in conditions:
            active.add(name)
    return active


def _built(source: str, tokens: int, living: bool) -> str:
    """The activations that a source of DyReLU gives: learned slopes where no token ever depends on the image."""
    if source in ("first_token", "mean_token") and not living:
        return "static"
    return effective_source(source, tokens)
