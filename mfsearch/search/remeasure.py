"""The end of a run with a latency limit: all of the front is measured again, in one go."""

import datetime
from collections.abc import Callable
from typing import Any

import torch

from mfsearch.config import MobileFormerConfig
from mfsearch.cost.meter import LatencyMeter
from mfsearch.cost.onnx_export import ExportError
from mfsearch.cost.runner import Runner, RunnerError
from mfsearch.search.evaluate import latency_columns, measure_in_full
from mfsearch.search.front import front_in_search, over_limit
from mfsearch.search.progress import Progress, Watcher
from mfsearch.search.rungs import measured_again
from mfsearch.study.ledger import Ledger


def measure_front(
    progress: Progress,
    limit_ms: float,
    *,
    ledger: Ledger,
    watcher: Watcher,
    open_meter: Callable[[], LatencyMeter | Runner],
    interrupted: Callable[[], bool],
    seed: int,
) -> None:
    """Measure all of the front again, with no training beside it, as `mfsearch latency` does; brings `progress` up.

    Those are measured who are on the front by the search's figures, and who come on by the new ones. Where all were
    and nothing was trained since, they are not measured again; where a run was interrupted, all are. Over the limit
    is whose whole interval is; where that was measured on a disturbed machine, a later run measures again.
    """
    first = front_in_search(progress.rows, progress.objectives)
    stages = sum(len(row.get("stages", ())) for row in progress.rows)
    trained = f"after {len(progress.rows)} trials and {stages} longer trainings, from "
    members = _to_measure(progress, first)
    windows = {progress.rows[place].get("latency_final", {}).get("window") or "" for place in members}
    if len(windows) == 1 and windows.pop().startswith(trained) and not any(map(_in_doubt, progress.rows)):
        return
    window = trained + datetime.datetime.now(datetime.UTC).isoformat()
    torch.set_num_threads(1)
    meter = None
    done: set[int] = set()
    while left := [place for place in _to_measure(progress, first) if place not in done]:
        for k, place in enumerate(left, 1):
            if interrupted():
                return
            done.add(place)
            row = progress.rows[place]
            try:
                meter = meter or open_meter()
                found = measure_in_full(MobileFormerConfig.from_dict(row["config"]), meter, seed)
            except RunnerError as error:
                watcher.not_measured_again("the front's latencies are", str(error))
                return
            except (ExportError, ValueError, OSError) as error:
                watcher.not_measured_again(f"trial {row['number']}'s latency is", str(error))
                continue
            lowest = found.latency_ms if found.latency_low_ms is None else found.latency_low_ms
            finished = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            final = latency_columns(found) | {"window": window, "finished": finished, "over_limit": lowest > limit_ms}
            ledger.add_latency(row["number"], final)
            progress.rows[place] = measured_again(row, final)
            watcher.measured_again(progress.rows[place], len(left) - k)
        progress.rank()


def _to_measure(progress: Progress, first: list[int]) -> list[int]:
    """Places of the rows that belong to the end: `first`, the front, and who may have been left out wrongly."""
    numbers = {*first, *progress.front}
    return [place for place, row in enumerate(progress.rows) if row["number"] in numbers or _in_doubt(row)]


def _in_doubt(row: dict[str, Any]) -> bool:
    return over_limit(row) and bool(row["latency_disturbed"])
