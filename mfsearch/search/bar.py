"""The progress bar of a search from Python, on a terminal or in a notebook; elsewhere only problems are shown."""

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from mfsearch.search.progress import OnEvent, Progress, SearchEvent
from mfsearch.study.study import best_trial
from mfsearch.units import counted

SECONDS = 0.25  # between two updates


@contextlib.contextmanager
def progress_bar() -> Iterator[tuple[OnEvent, Callable[[str], None]]]:
    """Yields two callbacks for `mf.search`: networks trained, the best top1 and the time left; and what goes before."""
    console = Console(stderr=True)
    live = console.is_terminal or console.is_jupyter
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Bar(*columns, console=console, transient=True, disable=not live) as bar:
        task = bar.add_task("search", total=None)
        last = 0.0

        def show(event: SearchEvent) -> None:
            nonlocal last
            if event.kind == "problem":
                console.print(event.text, highlight=False)
            elif live and time.monotonic() - last >= SECONDS:
                done, total = event.progress.work()
                bar.update(task, description=_words(event.progress), completed=done, total=total)
                last = time.monotonic()

        yield show, lambda text: bar.update(task, description=text)


def _words(progress: Progress) -> str:
    words = f"{progress.manifest.study}: {progress.stage}, {counted(progress.trained, 'network')} trained"
    best = best_trial([progress.trials[number] for number in progress.front])
    if best is not None:
        words += f", best top1 {best.metric('top1'):.1%}, {len(progress.front)} on the front"
    left = progress.time_left()
    return words if left is None else f"{words}, {left}"
