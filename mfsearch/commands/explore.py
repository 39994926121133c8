"""Open the explorer in the browser."""

import argparse
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from mfsearch.commands import options

HOSTS = ["127.0.0.1", "localhost"]  # other host names are refused, against DNS rebinding
CONFIG = {  # Streamlit's server
    "server.address": "127.0.0.1",  # Streamlit's default is every interface
    "server.allowedHosts": HOSTS,
    "server.headless": True,
    "server.fileWatcherType": "none",
    "server.showEmailPrompt": False,
    "browser.gatherUsageStats": False,
    "client.showErrorDetails": "type",
    "client.toolbarMode": "minimal",
    "global.disableWidgetStateDuplicationWarning": True,  # the widget of a limit has a default that may change
    "theme.light.primaryColor": "#0072B2",  # the figures' blues
    "theme.dark.primaryColor": "#56B4E9",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", nargs="?", help="name or folder (default: choose in the page)")
    options.add_default(parser, "--port", 8501, "port on 127.0.0.1")
    options.add_results(parser, json=False)


def run(args: argparse.Namespace) -> int:
    """Open the Streamlit explorer on 127.0.0.1 until Ctrl-C."""
    from mfsearch.study.files import find_study, list_studies

    if not 1 <= args.port <= 65535:
        raise ValueError(f"--port must be 1 to 65535, got {args.port}")
    study = None
    if args.study is not None:
        come_along = committed_results()
        own = args.study in list_studies(args.results)
        use = args.results if own or come_along is None or args.study not in list_studies(come_along) else come_along
        study = find_study(args.study, use)
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", args.port)) == 0:
            raise ValueError(f"--port {args.port} is in use; take another, such as {args.port % 65535 + 1}")
    server = subprocess.Popen(explore_command(study, args.results, args.port))
    ended = False

    def end(*_: object) -> None:
        nonlocal ended
        ended = True
        server.terminate()

    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, end)
    print("reading the study; the address follows", flush=True)
    while server.poll() is None and not _is_ready(args.port):
        time.sleep(0.05)
    if server.poll() is None:
        print(f"explorer at http://127.0.0.1:{args.port} (Ctrl-C ends it)", flush=True)
    code = server.wait()
    return 0 if ended else code


def _is_ready(port: int) -> bool:
    """Whether the explorer answers. The port opens earlier; requests wait."""
    import http.client  # imported here because it loads ssl

    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=60)  # urllib would ask a proxy
    try:
        asked.request("GET", "/_stcore/health")
        return asked.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        asked.close()


def app_path() -> Path:
    """The explorer's entry script: in `mfsearch/_app/` of a wheel, in `app/` beside the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    places = [package / "_app" / "explorer.py", package.parent / "app" / "explorer.py"]
    for place in places:
        if place.is_file():
            return place
    raise FileNotFoundError(f"the explorer's script must be at {places[0]} or {places[1]}; reinstall mfsearch")


def committed_results() -> Path | None:
    """The folder of studies that come with mfsearch: `mfsearch/_results/` in a wheel, `results/` in a checkout."""
    package = Path(__file__).resolve().parents[1]
    places = [package / "_results" / "reference", package.parent / "results" / "reference"]
    return next((place for place in places if place.is_dir()), None)


def explore_command(study: Path | None, results: Path, port: int) -> list[str]:
    """The command line that serves the explorer on http://127.0.0.1:`port`, for this machine only.

    The page opens with `study`; None opens the newest in `results`.
    """
    return [
        *(sys.executable, str(app_path().with_name("serve.py")), f"--port={port}", f"--results={results}"),
        *([] if study is None else [f"--study={study}"]),
    ]
