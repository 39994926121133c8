"""Starts the explorer's server and reads the first study meanwhile, so that the first visitor need not wait for it.

Its arguments are the port and those of `explorer.py`; `mfsearch explore` gives them.
"""

import argparse
import contextlib
import logging
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from mfsearch.explore import CONFIG, HOSTS

sys.path.insert(0, str(Path(__file__).resolve().parent))  # Python leaves it out where PYTHONSAFEPATH is set
if TYPE_CHECKING:
    from app.early import EarlyPlotly
else:
    from early import EarlyPlotly


def prepare(arguments: list[str]) -> None:
    """Import what pages need and read the study that opens first; what is wrong with it, the page says."""
    if TYPE_CHECKING:
        from app import explorer, load
    else:
        import explorer
        import load
    # A cache that is filled before the first visitor warns that there is none.
    logging.getLogger("streamlit.runtime.scriptrunner_utils.script_run_context").setLevel(logging.ERROR)
    options = explorer.options(arguments)
    with contextlib.suppress(ValueError):
        paths = load.study_paths(options.results, options.study)
        for path in list(paths.values())[:1]:
            load.prepare(path)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    given, own = parser.parse_known_args()
    sys.argv[1:] = own  # the page reads them
    threading.Thread(target=prepare, args=(own,), daemon=True).start()
    # Streamlit checks hosts where it sends data; the page without data is for these hosts alone, too.
    middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS), Middleware(EarlyPlotly)]
    app = st.App(Path(__file__).resolve().with_name("explorer.py"), middleware=middleware)
    app.run(config=CONFIG | {"server.port": given.port})


if __name__ == "__main__":
    main()
