"""Starts the explorer's server and reads the first study meanwhile, so that the first visitor need not wait for it.

Its arguments are those of `streamlit run explorer.py`; `mfsearch explore` gives them.
"""

import contextlib
import logging
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).resolve().parent


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
    sys.path.insert(0, str(HERE))
    given = sys.argv[1:]
    own = given[given.index("--") + 1 :] if "--" in given else []
    threading.Thread(target=prepare, args=(own,), daemon=True).start()
    from streamlit.web import cli

    sys.argv = ["streamlit", "run", str(HERE / "explorer.py"), *given]
    cli.main()


if __name__ == "__main__":
    main()
