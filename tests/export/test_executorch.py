import dataclasses
import importlib.util
from pathlib import Path

import pytest

from mfsearch import cli
from mfsearch.config import BlockConfig
from mfsearch.export.bundle import read_bundle, replace_weights, write_bundle
from mfsearch.export.check import Check, verify_bundle
from mfsearch.export.executorch import check_installed
from mfsearch.export.origin import of_config
from tests.export.bundles import small_bundle, trained_weights
from tests.export.test_check import sealed
from tests.random_configs import SMALL

INSTALLED = importlib.util.find_spec("executorch") is not None
# both bridges, grouped convolutions with a channel shuffle: little, because lowering takes its time
TINY = dataclasses.replace(SMALL, blocks=(BlockConfig(16, 8), BlockConfig(24, 12, stride=2)), groups=2)


def looked(folder: Path) -> Check:
    (check,) = [one for one in verify_bundle(folder, latency=False).checks if one.name == "model.pte"]
    return check


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED, reason="executorch is not installed")
def test_executorch_computes_what_torch_does_and_goes_with_its_weights(tmp_path: Path) -> None:
    folder = tmp_path / "b"
    origin = dataclasses.replace(of_config("tiny", TINY), weights=trained_weights(tmp_path / "w", TINY))
    written = write_bundle(origin, folder, executorch=True)
    assert "model.pte" in written.files
    told = read_bundle(folder).metrics.executorch
    assert told is not None
    assert 0 < told.largest_deviation < 1e-4
    card = (folder / "README.md").read_text()
    assert f"{told.largest_deviation:.1e} | the same for model.pte on 2 images of noise; ExecuTorch" in card
    check = looked(folder)
    assert check.outcome == "ok"
    assert check.said.endswith("of the largest logit from torch in ExecuTorch")

    program = (folder / "model.pte").read_bytes()
    middle = len(program) // 2
    (folder / "model.pte").write_bytes(program[:middle] + bytes([program[middle] ^ 1]) + program[middle + 1 :])
    (failed,) = verify_bundle(folder, latency=False).checks
    assert failed.outcome == "failed"
    assert str(folder / "model.pte") in failed.said
    (folder / "model.pte").write_bytes(program)

    other = tmp_path / "other"
    write_bundle(dataclasses.replace(origin, weights=trained_weights(tmp_path / "w2", TINY, seed=2)), other)
    (other / "model.pte").write_bytes(program)  # of other weights, under a manifest that fits
    check = looked(sealed(other))
    assert check.outcome == "failed"
    assert "model.pte differs by" in check.said

    assert "model.pte" not in replace_weights(folder, tmp_path / "w2", result={})
    assert not (folder / "model.pte").exists()
    assert read_bundle(folder).metrics.executorch is None
    assert verify_bundle(folder, latency=False).verified


@pytest.mark.skipif(not INSTALLED, reason="executorch is not installed")
def test_what_is_no_program_fails(tmp_path: Path) -> None:
    folder = small_bundle(tmp_path / "b")
    for content in (b"", b"no program", b"\x00" * 4096):
        (folder / "model.pte").write_bytes(content)
        assert looked(sealed(folder)).outcome == "failed"


def test_without_executorch_nothing_is_written_and_a_program_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = small_bundle(tmp_path / "b")
    (folder / "model.pte").write_bytes(b"not read")
    sealed(folder)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "executorch" else found(name, *rest)
    )
    with pytest.raises(ValueError, match=r"pip install 'mfsearch\[executorch\]'"):
        check_installed()
    assert cli.main(["export", "mf-26m", "--executorch", "--to", str(tmp_path / "c")]) == 2
    assert "pip install 'mfsearch[executorch]'" in capsys.readouterr().err
    assert not (tmp_path / "c").exists()
    check = looked(folder)
    assert check.outcome == "skipped"
    assert check.said == "not run: model.pte needs executorch: pip install 'mfsearch[executorch]'"
    assert verify_bundle(folder, latency=False).verified
