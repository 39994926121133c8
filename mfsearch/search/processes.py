"""What worker processes and the one that leads them share: who hears Ctrl-C, and who ends with whom."""

import contextlib
import multiprocessing as mp
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed: the first ends a loop between two results, so that nothing finished is lost; a second
    one raises KeyboardInterrupt at once."""
    pressed = False
    if threading.current_thread() is not threading.main_thread():
        yield lambda: pressed
        return

    def note(_signal: int, _frame: Any) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """A process begun here ignores Ctrl-C from its first instruction: the terminal sends it to the whole group."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def serve_parent() -> None:
    """To be called by a worker first: deaf to Ctrl-C (the parent decides), gone when the parent is."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = mp.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: mp.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)
