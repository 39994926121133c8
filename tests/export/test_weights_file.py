"""Files of weights that a user hands in: where the tensors stand in them, and what is refused."""

import argparse
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mfsearch.export import weights_file
from mfsearch.export.weights_file import read_weights


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code ran",)


def bomb(path: Path) -> None:
    """An archive of 2 kB that unpacks to 2 MB, as torch.save names its parts."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a/data/0", "w", force_zip64=True) as f,
    ):
        f.write(bytes(1 << 21))


def sparse_file(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate((1 << 20) + 1)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "none.pth": (lambda path: None, "no such file"),
    "folder.pth": (lambda path: path.mkdir(), "not a regular file"),
    "pipe.pth": (lambda path: os.mkfifo(path), "not a regular file"),
    "empty.pth": (lambda path: path.touch(), "cannot be read"),
    "code.pth": (lambda path: torch.save({"a": Evil()}, path), "not a file of weights alone"),
    "list.pth": (lambda path: torch.save([1, 2], path), "holds no tensors by name"),
    "nothing.pth": (lambda path: torch.save({}, path), "holds no tensors by name"),
    "cut.safetensors": (lambda path: path.write_bytes(b"\x10\0\0\0\0\0\0\0{"), "cannot be read"),
    "large.pth": (sparse_file, "larger than 1 MB"),
    "bomb.pth": (bomb, "larger than 1 MB"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_not_weights_is_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(weights_file, "MAX_FILE_BYTES", 1 << 20)
    make, said = REFUSED[name]
    make(tmp_path / name)
    with pytest.raises(ValueError, match=rf"weights .*{name}: .*{said}"):
        read_weights(tmp_path / name)
    assert capsys.readouterr().out == ""  # no code ran


def test_the_tensors_are_found_where_training_scripts_put_them(tmp_path: Path) -> None:
    own, average = {"a": torch.zeros(2), "b": torch.ones(2)}, {"a": torch.full((2,), 2.0), "b": torch.ones(2)}
    wrapped = {f"module.{name}": value for name, value in own.items()}
    options = argparse.Namespace(lr=0.1)
    for content, value in (
        (own, 0),
        (wrapped, 0),
        ({"model": own, "epoch": 3}, 0),
        ({"state_dict": wrapped, "args": options}, 0),
        ({"state_dict": own, "state_dict_ema": average}, 2),
        ({"state_dict": own, "state_dict_ema": None}, 0),
    ):
        torch.save(content, tmp_path / "w.pth")
        found = read_weights(tmp_path / "w.pth")
        assert list(found) == ["a", "b"]
        assert found["a"].tolist() == [value, value]
    save_file(own, tmp_path / "w.safetensors")
    assert read_weights(tmp_path / "w.safetensors").keys() == own.keys()
    torch.save(own, (old := io.BytesIO()), _use_new_zipfile_serialization=False)
    (tmp_path / "old.pth").write_bytes(old.getvalue())
    assert read_weights(tmp_path / "old.pth").keys() == own.keys()
