"""Makes the studies of `earlier/`: half a search each, and how the version that began it ended it.

    PYTHONPATH=EARLIER_CODE python tests/study/make_earlier.py studies results

It writes beside itself and uses whatever mfsearch is on PYTHONPATH, so it is to be run with the code whose behaviour is
to be kept, never with the code under test. `test_earlier_studies.py` and `test_earlier_results.py` read what it writes.
"""

import contextlib
import importlib
import json
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

HERE = Path(__file__).parent
EARLIER = HERE / "earlier"
DUMP, DATABASE = "trials.sql", "trials.db"
TINY, MINI = HERE.parent / "tiny_space.yaml", EARLIER / "mini_space.yaml"
SHORT = "--data digits --resolution 32 --classes 10 --proxy-resolution 16 --epochs 1 --samples 64 --batch 16"
UNLIKE = ("lock", "runner.lock", "reserve", "weights", "report.html")  # of a study's folder, what is not kept


class Begun(NamedTuple):
    """A search: options, and the training that was cut with the signal. real: trainings, too, not made-up ones."""

    options: str
    cut: str
    real: bool = False


# In the order in which they can be begun: database takes over networks of auto.
STUDIES = {
    "random": Begun("--budget 160K --trials 4 --rungs 1 --sampler random --seed 5 --optimizer sgd", "3:SIGKILL", True),
    "auto": Begun("--budget 0.3M --trials 15 --rungs 1,3,9 --finalists 3 --final-seeds 2", "16:SIGKILL"),
    "limited": Begun(
        "--budget 0.3M --trials 14 --rungs 1,3 --finalists 2 --final-seeds 1 --sampler tpe --seed 3 "
        "--latency 160ms --latency-cmd 'sh phone.sh {onnx}'",
        "13:SIGKILL",
    ),
    "database": Begun(
        "--budget 0.25M --trials 7 --rungs 1,3 --finalists 2 --final-seeds 2 --sampler evolution --from auto "
        f"--storage sqlite:///{DATABASE}",
        "10:SIGINT",
    ),
}


def command(name: str) -> list[str]:
    """The words of the study's command, which go on with it in a folder that `lay_out` made."""
    space = MINI if STUDIES[name].real else TINY
    return shlex.split(f"run --study {name} --space {space} {SHORT} {STUDIES[name].options} --results . --json")


def lay_out(folder: Path) -> None:
    """The studies as they were cut, in a folder where their commands can be given."""
    for name in STUDIES:
        if (EARLIER / name).is_dir():
            shutil.copytree(EARLIER / name, folder / name)
    shutil.copy(EARLIER / "phone.sh", folder)
    for name in ("sizes", DUMP):
        if (EARLIER / name).is_file():
            shutil.copy(EARLIER / name, folder)
    if (folder / DUMP).is_file():
        with contextlib.closing(sqlite3.connect(folder / DATABASE)) as database:
            database.executescript((folder / DUMP).read_text(encoding="utf-8"))


def run_on(names: list[str], folder: Path, **environment: str) -> None:
    """Give the commands of these studies in one process."""
    words: list[str] = []
    for name in names:
        words += ["--", *command(name)] if words else command(name)
    argv = [sys.executable, str(HERE / "standin.py"), *words]
    done = subprocess.run(argv, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 130, -9), done.stderr


TIMES = ("finished", "train_seconds", "images_per_second")


def timeless(row: dict[str, Any], *, real: bool = False) -> dict[str, Any]:
    """A trial without what no two runs have alike. Of made-up trainings the seconds are figures, see standin.py."""
    plain = {key: value for key, value in row.items() if key not in (TIMES if real else TIMES[:1])}
    if "curve" in plain:
        plain["curve"] = [{key: value for key, value in log.items() if key != "seconds"} for log in plain["curve"]]
    if "stages" in plain:
        plain["stages"] = [timeless(stage, real=real) for stage in plain["stages"]]
    if "latency_final" in plain:
        final = timeless(plain["latency_final"])
        plain["latency_final"] = final | {"window": final["window"].partition(", from ")[0]}
    return plain


def write(path: Path, content: object) -> None:
    """JSON with one item of each outer list a line."""
    lines = ",\n ".join(json.dumps(item) for item in content) if isinstance(content, list) else ""
    path.write_text(f"[\n {lines}\n]\n" if lines else json.dumps(content, indent=1) + "\n", encoding="utf-8")


def make_studies() -> None:
    read_trials = importlib.import_module("mfsearch.search.study").read_trials  # as the earlier code has it

    for name in STUDIES:
        shutil.rmtree(EARLIER / name, ignore_errors=True)
    for name in ("sizes", DUMP):
        (EARLIER / name).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as text:
        begun = Path(text)
        lay_out(begun)
        for name, study in STUDIES.items():
            real = {"REAL": "1", "MFSEARCH_CHECKPOINT_SECONDS": "1e-9"} if study.real else {}
            run_on([name], begun, CUT=study.cut, **real)
            shutil.copytree(begun / name, EARLIER / name, ignore=shutil.ignore_patterns(*UNLIKE))
        shutil.copy(begun / "sizes", EARLIER)
        with contextlib.closing(sqlite3.connect(begun / DATABASE)) as database:
            (EARLIER / DUMP).write_text("\n".join(database.iterdump()) + "\n", encoding="utf-8")
    with tempfile.TemporaryDirectory() as text:
        lay_out(Path(text))
        os.chdir(text)  # where the database is
        run_on([name for name, study in STUDIES.items() if not study.real], Path(text))
        run_on([name for name, study in STUDIES.items() if study.real], Path(text), REAL="1")
        for name, study in STUDIES.items():
            rows = [timeless(row, real=study.real) for row in read_trials(Path(text) / name)]
            write(EARLIER / f"{name}-end.json", rows)
            print(name, "ended with", [(row["outcome"], row["origin"], len(row.get("stages", ()))) for row in rows])


def views_of_results(views: ModuleType) -> dict[str, Any]:
    """What readers make of all that is committed under results/, and of the studies above as they were cut. views: the
    module earlier_views, which has another name where this file is a script."""
    results = HERE.parents[1] / "results"
    committed = sorted(path.parent for path in results.glob("reference/*/manifest.json"))
    found = {folder.name: views.study_view(folder) for folder in committed}
    with tempfile.TemporaryDirectory() as text:
        lay_out(Path(text))
        with contextlib.chdir(text):  # where the database is
            found |= {f"cut {name}": views.study_view(Path(name)) for name in STUDIES}
    found["calibrations"] = views.calibration_view(results, committed)
    found["twins"] = views.twins_view(results)
    found["latency"] = views.latency_view(results)
    return found


def make_results() -> None:
    text = json.dumps(views_of_results(import_module("earlier_views")), indent=1)
    (EARLIER / "results.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    for what in sys.argv[1:]:
        {"studies": make_studies, "results": make_results}[what]()
