"""How the explorer is started: the command, the server's settings, and where its entry script lies."""

import sys
from pathlib import Path

HOSTS = ["127.0.0.1", "localhost"]  # others are refused, against DNS rebinding
CONFIG = {  # of Streamlit's server
    "server.address": "127.0.0.1",  # the default is every interface
    "server.allowedHosts": HOSTS,
    "server.headless": True,
    "server.fileWatcherType": "none",
    "server.showEmailPrompt": False,
    "browser.gatherUsageStats": False,
    "client.showErrorDetails": "none",
    "client.toolbarMode": "minimal",
    "global.disableWidgetStateDuplicationWarning": True,  # a limit has a default, which may move
    "theme.light.primaryColor": "#0072B2",  # the figures' blues
    "theme.dark.primaryColor": "#56B4E9",
}


def app_path() -> Path:
    """The explorer's entry script: in `mfsearch/_app/` of a wheel, in `app/` beside the package in a checkout."""
    package = Path(__file__).resolve().parent
    places = [package / "_app" / "explorer.py", package.parent / "app" / "explorer.py"]
    for place in places:
        if place.is_file():
            return place
    raise FileNotFoundError(f"the explorer's script must be at {places[0]} or {places[1]}; is the installation whole?")


def committed_results() -> Path | None:
    """The folder of studies that come with mfsearch: `mfsearch/_results/` of a wheel, `results/` of a checkout; None
    where they were left out."""
    package = Path(__file__).resolve().parent
    places = [package / "_results" / "reference", package.parent / "results" / "reference"]
    return next((place for place in places if place.is_dir()), None)


def explore_command(study: Path | None, results: Path, port: int) -> list[str]:
    """The arguments that serve the explorer on http://127.0.0.1:`port`, to this machine alone.

    `study` is the one that is open at first; None opens the newest in `results`.
    """
    return [
        *(sys.executable, str(app_path().with_name("serve.py")), f"--port={port}", f"--results={results}"),
        *([] if study is None else [f"--study={study}"]),
    ]
