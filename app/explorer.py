"""The explorer's entry: which study? `mfsearch explore` starts it; it reads and never writes."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

if TYPE_CHECKING:
    from app import load
    from app.views import front
else:  # streamlit puts this script's folder on the path: `app/` in a checkout, `mfsearch/_app/` in a wheel
    import load
    from views import front


def main() -> None:
    st.set_page_config(page_title="mfsearch", layout="wide")
    parser = argparse.ArgumentParser(prog="explorer.py", description="Look at the studies of mfsearch.")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of studies (default: results)")
    parser.add_argument("--study", help="name or path of the study to open first (default: the newest)")
    args = parser.parse_args()
    try:
        paths = load.study_paths(args.results, args.study)
        if not paths:
            st.text(f"There is no study in {args.results} yet. This makes one:")
            st.code("mfsearch run --budget 150M", language="bash")
            return
        name = st.selectbox("Study", list(paths), key="study", bind="query-params", on_change=front.forget, width=360)
        study = load.load_study(paths[name])
    except ValueError as error:
        st.text(str(error))
        return
    in_default = paths[name].parent == Path("results")
    front.show(name if in_default else str(paths[name]), study.frame, study.manifest)


main()
