"""Downloads an official archive, if the user allows it."""

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
    """Download a .tar.gz, check its MD5 and move its `folder` to into/folder, completely or not at all."""
    try:
        into.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=into) as scratch:
            archive = Path(scratch) / "archive.tar.gz"
            digest = _download(url, archive)
            if digest != md5:
                raise DataError(f"{url} must have MD5 {md5}, got {digest}; the download is damaged or the file changed")
            with tarfile.open(archive) as tar:
                tar.extractall(scratch, filter="data")
            (Path(scratch) / folder).rename(into / folder)
    except (OSError, HTTPException, tarfile.TarError) as error:
        raise DataError(f"cannot download {url} into {into}: {error}; download and unpack it there by hand") from error


def _download(url: str, to: Path) -> str:
    md5 = hashlib.md5(usedforsecurity=False)
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response, to.open("wb") as file:
        while block := response.read(BLOCK_BYTES):
            md5.update(block)
            file.write(block)
    return md5.hexdigest()
