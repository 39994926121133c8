"""The progress bar of a search from Python, on a terminal or in a notebook; elsewhere nothing is shown."""

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from mfsearch.search.progress import OnEvent, SearchEvent


@contextlib.contextmanager
def progress_bar() -> Iterator[OnEvent]:
    """Yields a callback for `mf.search` that shows networks trained, the best top1 and the time left."""
    console = Console(stderr=True)
    if not (console.is_terminal or console.is_jupyter):
        yield lambda event: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Bar(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("search", total=None)

        def show(event: SearchEvent) -> None:
            progress = event.progress
            best = max((trial.top1 or 0.0 for trial in progress.trials if trial.outcome == "trained"), default=None)
            words = f"{progress.manifest.study}: {progress.trained} networks trained"
            if best is not None:
                words += f", best top1 {best:.1%}, {len(progress.front)} on the front"
            bar.update(task, description=words, total=progress.limits.trials, completed=progress.trained)

        yield show
