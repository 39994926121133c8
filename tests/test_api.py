"""The public interface: its names, what importing it costs, and a search from Python to a bundle that loads again."""

import inspect
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import mfsearch as mf
from mfsearch.proxy.recipe import Recipe
from mfsearch.proxy.rungs import Rungs
from mfsearch.search.progress import SearchEvent
from mfsearch.space import spaces_folder

NAMES = [
    *("MobileFormer", "MobileFormerConfig", "Study", "Trial", "count_costs", "export_bundle", "load_bundle"),
    *("load_config", "load_published", "load_space", "load_table", "measure_latency", "open_study", "plot_front"),
    *("preset", "references", "search"),
]
SLOW = ("torch", "numpy", "pandas", "optuna", "plotly", "yaml")


def test_the_public_names_are_these() -> None:
    assert mf.__all__ == NAMES
    assert set(NAMES) <= {*dir(mf)}
    with pytest.raises(AttributeError, match="has no attribute 'find'; public names are"):
        mf.find  # noqa: B018


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_says_what_it_takes(name: str) -> None:
    public = getattr(mf, name)
    lines = [line for line in (inspect.getdoc(public) or "").splitlines() if line]
    assert lines
    assert len(lines) > 1 or not inspect.signature(public).parameters


def test_importing_loads_nothing_slow() -> None:
    code = f"import sys, mfsearch; print([name for name in {SLOW} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_search_can_be_called_whatever_was_imported_before() -> None:
    code = "import mfsearch.search.loop, mfsearch; from mfsearch.api import search; import inspect\n"
    code += "assert callable(mfsearch.search); print(inspect.signature(mfsearch.search) == inspect.signature(search))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


def search(results: Path, trials: int, **other: Any) -> mf.Study:
    recipe = Recipe(resolution=32, epochs=1, samples=128, batch=32)
    options: dict[str, Any] = {"budget": "30M", "data": "digits", "recipe": recipe, "rungs": Rungs((1,)), **other}
    return mf.search("mobile_former_small", trials=trials, study="s", results=results, **options)


@pytest.fixture(scope="module")
def events() -> list[SearchEvent]:
    return []


@pytest.fixture(scope="module")
def study(results: Path, events: list[SearchEvent]) -> mf.Study:
    return search(results, 2, on_event=events.append)


def test_events_tell_what_happens(study: mf.Study, events: list[SearchEvent]) -> None:
    kinds = [event.kind for event in events]
    assert kinds[0] == "began"
    assert (
        repr(events[-1].progress) == f"Progress(s: 2 trials, 2 trained, {len(study.front())} on the front, 0 running)"
    )
    assert set(kinds) == {"began", "trial", "tick"}
    assert [event.trial for event in events if event.kind == "trial"] == list(study.trials)


def test_a_study_holds_what_the_search_found(study: mf.Study, results: Path) -> None:
    again = mf.open_study(results / "s")
    assert again.trials == study.trials
    assert again.count("trained") == 2
    assert {trial.number for trial in study.front()} <= {0, 1}
    assert all(trial.metric("madds") <= 30e6 for trial in study.trials)
    assert [*study.frame()["top1"]] == [trial.top1 for trial in study.trials]
    assert {trace.type for trace in mf.plot_front(study).data} <= {"scatter", "scattergl"}
    with pytest.raises(ValueError, match="cost must be one of"):
        mf.plot_front(study, "latency_ms")


def test_a_bundle_is_the_network_of_the_study(study: mf.Study, tmp_path: Path) -> None:
    number = study.front()[-1].number
    network = study.network(number, weights=True)
    bundle = mf.load_bundle(mf.export_bundle(study, trial=number, to=tmp_path / "bundle", classes=10))
    images_BCHW = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits_BK = network(images_BCHW)
        assert logits_BK.shape == (2, study.manifest.data.classes)
        torch.testing.assert_close(bundle(images_BCHW), logits_BK, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="needs the number of a trial"):
        mf.export_bundle(study, to=tmp_path / "other")
    with pytest.raises(ValueError, match="trial=3 needs a study"):
        mf.export_bundle("mf-26m", trial=3, to=tmp_path / "other")


def test_the_same_call_resumes_and_other_settings_are_refused(study: mf.Study, results: Path) -> None:
    assert search(results, 2).trials == study.trials
    longer = search(results, 3)
    assert longer.trials[:2] == study.trials
    assert longer.count("trained") == 3
    with pytest.raises(ValueError, match="seed: the study has 0, this run says 1"):
        search(results, 3, seed=1)


def test_ctrl_c_reaches_the_caller_and_the_finished_trial_is_kept(tmp_path: Path) -> None:
    def press(event: SearchEvent) -> None:
        if event.kind == "trial":
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, 3, on_event=press)
    assert mf.open_study(tmp_path / "s").count("trained") == 1


def test_a_budget_that_no_network_keeps_is_an_error_that_names_the_smallest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the smallest network found has"):
        search(tmp_path, 1, budget=1e6)


def test_a_device_is_checked_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--device must be cpu, cuda or cuda:N, got 'tpu'"):
        search(tmp_path, 1, device="tpu")
    assert not [*tmp_path.iterdir()]


def test_numbers_and_a_space_file_are_taken_and_the_file_is_remembered(tmp_path: Path) -> None:
    space = tmp_path / "mine.yaml"
    space.write_text((spaces_folder() / "mobile_former_small.yaml").read_text())
    recipe = Recipe(resolution=32, epochs=1, samples=64, batch=32)
    options: dict[str, Any] = {"data": "digits", "recipe": recipe, "rungs": Rungs((1,)), "results": tmp_path}
    with pytest.raises(ValueError, match="a latency limit must be above 0 ms, got -1.0"):
        mf.search(space, budget=30e6, latency=-1.0, trials=1, **options)
    study = mf.search(space, budget=30e6, trials=1, **options)
    assert study.name == "digits-30M"
    assert study.manifest.options()["space"] == str(space)
    assert {study.trials[0]: 1}[study.trials[0]] == 1


def test_damaged_weights_are_an_error_that_names_the_file(study: mf.Study, tmp_path: Path) -> None:
    number = study.front()[0].number
    copy = tmp_path / "s"
    shutil.copytree(study.folder, copy)
    path = mf.open_study(copy).weights(number)
    assert path is not None
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=re.escape(f"cannot read the weights of trial {number} in {path}")):
        mf.open_study(copy).network(number, weights=True)


def test_latency_is_measured_with_its_interval(tmp_path: Path) -> None:
    latency = mf.measure_latency("mf-26m", cache_dir=tmp_path)
    assert 0 < latency.latency_low_ms <= latency.latency_ms <= latency.latency_high_ms
    assert [*tmp_path.glob("baseline-*.json")]
