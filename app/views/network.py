"""Which network?"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st

from mfsearch.analysis.figures.curves import curve_lines, draw_curves
from mfsearch.analysis.figures.network_bars import BAR_METRICS, PREDICTED, draw_parts, part_bars
from mfsearch.analysis.figures.style import CONFIG
from mfsearch.analysis.front.compare import CHEAPER, CheaperTrial, lineage, nearest_published
from mfsearch.analysis.front.confidence import shown_wiring
from mfsearch.analysis.front.side_by_side import (
    block_table,
    compared_lengths,
    knob_table,
    metric_table,
    published_network,
    shown_prediction,
)
from mfsearch.analysis.front.summary import why_no_front
from mfsearch.analysis.latency.by_part import StudyRates, part_costs, predicted_parts, rates_line
from mfsearch.analysis.latency.kept_latency import (
    BREAKDOWN,
    PARTS,
    by_passport,
    kept_folders,
    latest,
    parts_of,
    passport_text,
    read_kept,
    scaled_in_words,
)
from mfsearch.analysis.metrics import METRICS, RankedTrial, label, ranked_trials, shown
from mfsearch.config import MobileFormerConfig
from mfsearch.presets import PRESETS
from mfsearch.study.trial import Trial
from mfsearch.units import counted

if TYPE_CHECKING:
    from app import load, parts, state
else:
    import load
    import parts
    import state

MOST = 6  # networks side by side
NONE = "none"  # in the address: a person took all networks out of the comparison
BAR_NAMES = {"madds": label("madds"), "num_params": label("num_params"), PREDICTED: "Predicted latency (ms)"}


def show(study: load.PageStudy) -> None:
    """The page."""
    frame = study.frame
    number = parts.best_trial(study)
    if number is None:
        st.container(border=True).text(why_no_front(frame))
        return
    rates = load.latency_rates(study.path, study.at)

    left, right = st.columns(2)
    with left:
        parts.ask_trial(frame, number)
    with right:
        parts.pin_and_note(number, frame["number"].tolist())
    trial = parts.trial_of(frame, number)
    parts.trial_card(study, number)
    config: MobileFormerConfig | None = None
    try:
        config = trial.config
    except ValueError as error:
        st.container(border=True).text(f"The network cannot be shown: {error}")
    left, right = st.columns([11, 9])
    with left:
        if config is not None:
            st.subheader("The network")
            st.code(config.table(), language=None)
            if dead := shown_wiring([trial]):
                st.text(dead)
            if (facts := study.manifest.parent) is not None:
                st.text(lineage(facts, study.parent, trial))
    with right:
        st.subheader("Training")
        if lines := curve_lines(frame[frame["number"] == number]):
            st.plotly_chart(draw_curves(lines), config=CONFIG, key="curve")
        else:
            st.text("No training curve was recorded.")
    if config is not None:
        _show_costs(trial, rates, measured=int(frame["latency_ms"].notna().sum()))
        _show_measured(study, config)
        _show_neighbours(study, number, config)
    _show_comparison(study, rates)


def _show_costs(trial: Trial, rates: StudyRates | None, measured: int) -> None:
    """Bars by part and by block, of one cost at a time."""
    st.subheader("Where the cost lies")
    config = trial.config
    options = [metric for metric in BAR_METRICS if metric != PREDICTED or rates is not None]
    buttons = partial(st.segmented_control, required=True)
    metric = parts.ask_one("Cost", options, options[0], "bars", told=BAR_NAMES.__getitem__, widget=buttons)
    costs = part_costs(config, None if rates is None else rates.rates)
    predicted = predicted_parts(config, rates.rates) if rates is not None and metric == PREDICTED else None
    st.plotly_chart(draw_parts(part_bars(costs, metric, predicted)), config=CONFIG, key=f"parts-{metric}")
    if rates is None:
        st.text(rates_line(None, measured))
    elif metric == PREDICTED:
        told = f"Predicted for the whole network: {shown_prediction(rates.predict(config))}. "
        ms = trial.metric("latency_ms")
        told += f"Measured: {shown('latency_ms', ms)}. " if ms > 0 else "Not measured. "
        st.text(told + rates_line(rates, measured))
    with st.expander("As a table"):
        names = [name for name in (*BAR_METRICS, "macs") if name in options or name == "macs"]
        units = {name: METRICS[name].scale if name in METRICS else 1.0 for name in names}
        heads = {name: BAR_NAMES.get(name, label("macs")) for name in names}
        shown_costs = (
            costs[["place", "part"]]
            .rename(columns=str.capitalize)
            .assign(**{heads[name]: costs[name] * units[name] for name in names})
        )
        formats = {head: st.column_config.NumberColumn(format="%.3f") for head in heads.values()}
        st.dataframe(shown_costs, hide_index=True, column_config=formats, key="costs")


def _show_measured(study: load.PageStudy, config: MobileFormerConfig) -> None:
    """Milliseconds of the network's parts, by device, where `mfsearch latency --breakdown` measured it."""
    files = [folder / BREAKDOWN for folder in kept_folders(study.results, study.path)]
    own = [row for row in read_kept(files).rows if row.arch_id == config.arch_id and row.batch == 1 and row.parts_ms]
    for passport, rows in by_passport(own):
        row = latest(rows)[0]
        st.text(f"Latency by part, measured on {passport_text(passport)}. {scaled_in_words(row)}")
        told = [[PARTS.get(part, part), ms] for part, ms in parts_of(row).items() if ms > 0]
        formats = {label("latency_ms"): st.column_config.NumberColumn(format="%.2f", help="latency_ms")}
        st.dataframe(pd.DataFrame(told, columns=["Part", label("latency_ms")]), hide_index=True, column_config=formats)


def _show_neighbours(study: load.PageStudy, number: int, config: MobileFormerConfig) -> None:
    """The network's differences from the nearest published one, and from the nearest that costs less."""
    frame = study.frame
    left, right = st.columns(2)
    with left:
        published = nearest_published(config)
        st.subheader("Nearest published network")
        if not published.differences:
            st.text(f"Identical to {published.name}.")
        else:
            st.text(f"{published.name}, {counted(len(published.differences), 'knob')} apart:")
            knobs = knob_table({published.name: PRESETS[published.name], f"trial {number}": config})
            st.dataframe(knobs, hide_index=True, key="published", height=_height(knobs))
    with right:
        found = load.nearest_cheaper(study, number)
        timed = bool(frame.loc[frame["number"] == number, "latency_ms"].notna().any())
        saved = f"{CHEAPER:.0%}".replace("%", " %")
        st.subheader(f"Nearest, {saved} faster" if timed else f"Nearest, {saved} fewer multiply-adds")
        if found is None:
            st.text(f"No trained network saves at least {saved}.")
            return
        other = parts.trial_of(frame, found.number)
        st.text(_cheaper_in_words(found, other))
        st.button(f"Choose trial {found.number}", key="cheaper", on_click=partial(state.choose, found.number))
        knobs = knob_table({f"trial {number}": config, f"trial {found.number}": other.config})
        st.dataframe(knobs, hide_index=True, key="changes", height=_height(knobs))


def _cheaper_in_words(found: CheaperTrial, other: Trial) -> str:
    change = f"{found.cost_change:+.0%}".replace("%", " %").replace("-", "\N{MINUS SIGN}")
    cost = "latency" if found.cost == "latency_ms" else "multiply-adds"
    told = f"Trial {found.number} ({other.origin}): {shown(found.cost, other.metric(found.cost))}, {change} {cost}"
    if np.isnan(found.top1_change):
        top1 = shown("top1", other.metric("top1"))
        return f"{told}. It has {top1} top-1; this trial has none to compare with."
    points = f"{100 * found.top1_change:+.1f}".replace("-", "\N{MINUS SIGN}")
    after = f" after {found.after}, the longest training that both had" if found.after else ""
    return f"{told}, {points} points of top-1{after}."


def _show_comparison(study: load.PageStudy, rates: StudyRates | None) -> None:
    """Two networks or more side by side, and of all that is known only what differs."""
    st.header("Compare")
    frame = study.frame
    named = _compared(set(frame["number"].tolist()))
    asked = named[:MOST]
    if len(named) > MOST:
        st.text(
            f"{MOST} of {len(named)} {'pinned' if 'compare' not in st.query_params else 'named'} networks are compared."
        )
    listed = parts.listed_trials(frame, [int(name) for name in asked if name.isdecimal()])
    ranked = {str(one.trial.number): one for one in ranked_trials(frame[frame["number"].isin(listed)])}

    def described(name: str) -> str:
        return parts.describe_trial(ranked[name].trial) if name in ranked else f"{name}, as published"

    st.session_state["compare"] = asked
    st.multiselect(
        "Networks",
        [*(str(number) for number in listed), *PRESETS],
        format_func=described,
        key="compare",
        max_selections=MOST,
        on_change=_keep_compared,
    )
    if len(asked) < 2:
        st.text("Choose at least two networks; pinned trials are preselected.")
        return
    if told := compared_lengths({f"trial {name}": ranked[name] for name in asked if name in ranked}):
        st.text(told)
    networks, unread = _networks({name: ranked.get(name) for name in asked})
    if unread:
        st.text(f"Only metrics are compared for networks that cannot be read: {', '.join(unread)}.")
    facts = {f"trial {name}" if name in ranked else name: ranked.get(name) for name in asked}
    predicted = {} if rates is None else {name: rates.predict(config) for name, config in networks.items()}
    metrics = metric_table({name: one or published_network(networks[name]) for name, one in facts.items()}, predicted)
    st.subheader("Metrics that differ")
    st.dataframe(metrics, hide_index=True, key="metrics", height=_height(metrics, 20))
    if len(networks) > 1:
        st.subheader("Knobs that differ")
        knobs = knob_table(networks)
        if knobs.empty:
            st.text("The networks are identical.")
        else:
            st.dataframe(knobs, hide_index=True, key="knobs", height=_height(knobs))
        st.subheader("Block by block")
        blocks = block_table(networks)
        widths = {"mark": st.column_config.TextColumn(width=40), "row": st.column_config.TextColumn(width=80)}
        widths |= {name: st.column_config.TextColumn(width=340) for name in networks}
        st.dataframe(
            blocks.style.apply(_marked, axis=1), hide_index=True, key="blocks", height="content", column_config=widths
        )
        st.text("\N{NOT EQUAL TO}: the row differs in the fields of the last column; +: only some networks have it.")
    if lines := curve_lines(frame[frame["number"].isin([int(name) for name in asked if name in ranked])]):
        st.subheader("Training curves")
        st.plotly_chart(draw_curves(lines), config=CONFIG, key="curves")


def _compared(numbers: set[int]) -> list[str]:
    """The networks in the address, trials by number and published ones by name; without any, the pinned ones, in the
    order of pinning."""
    asked = st.query_params.get("compare")
    if asked is None:
        return [str(number) for number in state.pins(numbers)]
    names = [name for name in asked.split(",") if name in PRESETS or (name.isdecimal() and int(name) in numbers)]
    return list(dict.fromkeys(name if name in PRESETS else str(int(name)) for name in names))


def _keep_compared() -> None:
    state.put("compare", ",".join(st.session_state["compare"]) or NONE)


def _networks(trials: Mapping[str, RankedTrial | None]) -> tuple[dict[str, MobileFormerConfig], list[str]]:
    """The networks by the name of their column, and the trials whose config cannot be read.

    A published network is taken at the image size and classes of the first trial that can be read.
    """
    found: dict[str, MobileFormerConfig] = {}
    unread = []
    for name, one in trials.items():
        if one is None:
            found[name] = PRESETS[name]
            continue
        try:
            found[f"trial {name}"] = one.trial.config
        except ValueError:
            unread.append(f"trial {name}")
    own = [config for name, config in found.items() if name not in PRESETS]
    if own:
        side, classes = own[0].resolution, own[0].classes
        presets = {name: config for name, config in found.items() if name in PRESETS}
        found |= {name: replace(config, resolution=side, classes=classes) for name, config in presets.items()}
    return found, unread


def _marked(row: "pd.Series[Any]") -> list[str]:
    """The ground of a row's cells: those that differ from the first network's, and the mark."""
    first = row.iloc[2]
    differs = [bool(row.iloc[0]) and (name == "mark" or text != first) for name, text in row.items()]
    differs[1] = differs[-1] = False
    return ["background-color: rgba(230, 159, 0, 0.28)" if one else "" for one in differs]


def _height(table: pd.DataFrame, most: int = 12) -> Any:
    return "content" if len(table) <= most else "auto"
