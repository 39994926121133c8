"""The pool of worker processes: death, refusal to start, refusal to end, and what is left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mfsearch.search.pool import DeviceLostError, Event, Pool, Report, WorkerError

Do = Callable[[str, Report], str]


def willing(mark: str) -> Do:
    """Does what the work says."""

    def do(work: str, report: Report) -> str:
        if work == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if work == "leave":
            os._exit(3)
        if work == "break":
            raise DeviceLostError(f"{mark} {os.getpid()}")
        if work == "halves":
            for share in (0.0, 0.1, 0.2, 1.0):
                report("working", share)
        if work == "sleep":
            report("asleep", 0.0)
            time.sleep(60)
        return f"{mark} {os.getpid()}"

    return do


def stubborn(mark: str) -> Do:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return willing(mark)


def unready(mark: str) -> Do:
    raise RuntimeError(f"no images in {mark}")


def dead_at_birth(_mark: str) -> Do:
    os._exit(7)


def until(pool: "Pool[str, str]", kind: str) -> Event[str]:
    """The next event of a kind, within a minute."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for event in pool.wait(timeout=0.2):
            if event.kind == kind:
                return event
    raise AssertionError(f"no event {kind!r} in a minute")


def idle(pool: "Pool[str, str]") -> int:
    end = time.monotonic() + 60
    while not pool.idle() and time.monotonic() < end:
        assert pool.wait(timeout=0.2) == []
    return pool.idle()[0]


@pytest.fixture
def pool() -> Iterator["Pool[str, str]"]:
    pool = Pool(1, willing, "here")
    yield pool
    pool.close()


def test_work_comes_back_with_its_progress(pool: "Pool[str, str]") -> None:
    pool.submit(idle(pool), "halves")
    assert pool.idle() == []
    events: list[Event[str]] = []
    while not any(event.kind == "done" for event in events):
        events += pool.wait(timeout=1)
    # a tenth and two tenths come within half a second of the beginning
    assert [(event.kind, event.stage, event.share) for event in events[:-1]] == [
        ("progress", "working", 0.0),
        ("progress", "working", 1.0),
    ]
    assert (events[-1].result or "").startswith("here ")
    assert pool.idle() == [0]


@pytest.mark.parametrize(("work", "how"), [("die", "was killed by signal 9"), ("leave", "ended with code 3")])
def test_the_work_of_a_dead_worker_is_lost_and_the_worker_replaced(pool: "Pool[str, str]", work: str, how: str) -> None:
    pool.submit(idle(pool), work)
    assert until(pool, "lost") == Event(0, "lost", how=how)
    pool.submit(idle(pool), "more")
    assert (until(pool, "done").result or "").startswith("here ")


def test_a_worker_that_lost_its_device_keeps_its_result_and_is_replaced(pool: "Pool[str, str]") -> None:
    pool.submit(idle(pool), "break")
    first = until(pool, "done").result
    assert pool.idle() == []
    pool.submit(idle(pool), "more")
    assert until(pool, "done").result not in (None, first)


@pytest.mark.parametrize(
    ("make", "reason"),
    [(unready, "RuntimeError: no images in here"), (dead_at_birth, "a worker process ended with code 7")],
)
def test_starts_that_fail_too_often_are_an_error_with_the_reason(make: Callable[[str], Do], reason: str) -> None:
    pool = Pool(2, make, "here")
    with pytest.raises(WorkerError, match=f"no worker can start: {reason}"):
        idle(pool)
    pool.close()


def test_a_worker_that_ignores_sigterm_ends_in_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mfsearch.search.pool.GRACE_SECONDS", 0.5)
    pool = Pool(2, stubborn, "here")
    for _ in range(2):
        pool.submit(idle(pool), "sleep")
        until(pool, "progress")
    processes = [worker.process for worker in pool._workers]
    start = time.monotonic()
    pool.close()
    assert time.monotonic() - start < 5
    assert [process.exitcode for process in processes] == [-signal.SIGKILL] * 2
    pool.close()  # again
    assert pool.idle() == []


def test_a_script_needs_no_guard_around_its_search(tmp_path: Path) -> None:
    """Its workers do not run it again, unless they need what it defines."""
    script = tmp_path / "script.py"
    code = (
        "import contextlib\nfrom mfsearch.search.pool import Pool\n{imports}\nprint('run', flush=True)\n{guard}\n"
        "    with contextlib.closing(Pool(1, make, 'here')) as pool:\n"
        "        pool.submit(idle(pool), 'more')\n"
        "        print((until(pool, 'done').result or '').partition(' ')[0])\n"
    )
    theirs = "from tests.search.test_pool import idle, until\nfrom tests.search.test_pool import willing as make"
    own = "from tests.search.test_pool import idle, until, willing\ndef make(job): return willing(job)"
    for imports, guard, runs in ((theirs, "if True:", 1), (own, "if __name__ == '__main__':", 2)):
        script.write_text(code.format(imports=imports, guard=guard))
        done = subprocess.run(
            [sys.executable, str(script)],
            cwd=Path(__file__).parents[2],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        said = done.stdout.split()
        assert said.count("here") == 1
        assert said.count("run") == runs


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nothing_outlives_a_killed_parent(tmp_path: Path) -> None:
    """Neither the workers nor the helper process that Python starts beside them, killed as they start or at work."""
    code = (
        "import sys, time; from pathlib import Path; from mfsearch.search.pool import Pool\n"
        "from tests.search.test_pool import idle, until, willing\n"
        "pool = Pool(2, willing, 'here')\n"
        "if sys.argv[1] == 'at work':\n"
        "    pool.submit(idle(pool), 'sleep'); until(pool, 'progress')\n"
        "print('now', flush=True); time.sleep(60)"
    )
    for moment in ("as they start", "at work"):
        parent = subprocess.Popen(
            [sys.executable, "-c", code, moment],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        assert parent.stdout is not None
        assert parent.stdout.readline() == "now\n"
        parent.kill()
        parent.communicate()  # its output is closed once all who hold it have ended
        end = time.monotonic() + 30
        while (left := in_session(parent.pid)) and time.monotonic() < end:
            time.sleep(0.05)
        assert left == []


def in_session(session: int) -> list[str]:
    """The command lines of the living processes of a session."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, there = (place / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(there) == session and state != "Z":
                found.append((place / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found
