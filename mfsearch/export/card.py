"""README.md of a bundle: the network, its figures and their meaning, how to load it, and what is not known."""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mfsearch.config import MobileFormerConfig
from mfsearch.export.bundle_manifest import BundleManifest
from mfsearch.export.bundle_metrics import BundleMetrics
from mfsearch.export.standalone import SHORTER_SIDE, Preprocessing

MAX_CLASSES = 200  # names that the card prints; metrics.json has them all
LICENCE = (
    "`model.py` and the other files that mfsearch wrote are under its licence, Apache-2.0. The weights, where they are "
    "trained, belong to whoever trained them; their use also depends on the licence of the images."
)
RELEASED = (
    "The weights are from the release of the paper's authors (AAboys/MobileFormer). mfsearch does not know its "
    "licence: check it before you use them or pass them on."
)


def write_card(
    config: MobileFormerConfig, manifest: BundleManifest, metrics: BundleMetrics, preprocessing: Preprocessing
) -> str:
    """The model card in Markdown. Names and commands from studies and folders are escaped to plain text."""
    costs = metrics.costs
    latency = "" if metrics.latency is None else f", {metrics.latency.latency_ms:.2f} ms"
    parts = [
        f"# {plain(manifest.bundle)}",
        (
            f"A Mobile-Former ([arXiv:2108.05895](https://arxiv.org/abs/2108.05895)) for {config.resolution} px and "
            f"{config.classes} classes: {costs.madds / 1e6:.1f}M multiply-adds, {costs.num_params / 1e6:.2f}M "
            f"parameters{latency}. It is the network {config.arch_id} of mfsearch."
        ),
        _weights(config, metrics),
        fenced(config.table()),
        "## Figures",
        _table(("figure", "value", "how it was obtained"), _figures(metrics)),
        "## Load it",
        _load(config, manifest, metrics),
        "## Pixels",
        _pixels(config, manifest, metrics, preprocessing),
        "## Classes",
        _classes(config, metrics),
        "## What is not known",
        _unknown(config, metrics),
        "## Where it comes from",
        _origin(manifest, metrics),
        "## Licence",
        LICENCE,
        RELEASED if metrics.weights.published else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def plain(text: object) -> str:
    """A text in one line, escaped so that Markdown and HTML only print it."""
    line = " ".join(str(text).split())
    line = "".join(letter for letter in line if letter.isprintable())
    # what begins markup inside a line; ":/" and "www." begin links where a renderer makes them of bare addresses
    return re.sub(r"([\\`*_\[\]|~@$]|:(?=/)|(?<=www)\.)", r"\\\1", html.escape(line, quote=False), flags=re.I)


def fenced(text: str, language: str = "") -> str:
    """Any text as a block of code."""
    text = "".join(letter for letter in text if letter.isprintable() or letter == "\n")
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, ["---"] * len(header), *rows])


def _weights(config: MobileFormerConfig, metrics: BundleMetrics) -> str:
    weights, full = metrics.weights, metrics.full_training
    if full is not None:
        top1 = full.get("top1")
        right = f": top1 {top1:.2%} of its validation images" if isinstance(top1, int | float) else ""
        return f"**Trained**{_length(full)}{right}."
    if not weights.trained_tensors:
        return f"**Not trained**: {plain(weights.note)}. Train it before use: `mfsearch train` or `train.yaml`."
    if weights.fresh_tensors:
        return (
            f"**Not ready for use**: {plain(weights.note)}. The classifier for {config.classes} classes is "
            "re-initialised; the rest is a start for a full training."
        )
    if weights.published is not None:
        size = weights.published.trained_size
        return f"**Trained** by the paper's authors, at {size} px on ImageNet; mfsearch has not measured its accuracy."
    return f"**Trained shortly**, to be compared with others and not for use: {plain(weights.note)}."


def _figures(metrics: BundleMetrics) -> list[tuple[str, str, str]]:
    costs, latency, proxy = metrics.costs, metrics.latency, metrics.proxy
    size = f"at {costs.resolution} px, {costs.classes} classes"
    counted = plain(f"{costs.counter}; fvcore {costs.fvcore} counts {costs.fvcore_madds / 1e6:.2f}M")
    rows = [
        ("multiply-adds", f"{costs.madds / 1e6:.2f}M", f"{size}; {counted}"),
        ("multiplications alone", f"{costs.macs / 1e6:.2f}M", "convolutions, linears, attention"),
        ("parameters", f"{costs.num_params / 1e6:.3f}M", size),
        ("peak activations", f"{costs.activation_bytes / 1e6:.2f} MB", "fp32, one image"),
    ]
    if latency:
        interval = ""
        if latency.latency_low_ms is not None:
            interval = f" ({latency.latency_low_ms:.2f} to {latency.latency_high_ms:.2f})"
        disturbed = "; the machine was disturbed: it may be off by some percent" if latency.latency_disturbed else ""
        how = plain(f"{latency.protocol}; on {latency.device_name}{disturbed}")
        rows.append(("latency", f"{latency.latency_ms:.2f} ms{interval}", how))
    if proxy:
        data = proxy.data
        length = "after the longest training that the search gave it" if proxy.epochs != 0 else "as cut, untrained"
        how = plain(
            f"correct on {data.val_images} validation images of {data.name} (digest {data.digest}) "
            f"at {proxy.recipe.get('resolution')} px {length}, seeds "
            f"{', '.join(map(str, proxy.seeds))}: for comparing networks only"
        )
        rows.append(("top1 of the search", f"{proxy.top1:.1%}", how))
    if metrics.full_training is not None:
        rows += _training_figures(metrics.full_training)
    how = "largest difference of a logit, as a share of the largest"
    rows.append(("ONNX Runtime against torch", f"{metrics.onnx.largest_deviation:.1e}", how))
    if (int8 := metrics.int8) and int8.same_top1 is not None:
        how = plain(
            f"same class as fp32 on {int8.images} validation images of {int8.data.name}; logits differ by up to "
            f"{int8.largest_deviation:.1%} of the largest"
        )
        rows.append(("int8", f"{int8.same_top1:.1%}", how))
    elif int8:
        rows.append(("int8", "not judged", plain(int8.why_not_judged)))
    if int8 and int8.scheme:
        rows.append(("int8 as written", "QDQ", plain(int8.scheme)))
    if program := metrics.executorch:
        how = f"the same for model.pte on {program.images} images of noise; ExecuTorch {program.version}, "
        how = plain(how + program.backend)
        rows.append(("ExecuTorch against torch", f"{program.largest_deviation:.1e}", how))
    return rows


def _length(full: Mapping[str, Any]) -> str:
    """Length and data of a training, as far as they are recorded."""
    epochs = " for {} epoch" if full.get("epochs") == 1 else " for {} epochs"
    words = [(epochs, "epochs"), (" at {} px", "size"), (" on {} images", "train_images"), (" of {}", "data")]
    return "".join(text.format(plain(full[name])) for text, name in words if full.get(name) is not None)


def _training_figures(full: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    rows = []
    images = f"{full.get('val_images', 'its')} validation images, {full.get('val_from', 'of unknown origin')}"
    best = f"after epoch {full.get('epoch', '?')}, the best of {full.get('epochs', '?')}"
    judged = plain(f"{best} by these very {images}")
    for name, form in (("top1", ".2%"), ("top5", ".2%"), ("val_loss", ".3f")):
        if isinstance(value := full.get(name), int | float):
            rows.append((name, format(value, form), judged))
    if isinstance(there := full.get("deployed"), Mapping) and isinstance(value := there.get("top1"), int | float):
        rows.append((plain(f"top1 at {there.get('size', '?')} px"), f"{value:.2%}", judged))
    known = ("start", "teacher", "seconds", "processes", "device", "amp", "timm", "finished")
    facts = [f"{name} {full[name]}" for name in known if full.get(name) is not None]
    rows.append(("training", plain(_length(full).strip() or "not recorded"), plain("; ".join(facts) or "not recorded")))
    return rows


def _load(config: MobileFormerConfig, manifest: BundleManifest, metrics: BundleMetrics) -> str:
    side = config.resolution
    if manifest.normalisation:
        mean, std = manifest.normalisation
        pixels = f"(pixels - np.array({mean}, np.float32)) / np.array({std}, np.float32)"
    else:
        pixels = "pixels  # normalised as in the training"
    batch = "B" if metrics.onnx.batch == "any" else "1"
    return "\n\n".join(
        [
            "In torch, without mfsearch (`safetensors` reads the weights):",
            fenced(
                "import model  # model.py of this folder\n\n"
                f"logits = model.load()(images)  # images [B, 3, {side}, {side}], normalised; logits "
                f"[B, {config.classes}]",
                "python",
            ),
            "In timm, with mfsearch installed (also `train.py -c train.yaml --data-dir DIR` of timm):",
            fenced(
                "import mfsearch.export.timm_plugin  # first: registers mobile_former, and timm loads on CPU builds\n"
                "import timm\n\n"
                'network = timm.create_model("mobile_former", bundle=".", checkpoint_path="weights.safetensors")',
                "python",
            ),
            "In ONNX Runtime (opset 20: 1.17 or newer):",
            fenced(
                "import numpy as np\nimport onnxruntime\n\n"
                'session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])\n'
                f"images = {pixels}\n"
                "images = images.transpose(0, 3, 1, 2).astype(np.float32)  # pixels [B, H, W, 3], RGB from 0 to 1\n"
                f'(logits,) = session.run(["logits"], {{"image": images}})  # [{batch}, {config.classes}]',
                "python",
            ),
            "`mfsearch verify` checks this folder, `train` trains it; `predict` and `evaluate` use a trained one.",
        ]
    )


def _pixels(
    config: MobileFormerConfig, manifest: BundleManifest, metrics: BundleMetrics, preprocessing: Preprocessing
) -> str:
    side, judged = config.resolution, preprocessing.trained_size
    told = "`preprocess.json` and the metadata of `model.onnx` hold the same for programs, and the classes."
    if judged is None:
        size = f"RGB, {side} x {side}; other sizes work, none was judged."
    elif judged == side:
        size = f"RGB, {side} x {side}; other sizes work and were not judged."
    else:
        size = (
            f"RGB. It was trained and judged at {judged} x {judged}. Costs, latency and `model.onnx` are for {side} x "
            f"{side}, where {_deployed(metrics, side) or 'it was not judged'}."
        )
    if manifest.normalisation is None:
        return (
            f"{size} The short training normalised by mean and deviation of its training images. The study does not "
            f"record them, and the images were not available when this was written. {told}"
        )
    mean, std = (", ".join(f"{value:.4g}" for value in values) for values in manifest.normalisation)
    if judged is not None and preprocessing.resize == SHORTER_SIDE:
        short, how = replace(preprocessing, size=judged).resize_to, plain(preprocessing.interpolation)
        size += f" The shorter side was resized to {short} px ({how}) and the centre cropped."
    return f"{size} On the scale 0 to 1, less the mean ({mean}), over the deviation ({std}) of R, G and B. {told}"


def _deployed(metrics: BundleMetrics, side: int) -> str | None:
    """The top-1 that the training measured at this size, if it is not the training's own size."""
    found = (metrics.full_training or {}).get("deployed")
    top1 = found.get("top1") if isinstance(found, Mapping) and found.get("size") == side else None
    return f"top1 is {top1:.2%}" if isinstance(top1, int | float) else None


def _classes(config: MobileFormerConfig, metrics: BundleMetrics) -> str:
    names = metrics.class_names
    if not names:
        return f"{config.classes} logits. Which class is which is not known."
    rest = f", and {len(names) - MAX_CLASSES} more in `metrics.json`" if len(names) > MAX_CLASSES else ""
    return f"{len(names)}, in the order of the logits: {', '.join(plain(name) for name in names[:MAX_CLASSES])}{rest}."


def _unknown(config: MobileFormerConfig, metrics: BundleMetrics) -> str:
    lines = []
    if metrics.weights.published is not None:
        lines.append("Its accuracy: `mfsearch evaluate` measures it on your images.")
    elif metrics.full_training is None:
        lines.append("Its accuracy after a full training: it has had none.")
    lines.append("Its accuracy on other kinds of images, and whether it is equally accurate for all groups of them.")
    if metrics.latency:
        lines.append("Its latency on another device, with another runtime or size.")
    else:
        lines.append("Its latency: it was not measured.")
    if metrics.int8 is None:
        lines.append("Its accuracy in int8.")
    return "\n".join(f"- {line}" for line in lines)


def _origin(manifest: BundleManifest, metrics: BundleMetrics) -> str:
    study, versions = manifest.study, manifest.versions
    rows = [("written", plain(manifest.created))]
    if manifest.changed:
        rows.append(("weights replaced", plain(manifest.changed)))
    if (file := metrics.weights.published) is not None:
        rows.append(("weights", plain(f"{file.preset} of the authors' release, {file.name}, SHA-256 {file.sha256}")))
    rows.append(("seed of the first weights", plain(manifest.seed)))
    if study:
        rows += [
            ("study", plain(study.name)),
            ("trial", plain(study.trial)),
            ("space", plain(f"{study.space.name} ({study.space.digest})")),
            ("data", plain(f"{study.data.name} ({study.data.digest})")),
            ("seed of the study", plain(study.seed)),
            *(
                []
                if study.parent is None
                else [("cut from", plain(f"{study.parent.name}, weights {study.parent.digest}"))]
            ),
        ]
    rows.append(("versions", plain(", ".join(f"{name} {version}" for name, version in versions.items()))))
    commands = [told for told in (study and study.command, manifest.command) if told]
    return "\n\n".join([_table(("", ""), rows), *([fenced("\n".join(commands), "sh")] if commands else [])])
