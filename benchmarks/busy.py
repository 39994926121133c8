"""A machine that others use: what measurements are tried on."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """So many processes that only count, while the block runs."""
    processes = [
        subprocess.Popen([sys.executable, "-c", "while True: sum(i * i for i in range(1000))"]) for _ in range(count)
    ]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
