"""Fetching an archive, from files instead of the network."""

import dataclasses
import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from mfsearch.data import DataError, load_data
from mfsearch.data.cifar import CIFARS
from mfsearch.data.download import fetch_archive
from tests.data.cifar_files import write_cifar


def md5_of(archive: Path) -> str:
    return hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest()


def test_a_missing_cifar_is_fetched_once_when_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server, home = tmp_path / "server", tmp_path / "home"
    write_cifar(server, "cifar10", "binary", per_class=2)
    archive = server / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(server / "cifar-10-batches-bin", "cifar-10-batches-bin")
    monkeypatch.setattr("mfsearch.data.cifar.ADDRESS", server.as_uri())
    monkeypatch.setitem(CIFARS, "cifar10", dataclasses.replace(CIFARS["cifar10"], md5=md5_of(archive)))
    with pytest.raises(DataError, match="--download downloads it"):
        load_data("cifar10", resolution=32, data_dir=home)
    fetched = load_data("cifar10", resolution=32, data_dir=home, download=True)
    archive.unlink()
    assert load_data("cifar10", resolution=32, data_dir=home, download=True).digest == fetched.digest
    assert [path.name for path in home.iterdir()] == ["cifar-10-batches-bin"]  # the archive does not stay


def test_the_official_archives_are_those_published() -> None:
    # https://www.cs.toronto.edu/~kriz/cifar.html
    assert (CIFARS["cifar10"].archive, CIFARS["cifar10"].md5) == (
        "cifar-10-binary.tar.gz",
        "c32a1d4ab5d03f1284b67883e8d87530",
    )
    assert (CIFARS["cifar100"].archive, CIFARS["cifar100"].md5) == (
        "cifar-100-binary.tar.gz",
        "03b5dce01913d631647c71ecec9e9cb8",
    )


def test_a_damaged_download_leaves_nothing_behind(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(b"cut off")
    with pytest.raises(DataError, match=rf"must have MD5 0123\w*, got {md5_of(archive)}"):
        fetch_archive(archive.as_uri(), "0123", "folder", tmp_path / "home")
    assert list((tmp_path / "home").iterdir()) == []


def test_without_a_network_one_sentence_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(DataError, match=r"cannot download http://127\.0\.0\.1:1/a\.tar\.gz into .*refused.* by hand"):
        fetch_archive("http://127.0.0.1:1/a.tar.gz", "", "folder", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("member", ["../escaped", "{root}/escaped", "folder/../../../escaped"])
def test_an_archive_cannot_write_outside_its_folder(tmp_path: Path, member: str) -> None:
    archive = tmp_path / "a.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        info = tarfile.TarInfo(member.format(root=tmp_path))
        info.size = 4
        tar.addfile(info, io.BytesIO(b"evil"))
    home = tmp_path / "deep" / "home"
    with pytest.raises(DataError, match="cannot download"):
        fetch_archive(archive.as_uri(), md5_of(archive), "folder", home)
    assert list(home.iterdir()) == []
    assert not list(tmp_path.rglob("escaped"))
