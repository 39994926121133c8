"""The command line with trainings that are made up, so that a study is the same on every machine.

    python tests/study/standin.py run --budget 0.3M ...

What a training gives follows from the network and its seed by simple arithmetic; all else is the real thing: proposals,
ONNX files, latencies, workers, checkpoints, stops, promotions, ledger. train_seconds counts the points of the curve
that were trained and not taken from a checkpoint. CUT=12:SIGKILL ends the search in the middle of its twelfth training.
With REAL=1 trainings are real and cut after their third step. Several commands are run one after another, with "--"
between them. It runs with any version of mfsearch on PYTHONPATH; workers import this file, too, and so come by it, for
their maker is defined here.
"""

import contextlib
import hashlib
import json
import os
import signal
import sys
import time
from importlib import import_module
from typing import Any

import torch

real: Any = import_module("mfsearch.proxy.short_train")
CUT_STEP = 3
begun = 0
real_short_train = real.short_train


def made_up(config: Any, data: Any, recipe: Any, *, seed: int, points: Any, checkpoint: Any, **hooks: Any) -> Any:
    """A ShortTraining of this network and seed; one network in sixteen diverges."""
    global begun
    begun += 1
    luck = int(config.arch_id[:4], 16)
    if luck % 16 == 0:
        raise real.TrainingError("training diverged: loss is nan at step 3 of 9")
    done = json.loads(checkpoint.read_text()) if checkpoint.exists() else []
    curve: list[Any] = []
    for epoch in points:
        top1 = round(0.2 + 0.5 * luck / 0x10000 + 0.1 * epoch / (1 + epoch), 4)
        top1 += int(hashlib.sha256(f"{config.arch_id} {seed} {epoch:g}".encode()).hexdigest()[:4], 16) % 64 / 4096
        curve.append(real.EpochLog(epoch, round(2 - top1, 4), round(top1, 4), round(2.5 - top1, 4), 0.0))
        if len(curve) > len(done):
            checkpoint.write_text(json.dumps([log.epoch for log in curve]))
        if len(curve) == 1:
            cut_here()
        if not hooks["on_point"](curve[-1]) and epoch < points[-1]:
            break
    trained = float(max(0, len(curve) - len(done)))
    finished = len(curve) == len(points)
    return real.ShortTraining(curve[-1].top1, curve, trained, 1.0, finished, {"none": torch.zeros(1)})


def cut(*args: Any, on_step: Any, **options: Any) -> Any:
    """A real training that may be cut."""
    global begun
    begun += 1

    def then_cut(step: int, steps: int) -> None:
        on_step(step, steps)
        if step == CUT_STEP:
            cut_here()

    return real_short_train(*args, on_step=then_cut, **options)


def cut_here() -> None:
    """End the search if CUT names this training."""
    at, _, name = os.environ.get("CUT", "0:").partition(":")
    if begun == int(at):
        os.kill(os.getppid(), getattr(signal, name))
        time.sleep(60)  # ended from outside


def make_evaluator(job: Any) -> Any:
    return import_module("mfsearch.search.evaluator").make_evaluator(job)


real.short_train = cut if os.environ.get("REAL") else made_up

if __name__ == "__main__":
    from mfsearch.cli import main

    with contextlib.suppress(ImportError):  # the earlier code has no such module, and imports this file anyway
        vars(import_module("mfsearch.search.loop"))["make_evaluator"] = make_evaluator
    commands = [line.split("\0") for line in "\0".join(sys.argv[1:]).split("\0--\0")]
    sys.exit(max(main(command) for command in commands))
