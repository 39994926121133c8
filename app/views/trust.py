"""Can I trust the ranking?"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

if TYPE_CHECKING:
    from app import load, parts
else:
    import load
    import parts
from mfsearch.analysis.figures.style import CONFIG
from mfsearch.analysis.figures.tau import draw_forest, draw_short_long, forest, short_long
from mfsearch.analysis.metrics import noise_sentence
from mfsearch.analysis.ranking.trust import (
    by_fit,
    calibrate_command,
    differences,
    fitting_calibration,
    is_own,
    noise_note,
    read_calibrations,
    readings,
    study_reading,
    verdict,
)
from mfsearch.study.calibration_file import PLACES, CalibrationFile, ProxyFigures, Reading, TauGain
from mfsearch.units import counted


def show(study: load.PageStudy) -> None:
    """The page."""
    places = load.places(study)
    kept, unread = read_calibrations(places)
    for message in unread:
        st.text(message)
    if not kept:
        st.text(
            "There is no calibration here, so it is unknown how far this study's ranking can be trusted. To make one:"
        )
        st.code(calibrate_command(study.manifest), language="bash", wrap_lines=True)
        _show_noise(study)
        return
    fits = fitting_calibration(places, study.manifest)
    by_name = {str(each.path): each.figures for each in by_fit(kept, fits, study.manifest)}

    def described(name: str) -> str:
        return Path(name).name + (", fits this study" if by_name[name] == fits else ", other settings")

    names = list(by_name)
    left, right = st.columns(2)
    with left:
        ask = partial(parts.ask_one, told=described, linked=lambda name: Path(name).name)
        figures = by_name[ask("Calibration", names, names[0], "calibration")]
    with right:
        reading = _ask_reading(figures, study)
    apart = differences(figures, study.manifest)
    if figures == fits:
        st.text(
            "Made with this study's space, images and short training."
            + (f" Differences: {'; '.join(apart)}." if apart else "")
        )
    else:
        st.text(f"Made with settings that differ from this study's: {'; '.join(apart)}. To match them:")
        st.code(calibrate_command(study.manifest), language="bash", wrap_lines=True)

    for column, group in zip(st.columns(2), PLACES, strict=True):
        with column:
            _show_group(figures, group, reading)
    st.text(noise_note(figures))
    _show_noise(study)
    for group, place in PLACES.items():
        st.text(f"All readings, {place}:")
        _show_table(figures.groups[group].proxies, group)


def _ask_reading(figures: CalibrationFile, study: load.PageStudy) -> Reading:
    every = list(dict.fromkeys(each for group in PLACES for each in readings(figures, group)))
    nearest, manifest = study_reading(figures, study.manifest), study.manifest
    as_here = ", as this study does"
    if not is_own(nearest, manifest):
        as_here = f", the nearest to this study's {Reading(manifest.rungs.rank_by, manifest.first_epochs).words}"
    return parts.ask_one(
        "Ranked by",
        every,
        nearest,
        "reading",
        told=lambda each: each.words + (as_here if each == nearest else ""),
        linked=lambda each: each.name if each.epochs is None else f"{each.name} {each.epochs:g}",
    )


def _show_group(figures: CalibrationFile, group: str, reading: Reading) -> None:
    """One group of networks: the forest plot, and short against long."""
    found = figures.groups[group]
    low, high = (count / 1e6 for count in found.madds)
    st.subheader(PLACES[group].capitalize())
    st.text(
        f"{counted(found.n, 'network')} of {low:.1f} to {high:.1f} M multiply-adds. {verdict(figures, group, reading)}"
    )
    st.plotly_chart(draw_forest(forest(found, reading)), config=CONFIG, key=f"forest-{group}")
    points = short_long(found, reading, figures.long_noise)
    st.plotly_chart(draw_short_long(points, reading.epochs), config=CONFIG, key=f"short-long-{group}")


def _show_table(rows: Sequence[ProxyFigures], group: str) -> None:
    table = pd.DataFrame(
        {
            "Ranked by": [row.reading.words for row in rows],
            "Kendall's tau": [row.tau for row in rows],
            "95 % interval": ["" if row.low is None else f"{row.low:.2f} to {row.high:.2f}" for row in rows],
            "Top-5 recall": [row.top5_recall for row in rows],
            "Core-seconds": [row.core_seconds for row in rows],
            "Tau over multiply-adds": [_gain(row.over_madds) for row in rows],
            "Tau over parameters": [_gain(row.over_params) for row in rows],
            "Ceiling by seed noise": [row.ceiling for row in rows],
        }
    )
    two, one = st.column_config.NumberColumn(format="%.2f"), st.column_config.NumberColumn(format="%.1f")
    formats = {"Kendall's tau": two, "Ceiling by seed noise": two, "Top-5 recall": two, "Core-seconds": one}
    st.dataframe(table, key=f"table-{group}", hide_index=True, height="content", column_config=formats)


def _gain(found: TauGain) -> str:
    """The difference of two taus with its interval."""
    if found.gain is None:
        return ""
    return f"{found.gain:+.2f}" + ("" if found.low is None else f" ({found.low:+.2f} to {found.high:+.2f})")


def _show_noise(study: load.PageStudy) -> None:
    """The seed noise of the study's own repeated trainings."""
    if noise := noise_sentence(study.frame):
        st.text(f"In this study: {noise}")
    else:
        st.text("In this study every network was trained once, so its own seed noise is unknown.")
