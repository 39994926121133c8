"""New files for a bundle that take the place of the old ones all together, also if they are stopped half way.

They are written into a folder inside the bundle, so on its disk. Renaming that folder is the moment that counts: before
it the bundle is the old one, after it whoever reads the bundle next moves what has not been moved.
"""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from mfsearch.export.bundle_manifest import FILES, INT8, MANIFEST, PTE

UNFINISHED, WHOLE = ".new-files.part", ".new-files"


@contextlib.contextmanager
def new_files(folder: Path) -> Iterator[Path]:
    """A folder to write all files of a new state of the bundle into; at the end they replace the old ones."""
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
    """Complete a replacement that was stopped, or undo one whose files were not all written. OSError if it cannot."""
    if (folder / UNFINISHED).is_dir():
        shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
    whole = folder / WHOLE
    if whole.is_symlink() or not whole.is_dir():
        return
    for name in (INT8, PTE):  # made of the old weights
        (folder / name).unlink(missing_ok=True)
    for name in (*FILES, MANIFEST):
        with contextlib.suppress(FileNotFoundError):  # moved already
            (whole / name).replace(folder / name)
    shutil.rmtree(whole, ignore_errors=True)
