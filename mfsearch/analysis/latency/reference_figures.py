"""Published networks as they are here: exact costs, and milliseconds on this device, kept by passport.

Each device has one file, RESULTS/references/DIGEST.jsonl, with the digest of its passport; its lines have the form of
RESULTS/latency (mfsearch/analysis/latency/kept_latency.py).
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mfsearch.analysis.latency.kept_latency import KeptRow, append_lines, kept_line, latest, read_kept
from mfsearch.cost.madds import count_costs
from mfsearch.cost.meter import LatencyMeter
from mfsearch.cost.passport import read_passport
from mfsearch.presets import PRESETS
from mfsearch.references.counts import COUNTS, UNCOUNTED_ELSEWHERE, BuiltCounts
from mfsearch.references.libraries import import_library
from mfsearch.references.published import Reference

if TYPE_CHECKING:
    from torch import nn

FOLDER = "references"  # under the results folder
MUCH = 0.03  # a deviation of the count from the published multiply-adds that asks for an explanation


class ReferenceFigures(NamedTuple):
    """A published network as it is here. resolution: in pixels, None if it was searched with the network. counts: None
    if nothing here builds it. latency: None if it was not measured here. failure: why this size cannot be built."""

    reference: Reference
    resolution: int | None
    counts: BuiltCounts | None
    latency: KeptRow | None
    failure: str = ""

    @property
    def note(self) -> str:
        """What a reader of the row must know; a count over 3 % off the published figure is explained."""
        notes = [self.failure, self.reference.note]
        if self.resolution != self.reference.resolution:
            notes.append(f"published figures are of {self.reference.resolution} px")
        elif self.counts is not None:
            madds, macs = (count / self.reference.madds - 1 for count in (self.counts.madds, self.counts.macs))
            if abs(madds) > MUCH >= abs(macs):
                notes.append(f"products alone {self.counts.macs / 1e6:.1f}")
        if self.latency is not None and self.latency.disturbed:
            notes.append("disturbed: measure again on a quieter machine")
        return "; ".join(note for note in notes if note)


def reference_figures(
    references: Sequence[Reference],
    results: Path,
    *,
    measure: bool = False,
    again: bool = False,
    resolution: int | None = None,
    cache_dir: Path | None = None,
) -> Iterator[ReferenceFigures]:
    """The figures of these networks, one after another; each measurement is kept before the next begins.

    measure: what is not kept for this device; again: all. resolution: in pixels, by default the published one.
    cache_dir: of the meter. ValueError if timm is needed and missing, OSError if a measurement cannot be kept.
    """
    folder = results / FOLDER
    path = folder / f"{read_passport().digest}.jsonl" if measure or folder.is_dir() else None
    kept = {} if path is None else {(row.name, row.resolution): row for row in latest(read_kept([path]).rows)}
    meter: LatencyMeter | None = None
    for reference in references:
        if reference.resolution is None:
            yield ReferenceFigures(reference, None, None, None)
            continue
        side = resolution or reference.resolution
        latency, counts, failure = kept.get((reference.name, side)), _known_counts(reference, side), ""
        measuring = measure and (again or latency is None)
        if measuring or counts is None:
            if reference.built_elsewhere:
                import_library("timm")  # its absence is an error of its own, not one of this network
            if measuring and meter is None:
                meter = LatencyMeter.open(cache_dir=cache_dir)
            try:
                model = _network(reference, side)
                counts = counts or _counted(model, side)
                if measuring and meter is not None and path is not None:
                    latency = _measured(reference, model, side, counts, meter, path)
            except (ValueError, RuntimeError) as error:
                failure = f"not at {side} px: {str(error).splitlines()[0]:.100}"
        yield ReferenceFigures(reference, side, counts, latency, failure)


def kept_references(results: Path) -> list[KeptRow]:
    """All that was measured, on whatever device."""
    return read_kept(sorted((results / FOLDER).glob("*.jsonl"))).rows


def _known_counts(reference: Reference, side: int) -> BuiltCounts | None:
    """The counts that need no network to be built."""
    if reference.preset is not None:
        costs = count_costs(replace(PRESETS[reference.preset], resolution=side))
        return BuiltCounts(costs.num_params, costs.madds, costs.macs)
    return COUNTS[reference.name] if side == reference.resolution else None


def _network(reference: Reference, side: int) -> "nn.Module":
    if reference.preset is not None:
        from mfsearch.model import MobileFormer

        return MobileFormer(replace(PRESETS[reference.preset], resolution=side))
    from mfsearch.references.build import build_reference

    return build_reference(reference, side)


def _counted(model: "nn.Module", side: int) -> BuiltCounts:
    from mfsearch.cost.judge import UNCOUNTED, judge_madds

    judged = judge_madds(model, side, UNCOUNTED | UNCOUNTED_ELSEWHERE)
    return BuiltCounts(sum(each.numel() for each in model.parameters()), judged.madds, judged.macs)


def _measured(
    reference: Reference, model: "nn.Module", side: int, counts: BuiltCounts, meter: LatencyMeter, path: Path
) -> KeptRow:
    """Export the network, measure it as a search measures its trials, and keep the measurement."""
    from mfsearch.cost.onnx_export import export_onnx
    from mfsearch.search.evaluator import MEASURE_SECONDS, MEASURE_TARGET, MIN_ROUNDS

    with tempfile.TemporaryDirectory(prefix="mfsearch-") as folder:
        onnx = Path(folder) / "model.onnx"
        export_onnx(model, side, onnx)
        found = meter.measure(onnx, min_rounds=MIN_ROUNDS, time_limit_s=MEASURE_SECONDS, target=MEASURE_TARGET)
    measured = {"madds": counts.madds, "batch": 1, **found.as_dict()}
    append_lines(path, [kept_line(reference.name, side, measured, found.passport.as_dict(), found.passport.threads)])
    return [row for row in read_kept([path]).rows if (row.name, row.resolution) == (reference.name, side)][-1]
