"""Writes TensorBoard files."""

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

from mfsearch.train.training_folder import BOARD, EpochRow


def check_tensorboard() -> None:
    """Raise ValueError if tensorboard is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        raise ValueError("--tensorboard needs its package: pip install tensorboard")


class Board:
    """Writes one point per epoch into folder/tensorboard."""

    def __init__(self, folder: Path, rows: list[EpochRow]) -> None:
        """rows: of the finished epochs; later points from an interrupted run are dropped."""
        from torch.utils.tensorboard import SummaryWriter

        self.writer: Any = SummaryWriter(str(folder / BOARD), purge_step=rows[-1].epoch + 1 if rows else 0)

    def add(self, row: EpochRow) -> None:
        for name, value in dataclasses.asdict(row).items():
            if name != "epoch" and value is not None:
                self.writer.add_scalar(name, value, row.epoch)
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()
