"""Replaces the files of a bundle all together, even if the process is killed half way.

New files are written into a folder inside the bundle, hence on the same disk. Renaming that folder is the turning
point: before it the bundle is the old one; after it the next reader moves the files that are not yet in place.
"""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from mfsearch.export.bundle_manifest import FILES, INT8, MANIFEST, PTE

UNFINISHED, WHOLE = ".new-files.part", ".new-files"


@contextlib.contextmanager
def new_files(folder: Path) -> Iterator[Path]:
    """Yield a folder for all files of the new bundle; at the end they replace the old ones."""
    part = folder / UNFINISHED
    finish_replacing(folder)
    part.mkdir()
    try:
        yield part
        part.rename(folder / WHOLE)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    finish_replacing(folder)


def finish_replacing(folder: Path) -> None:
    """Complete an interrupted replacement, or undo it if not all files were written. Raises OSError."""
    if (folder / UNFINISHED).is_dir():
        shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
    whole = folder / WHOLE
    if whole.is_symlink() or not whole.is_dir():
        return
    for name in (INT8, PTE):  # made from the old weights
        (folder / name).unlink(missing_ok=True)
    for name in (*FILES, MANIFEST):
        with contextlib.suppress(FileNotFoundError):  # moved already
            (whole / name).replace(folder / name)
    shutil.rmtree(whole, ignore_errors=True)
