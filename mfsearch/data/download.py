"""Fetching an official archive, only when the user allowed it."""

import hashlib
import tarfile
import tempfile
import urllib.request
from http.client import HTTPException
from pathlib import Path

from mfsearch.data.image_data import DataError

TIMEOUT_SECONDS = 30
BLOCK_BYTES = 1 << 20


def fetch_archive(url: str, md5: str, folder: str, into: Path) -> None:
    """Download a .tar.gz, check its MD5 and put the `folder` it holds at into/folder, all of it or nothing."""
    try:
        into.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=into) as scratch:
            archive = Path(scratch) / "archive.tar.gz"
            found = _download(url, archive)
            if found != md5:
                raise DataError(f"{url}: MD5 {found}, expected {md5}; the download is damaged or the file was replaced")
            with tarfile.open(archive) as tar:
                tar.extractall(scratch, filter="data")
            (Path(scratch) / folder).rename(into / folder)
    except (OSError, HTTPException, tarfile.TarError) as error:
        raise DataError(f"cannot fetch {url} into {into}: {error}; fetch and unpack it there by hand") from error


def _download(url: str, to: Path) -> str:
    md5 = hashlib.md5(usedforsecurity=False)
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response, to.open("wb") as file:
        while block := response.read(BLOCK_BYTES):
            md5.update(block)
            file.write(block)
    return md5.hexdigest()
