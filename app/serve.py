"""Starts the explorer's server, which answers once the first study is read: no visitor waits for that.

Its arguments are the port and those of `explorer.py`; `mfsearch explore` gives them.
"""

import argparse
import asyncio
import contextlib
import logging
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from mfsearch.commands.explore import CONFIG, HOSTS

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
    with contextlib.suppress(Exception):
        paths = load.study_paths(options.results, options.study)
        for path in list(paths.values())[:1]:
            load.prepare(path)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    given, own = parser.parse_known_args()
    sys.argv[1:] = own  # the page reads them
    reading = threading.Thread(target=prepare, args=(own,), daemon=True)
    reading.start()

    @contextlib.asynccontextmanager
    async def once_read(_: st.App) -> AsyncIterator[None]:
        await asyncio.to_thread(reading.join)
        yield

    # Streamlit checks hosts where it sends data; the page without data is for these hosts alone, too.
    middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS), Middleware(EarlyPlotly)]
    app = st.App(Path(__file__).resolve().with_name("explorer.py"), lifespan=once_read, middleware=middleware)
    app.run(config=CONFIG | {"server.port": given.port})


if __name__ == "__main__":
    main()
