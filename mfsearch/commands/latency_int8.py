"""latency --int8: the network in int8, its milliseconds and what its answers are worth."""

import argparse
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from mfsearch.config import MobileFormerConfig
from mfsearch.cost.meter import Latency, LatencyMeter
from mfsearch.cost.onnx_export import export_onnx
from mfsearch.cost.quantize import CHOSEN, Agreement, agreement, logits_of, write_int8
from mfsearch.cost.runner import Runner, RunnerLatency
from mfsearch.data import ImageData
from mfsearch.export.int8 import CALIBRATION_IMAGES, prepared
from mfsearch.model import MobileFormer
from mfsearch.proxy.recipe import default_recipe
from mfsearch.study.configs import find_trial

JUDGING_IMAGES = 512


class Int8Judge(NamedTuple):
    """Images that calibrate int8, and the network, as the study trained it, whose answers are compared.

    With first weights a network may name one class for all images, so agreement means nothing: then model is None and
    unjudged says why.
    """

    images: ImageData
    model: MobileFormer | None = None
    side: int = 0  # in pixels
    unjudged: str | None = None


class Int8Answers(NamedTuple):
    """The agreement of int8 with fp32. top1_fp32, top1_int8: fractions; judged_at: in pixels."""

    agreement: Agreement
    top1_fp32: float
    top1_int8: float
    judged_at: int


class Int8Latency(NamedTuple):
    """A network in int8: its latency, and its answers or the reason why they were not judged."""

    latency: Latency | RunnerLatency
    answers: Int8Answers | None = None
    unjudged: str | None = None

    def to_dict(self) -> dict[str, Any]:
        names = (*Agreement._fields, *Int8Answers._fields[1:])
        values = [None] * len(names) if self.answers is None else [*self.answers.agreement, *self.answers[1:]]
        told = dict(zip(names, values, strict=True))
        return {**self.latency.as_dict(), "scheme": str(CHOSEN), **told, "unjudged": self.unjudged}


def measure_int8(
    name: str, config: MobileFormerConfig, fp32: Path, meter: LatencyMeter | Runner, args: argparse.Namespace
) -> Int8Latency:
    """Latency of a deployed network in int8, and how far int8 answers as fp32 does.

    name: how the command line calls it; a trial is judged with its weights, by the images it was trained on, at their
    size. fp32: its ONNX file. Raises ValueError where the images are not those of the trial.
    """
    judged = _judged(name, args)
    images, model, side = judged.images, judged.model, judged.side
    with tempfile.TemporaryDirectory(prefix="mfsearch-") as folder:
        small, small8, deployed8 = (Path(folder) / f"{each}.onnx" for each in ("small", "small8", "deployed8"))
        count = max(CALIBRATION_IMAGES, args.batch)
        write_int8(fp32, deployed8, prepared(images, images.train_images[:count], config.resolution))
        found = meter.measure(deployed8)
        if model is None:
            return Int8Latency(found, unjudged=judged.unjudged)
        export_onnx(model, side, small)
        write_int8(small, small8, prepared(images, images.train_images[:CALIBRATION_IMAGES], side))
        asked = prepared(images, images.val_images[:JUDGING_IMAGES], side)
        fp32_NK, int8_NK = logits_of(small, asked), logits_of(small8, asked)
    labels = images.val_labels[:JUDGING_IMAGES]
    right = [float((logits_NK.argmax(axis=1) == labels).mean()) for logits_NK in (fp32_NK, int8_NK)]
    return Int8Latency(found, Int8Answers(agreement(fp32_NK, int8_NK), right[0], right[1], side))


def shown_agreement(found: Int8Latency) -> str:
    """The int8 scheme and its agreement with fp32, in a sentence."""
    if found.answers is None:
        return f"{CHOSEN}; the answers of int8 are not judged: {found.unjudged}"
    same, answers = found.answers.agreement, found.answers
    return (
        f"{CHOSEN}; int8 gives the class of fp32 on {same.same_top1:.1%} of {same.images} validation images at "
        f"{answers.judged_at} px, logits differ by up to {same.largest_deviation:.1%} of the largest; top1 "
        f"{answers.top1_fp32:.2%} in fp32, {answers.top1_int8:.2%} in int8"
    )


def _judged(name: str, args: argparse.Namespace) -> Int8Judge:
    study, colon, trial = name.rpartition(":")
    reading = {"data_dir": args.data_dir or args.data_home, "skip_damaged": args.skip_damaged}
    if not colon or Path(name).suffix in (".yaml", ".yml", ".json"):
        data = args.data or "digits"
        images = default_recipe(data).load_images(data, seed=0, **reading)
        return Int8Judge(images, unjudged="first weights, nothing is trained")
    found, one = find_trial(study, trial, args.results)
    recipe, facts = found.manifest.recipe, found.manifest.data
    data = args.data or facts.name
    images = recipe.load_images(data, seed=found.manifest.seed, **reading)
    if found.weights(one.number) is None:
        lost = next((training.weights_lost for training in one.trainings if training.weights_lost), None)
        why = lost or "only networks that may be on the front keep theirs"
        if one.outcome != "trained":
            why = f"it was {one.outcome}"
        return Int8Judge(images, unjudged=f"the weights of trial {trial} were not kept: {why}")
    if images.digest != facts.digest:
        raise ValueError(f"{name} was trained on {facts.name}: --data must name those images, got {data}")
    return Int8Judge(images, found.network(one.number, weights=True), recipe.resolution)
