"""The tabular benchmark: networks of one space with exact costs and real trainings, in two files; see docs/tables.md.
Free of torch."""

import dataclasses
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from mfsearch.config import MobileFormerConfig
from mfsearch.cost.madds import count_costs
from mfsearch.living import living
from mfsearch.plain_files import MAX_JSON_BYTES, parse_json, parsed, read_bytes, read_json
from mfsearch.proxy.curve import SCORES, EpochLog
from mfsearch.proxy.recipe import Recipe
from mfsearch.space import Value
from mfsearch.study.manifest import DataFacts, NamedSpace
from mfsearch.units import Budget

SCHEMA = 1
TABLES, TABLE, NETWORKS = "tables", "table.json", "networks.jsonl"


@dataclass(frozen=True)
class TableTraining:
    """One training of a network of a table. train_seconds: on one thread of a machine that also did other work."""

    seed: int
    curve: tuple[EpochLog, ...]
    train_seconds: float

    def __post_init__(self) -> None:
        if not self.curve or not all(0 <= log.val_loss < math.inf and 0 <= log.top1 <= 1 for log in self.curve):
            raise ValueError(f"a curve must have points of val_loss >= 0 and top1 from 0 to 1, got {self.curve!s:.200}")


@dataclass(frozen=True)
class TableRow:
    """A network of a table with its costs at the table's resolution and classes.

    params, width: the knobs it was drawn with, empty and None if unknown. parts: madds, macs and num_params by part.
    zero_cost: scores of the untrained network by name. trainings: short ones, more than one where networks drawn apart
    compute the same. judged: longer ones with other seeds, which a ranking is judged by.
    """

    arch_id: str
    params: dict[str, Value]
    width: float | None
    config: MobileFormerConfig
    madds: int
    macs: int
    num_params: int
    activation_bytes: int
    parts: dict[str, dict[str, int]]
    zero_cost: dict[str, float]
    trainings: tuple[TableTraining, ...]
    judged: tuple[TableTraining, ...] = ()

    def __post_init__(self) -> None:
        if self.arch_id != self.config.arch_id:
            raise ValueError(f"arch_id must be that of the config, {self.config.arch_id}, got {self.arch_id!r:.50}")
        if not self.trainings:
            raise ValueError(f"trainings must not be empty for {self.arch_id}")

    @property
    def score(self) -> float:
        """exp(-validation loss) at the end of the short training, the mean over trainings: more is better."""
        return fmean(SCORES["val_loss"](training.curve[-1]) for training in self.trainings)

    @property
    def judged_score(self) -> float | None:
        """The same at the end of the longer trainings; None without any."""
        return fmean(SCORES["val_loss"](one.curve[-1]) for one in self.judged) if self.judged else None


@dataclass(frozen=True)
class TableSplit:
    """The frozen split for predictors: arch_ids to learn from, and to judge by."""

    train: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table of trained networks: what all of them share, and a row each.

    version: rises with any change of the rows. sha256: of networks.jsonl. resolution, classes: at deployment, which the
    costs are for. recipe: of the short trainings. seed: of draw, data and trainings. noise: what a difference between
    two rows is worth.
    """

    schema: int
    name: str
    version: int
    created: str
    sha256: str
    space: NamedSpace
    resolution: int
    classes: int
    data: DataFacts
    recipe: Recipe
    budget: Budget
    seed: int
    noise: str
    split: TableSplit
    versions: dict[str, str]
    rows: tuple[TableRow, ...] = ()

    def query(self, network: MobileFormerConfig | str) -> TableRow:
        """The row of a config, at any resolution and class count, or of an arch_id.

        ValueError names the arch_id if the table lacks it and, for a config, the network with the nearest multiply-adds
        in each part.
        """
        if not isinstance(network, str):
            network = living(dataclasses.replace(network, resolution=self.resolution, classes=self.classes))
        arch_id = network if isinstance(network, str) else network.arch_id
        for row in self.rows:
            if row.arch_id == arch_id:
                return row
        nearest = ""
        if not isinstance(network, str):
            parts = _madds_by_part(network)
            near = min(self.rows, key=lambda row: math.dist(_madds_by_part(row.config), parts))
            nearest = f"; the nearest is {near.arch_id}"
        raise ValueError(f"table {self.name} has no network {arch_id!r:.50} among its {len(self.rows)}{nearest}")


def _madds_by_part(config: MobileFormerConfig) -> list[int]:
    return [part["madds"] for part in count_costs(config).by_part().values()]


def load_table(name: str | Path) -> Table:
    """A table of trained networks that comes with mfsearch, such as "cifar10-30M", or one in a folder.

    ValueError lists the known tables, or names the file and the line that is damaged or does not fit its checksum.
    """
    folder = Path(name)
    if not (folder / TABLE).is_file():
        folder = tables_folder() / name
    if not (folder / TABLE).is_file():
        known = ", ".join(known_tables())
        raise ValueError(f"no table {str(name)!r:.200}: known are {known}, or give a folder with {TABLE}")
    path = folder / TABLE
    facts = read_json(path)
    try:
        schema = facts.get("schema") if isinstance(facts, dict) else None
        if schema != SCHEMA:
            raise ValueError(f"schema must be {SCHEMA}, got {schema!r:.200}")
        table: Table = parsed(Table, {name: value for name, value in facts.items() if name != "rows"})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    rows = _read_rows(folder / NETWORKS, table.sha256)
    split = [*table.split.train, *table.split.test]
    if not split or sorted(split) != sorted(row.arch_id for row in rows):
        raise ValueError(f"{path}: split must name each network of {NETWORKS} once, got {len(split)} for {len(rows)}")
    return dataclasses.replace(table, rows=rows)


def _read_rows(path: Path, sha256: str) -> tuple[TableRow, ...]:
    try:
        content = read_bytes(path, MAX_JSON_BYTES)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ValueError(f"{path} is damaged or was changed: its SHA-256 must be {sha256:.64}, got {found}")
    rows = []
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            rows.append(parsed(TableRow, parse_json(line)))
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error!s:.400}") from None
    return tuple(rows)


def known_tables() -> list[str]:
    """The names of the tables that come with mfsearch."""
    return sorted(path.parent.name for path in tables_folder().glob(f"*/{TABLE}"))


def tables_folder() -> Path:
    """The folder of the tables that come with mfsearch: inside the package in a wheel, `results/` in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_results" / TABLES
    return installed if installed.is_dir() else package.parent / "results" / TABLES
