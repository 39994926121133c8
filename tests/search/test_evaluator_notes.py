"""The images of worker processes."""

from pathlib import Path

import pytest

from mfsearch.proxy.recipe import Recipe
from mfsearch.proxy.rungs import Rungs
from mfsearch.search.evaluator import Evaluator, Job
from mfsearch.search.trainings import Proxy

RECIPE = Recipe(resolution=16, epochs=1, batch=4, crop=0)


def test_workers_load_the_images_of_the_parent_but_compare_no_files(
    image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[int] = []
    monkeypatch.setattr("mfsearch.data.load.shared_note", lambda train, val: compared.append(len(train) + len(val)))
    digest = RECIPE.load_images(str(image_folder), data_dir=None, seed=0).digest
    assert compared == [48]
    job = Job(
        data=str(image_folder),
        data_dir=None,
        data_digest=digest,
        recipe=RECIPE,
        latency_limit_ms=None,
        baseline_ms=None,
        runner=None,
        device="cpu",
        seed=0,
        objectives=("top1", "madds"),
        rungs=Rungs(),
        weights=tmp_path,
        checkpoints=tmp_path,
        checkpoint_seconds=60.0,
        cache_dir=None,
    )
    assert Evaluator(job).data.data.digest == digest
    assert Proxy(str(image_folder), None, 0, RECIPE, "cpu", tmp_path).load_data().data.digest == digest
    assert compared == [48]
