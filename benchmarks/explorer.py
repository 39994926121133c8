"""How fast is the explorer on a large study? Reading, the first page in a real browser, an interaction; and beside it
optuna-dashboard on the same journal.

    python benchmarks/explorer.py [--trials 10000 100000] [--dashboard PATH/TO/optuna-dashboard] [--json]

Studies are made up by `benchmarks/simulated_study.py` with seed 0, or taken from `--studies FOLDER` where they lie from
an earlier run. First page: from the browser's request to the first figure drawn, as soon as the server, started anew,
has read the study and answers; beside it a page of Streamlit that holds nothing but a figure of three points.
Interaction: what the server does from the event to the last element, by AppTest in one process. CPU seconds stand
beside the wall, as other work on the machine stretches only the latter. For the browser: `pip install playwright` and
Chromium at /usr/bin/chromium, or its path in CHROMIUM.

2026-11-23, AMD EPYC, two cores, no GPU, nothing else running, 10,000 trials (93 MB): read in 0.83 s (by Optuna 4.68),
frame 0.38, probabilities 0.63, asking for more 0.0002; an interaction 0.24 and 0.27 (limit 0.5); the page 2.99 s after
the request (limit 3; in a slower hour 3.68 and 3.93, not kept), a bare page of Streamlit 2.47 (2.66), optuna-dashboard
2.3 and then 4.4 after 201 MB of JSON. 100,000 trials: CPU seconds 12.2, 6.3 and 9.2.
"""

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from streamlit.testing.v1 import AppTest

from benchmarks.simulated_study import simulate
from mfsearch.analysis.front.cut import measured_objectives
from mfsearch.analysis.metrics import with_confidence
from mfsearch.commands.explore import app_path, explore_command
from mfsearch.study.files import JOURNAL
from mfsearch.study.frame import study_frame
from mfsearch.study.ledger import open_journal
from mfsearch.study.manifest import Manifest
from mfsearch.study.reader import StudyReader

FIRST_PAGE_LIMIT_S, INTERACTION_LIMIT_S = 3.0, 0.5  # at LIMITED trials
LIMITED = 10_000
REPEATS = 5
PATIENCE_S = 240.0
FIGURE = ".js-plotly-plot .main-svg"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
]


def timed(work: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    """Wall and CPU seconds of this process, and what came out."""
    cpu, wall = time.process_time(), time.perf_counter()
    found = work()
    return {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}, found


def measure_reading(folder: Path, through_optuna: bool) -> dict[str, Any]:
    """Reading the trials, making the frame, judging the front; and reading on when nothing is new."""
    reader = StudyReader(folder)
    read, seen = timed(reader.look)
    merged, trials = timed(lambda: reader.trials(seen))
    again, _ = timed(reader.look)
    frame_s, frame = timed(lambda: study_frame(trials))
    objectives = measured_objectives(frame, reader.manifest.objectives)
    confidence_s, _ = timed(lambda: with_confidence(frame, objectives))
    found = {
        "read": {key: read[key] + merged[key] for key in read},
        "poll": again,
        "frame": frame_s,
        "confidence": confidence_s,
    }
    if through_optuna:
        found["read_by_optuna"], _ = timed(lambda: open_journal(folder / JOURNAL).get_all_trials(0, deepcopy=False))
    return found


def measure_interactions(folder: Path) -> dict[str, Any]:
    """Server time of a page that is there already: moving the slider of multiply-adds, and choosing a trial."""
    given, sys.argv = sys.argv, ["explorer.py", f"--results={folder.parent}", f"--study={folder}"]
    try:
        app = AppTest.from_file(app_path(), default_timeout=PATIENCE_S)
        first, _ = timed(app.run)
        sliders, choices = [], []
        low, high = app.slider(key="madds").min, app.slider(key="madds").max
        for k in range(REPEATS):
            value = round(low + (high - low) * (0.6 + 0.1 * k))
            app.slider(key="madds").set_value(float(value))
            sliders.append(timed(app.run)[0])
        app.slider(key="madds").set_value(high).run()
        for k in range(REPEATS):
            app.query_params["trial"] = str(10 + k)
            choices.append(timed(app.run)[0])
    finally:
        sys.argv = given
    assert not app.exception, app.exception[0].value
    figures = [len(chart.proto.spec) for chart in app.get("plotly_chart")]
    return {
        "first": first,
        "slider": median_of(sliders),
        "choose": median_of(choices),
        "figures_mb": sum(figures) / 1e6,
    }


def median_of(times: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(each[key] for each in times) for key in times[0]}


def cpu_of(process: int) -> float:
    """CPU seconds that a process has used so far (proc(5): utime and stime); NaN where the system does not say."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def served(command: list[str], health: str) -> Iterator[int]:
    """A server as a process, from its first answer to `health` on until the end: its number."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.perf_counter() + PATIENCE_S
        while True:
            try:
                urllib.request.urlopen(health, timeout=5).close()
                break
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                if process.poll() is not None or time.perf_counter() > until:
                    raise RuntimeError(f"no answer at {health} from: {' '.join(command)}") from None
                time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def measure_browser(url: str, visits: int, server: int) -> dict[str, float]:
    """Seconds from the request to the first figure drawn, for the first visit and the median of the later ones, and
    the server's CPU seconds in the first."""
    from playwright.sync_api import sync_playwright

    seconds: list[float] = []
    spent = [cpu_of(server)]
    with sync_playwright() as playwright:
        path = os.environ.get("CHROMIUM", "/usr/bin/chromium")
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        for _ in range(visits):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            start = time.perf_counter()
            page.goto(url, wait_until="commit", timeout=1000 * PATIENCE_S)
            page.wait_for_selector(FIGURE, timeout=1000 * PATIENCE_S)
            seconds.append(time.perf_counter() - start)
            spent.append(cpu_of(server))
            page.close()
        browser.close()
    later = statistics.median(seconds[1:])
    return {"first_s": seconds[0], "first_server_cpu_s": spent[1] - spent[0], "later_s": later}


def measure_explorer_page(folder: Path) -> dict[str, float]:
    port = free_port()
    start = time.perf_counter()
    with served(explore_command(folder, folder.parent, port), f"http://127.0.0.1:{port}/_stcore/health") as server:
        ready = time.perf_counter() - start
        return {"start_s": ready, **measure_browser(f"http://127.0.0.1:{port}/", 1 + REPEATS, server)}


def measure_bare_page() -> dict[str, float]:
    """A page of Streamlit that holds nothing but a figure of three points: what no page of it can be faster than."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "bare.py"
        script.write_text("import plotly.express as px, streamlit as st\nst.plotly_chart(px.scatter(x=[1, 2, 3]))\n")
        options = [f"--server.port={port}", "--server.address=127.0.0.1", "--server.headless=true"]
        options += ["--server.fileWatcherType=none", "--browser.gatherUsageStats=false"]
        command = [sys.executable, "-m", "streamlit", "run", str(script), *options]
        with served(command, f"http://127.0.0.1:{port}/_stcore/health") as server:
            return measure_browser(f"http://127.0.0.1:{port}/", 1 + REPEATS, server)


def measure_dashboard(dashboard: Path, folder: Path) -> dict[str, Any]:
    """The page of the study in optuna-dashboard, and the data that it asks for. Reading begins with its start."""
    port = free_port()
    start = time.perf_counter()
    with served(
        [str(dashboard), str(folder / JOURNAL), f"--port={port}", "--host=127.0.0.1"],
        f"http://127.0.0.1:{port}/dashboard",
    ) as server:
        ready = time.perf_counter() - start
        browser = measure_browser(f"http://127.0.0.1:{port}/dashboard/studies/0", 2, server)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies/0?after=0", timeout=PATIENCE_S) as answer:
            return {"start_s": ready, **browser, "json_mb": len(answer.read()) / 1e6}


def measure(folder: Path, dashboard: Path | None) -> dict[str, Any]:
    """All figures of one study."""
    trials = sum(b'"op_code":4' in line for line in (folder / JOURNAL).open("rb"))
    large = trials > LIMITED
    found: dict[str, Any] = {"trials": trials, "journal_mb": (folder / JOURNAL).stat().st_size / 1e6}
    found |= measure_reading(folder, through_optuna=not large)
    found["page"] = measure_explorer_page(folder)
    found["bare_page"] = measure_bare_page()
    found |= measure_interactions(folder)
    if dashboard is not None and not large:
        found["dashboard"] = measure_dashboard(dashboard, folder)
    if trials == LIMITED:
        slowest = max(found["slider"]["wall_s"], found["choose"]["wall_s"])
        found["passed"] = found["page"]["first_s"] <= FIRST_PAGE_LIMIT_S and slowest <= INTERACTION_LIMIT_S
    return found


def print_table(studies: list[dict[str, Any]], dashboard: Path | None) -> None:
    names = {
        "read": "reading the journal",
        "read_by_optuna": "reading it by Optuna",
        "poll": "asking whether there is more",
        "frame": "frame",
        "confidence": "probabilities and ties",
        "slider": "interaction: slider of multiply-adds",
        "choose": "interaction: choosing a trial",
    }
    for study in studies:
        print(f"{study['trials']:,} trials, journal {study['journal_mb']:.0f} MB, figures {study['figures_mb']:.1f} MB")
        for key, name in names.items():
            if key in study:
                print(f"  {name:<44} {study[key]['wall_s']:8.3f} s (CPU {study[key]['cpu_s']:.3f})")
        page = study["page"]
        print(f"  {'browser: request to first figure':<44} {page['first_s']:8.2f} s ", end="")
        print(f"(server's CPU {page['first_server_cpu_s']:.2f}), then {page['later_s']:.2f}; ", end="")
        print(f"the server answers after {page['start_s']:.1f}")
        bare = study["bare_page"]["later_s"]
        print(f"  {'browser: a bare page of Streamlit':<44} {bare:8.2f} s, the explorer's later visits ", end="")
        print(f"{page['later_s'] / bare:.2f} times that")
        if "dashboard" in study:
            other = study["dashboard"]
            print(f"  {'optuna-dashboard: request to first figure':<44} {other['first_s']:8.2f} s ", end="")
            print(f"(server's CPU {other['first_server_cpu_s']:.2f}), then {other['later_s']:.2f}; ", end="")
            print(f"starts in {other['start_s']:.1f}, JSON {other['json_mb']:.0f} MB")
        if "passed" in study:
            limits = f"limits {FIRST_PAGE_LIMIT_S:g} s and {INTERACTION_LIMIT_S:g} s"
            print(f"  {limits}: {'kept' if study['passed'] else 'NOT KEPT'}")
    if dashboard is None:
        print("optuna-dashboard was not measured: name its executable with --dashboard")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Time the explorer on large studies.")
    parser.add_argument("--trials", type=int, nargs="+", default=[LIMITED, 100_000])
    parser.add_argument("--studies", type=Path, help="folder that keeps the studies (default: one that goes again)")
    parser.add_argument("--dashboard", type=Path, help="optuna-dashboard's executable, measured beside")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        place = args.studies or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        measured = []
        for count in args.trials:
            study = place / f"simulated-{count}"
            if not study.exists():
                simulate(study, count, seed=0)
            assert Manifest.read(study).study == study.name
            measured.append(measure(study, args.dashboard))
        if args.json:
            print(json.dumps(measured, indent=1))
        else:
            print_table(measured, args.dashboard)
    raise SystemExit(0 if all(study.get("passed", True) for study in measured) else 1)
