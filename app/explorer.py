"""The explorer's entry: which study, and which question? `mfsearch explore` starts it; it reads and never writes."""

import argparse
import logging
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import streamlit as st

if TYPE_CHECKING:
    from app import load, state
    from app.views import front, knobs, milliseconds, network, search, take, trust
else:  # streamlit puts this script's folder on the path: `app/` in a checkout, `mfsearch/_app/` in a wheel
    import load
    import state
    from views import front, knobs, milliseconds, network, search, take, trust


# The question stands close under the choice of a page, so that the first figure is on the first screen.
STYLE = """<style>
  .stMainBlockContainer { padding-top: 2rem; }
  .stMainBlockContainer h2 { font-size: 1.75rem; padding: 0 0 0.3rem; }
  .st-key-page button { min-height: 2.5rem; }  /* as high as the choice of a study */
  .stMainBlockContainer h3 { font-size: 1.4rem; padding: 0.25rem 0; }
</style>"""


class Page(NamedTuple):
    """A page: its name in the row of pages, its question, and what shows it."""

    name: str
    question: str
    show: Callable[[load.PageStudy], None]


PAGES = {
    "front": Page("Budget", "What can I get for my budget?", front.show),
    "network": Page("Network", "Which network?", network.show),
    "knobs": Page("Knobs", "Which knobs matter?", knobs.show),
    "trust": Page("Trust", "Can I trust the ranking?", trust.show),
    "search": Page("Search", "Was the search any good?", search.show),
    "milliseconds": Page("Milliseconds", "Where do the milliseconds go?", milliseconds.show),
    "take": Page("Take", "Take it with me", take.show),
}


def options(arguments: list[str]) -> argparse.Namespace:
    """The options that `mfsearch explore` passes to this script."""
    parser = argparse.ArgumentParser(prog="explorer.py", description="Look at the studies of mfsearch.")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of studies (default: results)")
    parser.add_argument("--study", help="name or path of the study to open first (default: the newest)")
    return parser.parse_args(arguments)


def _paths(args: argparse.Namespace) -> dict[str, Path]:
    """The studies to choose from; if the requested one is gone, shows a sentence and lists the others."""
    try:
        return load.study_paths(args.results, args.study)
    except ValueError as error:
        st.text(str(error))
        return load.study_paths(args.results, None)


def _open_link(names: list[str]) -> None:
    """Study and page of the address at the first look; says so if the study is not here."""
    asked, page = st.query_params.get("study"), st.query_params.get("page", "").lower()
    if "study" not in st.session_state or st.session_state["study"] not in names:
        st.session_state["study"] = asked if asked in names else names[0]
        st.session_state["missing"] = asked if asked is not None and asked not in names else None
        st.query_params["study"] = st.session_state["study"]
    if "page" not in st.session_state:  # the widget takes its own spelling alone
        st.session_state["page"] = page if page in PAGES else "front"
        st.query_params["page"] = PAGES[st.session_state["page"]].name
    if st.session_state["missing"] is not None:
        st.text(f"This link is for the study {st.session_state['missing']}, which is not here.")


def main() -> None:
    st.set_page_config(page_title="mfsearch", layout="wide")
    args = options(sys.argv[1:])
    st.html(STYLE)
    try:
        _show(args)
    except Exception as error:  # an error that is not shown here would leave the page empty
        if not isinstance(error, ValueError):
            logging.getLogger(__name__).exception("a page could not be shown")
        st.text("This page cannot be shown, for this reason:")
        st.exception(error.with_traceback(None))


def _show(args: argparse.Namespace) -> None:
    try:
        paths = _paths(args)
        if not paths:
            st.text(f"There is no study in {args.results} yet. To make one:")
            st.code("mfsearch run --budget 150M", language="bash")
            return
        _open_link(list(paths))
        left, right = st.columns([1, 2])
        # Without a default of its own a widget's value is always in the address.
        name = left.selectbox(
            "Study",
            list(paths),
            index=None,
            key="study",
            bind="query-params",
            on_change=partial(state.change_study, st.session_state["study"]),
        )
        if name is None:
            st.text("Choose a study.")
            return
        slug = right.segmented_control(
            "Page",
            list(PAGES),
            format_func=lambda slug: PAGES[slug].name,
            key="page",
            bind="query-params",
            required=True,
            wrap=True,
        )
        study = load.load_study(paths[name], args.results)
    except ValueError as error:
        st.text(str(error))
        return
    if not any(path.parent == args.results for path in paths.values()) and args.study is None:
        st.caption(f"There is no study in {args.results} yet: these come with mfsearch. `mfsearch run` makes one.")
    load.offer_new_trials(study)
    asked = st.query_params.get("trial")
    if asked is not None and state.trial(study.frame["number"].tolist()) is None:
        st.text(f"This link is for trial {asked}, which is not in this study.")
    page = PAGES[slug or "front"]
    st.header(page.question)
    try:
        page.show(study)
    except Exception as error:  # a study from elsewhere can hold anything, and an empty page explains nothing
        st.text(f"This page cannot show the study: {type(error).__name__}: {error!s:.300}")


if __name__ == "__main__":  # serve.py imports it, to have the pages ready
    main()
