"""A study in plain text: the request, the result, and why there may be nothing to show."""

import pandas as pd

from mfsearch.analysis.front.confidence import shown_probability, shown_training
from mfsearch.analysis.front.cut import best_number, measured_objectives, pareto_front, within
from mfsearch.analysis.metrics import shown, shown_limit, shown_top1, trained_longer
from mfsearch.study.kept_parent import KeptParent
from mfsearch.study.manifest import Manifest
from mfsearch.study.trial import OUTCOMES
from mfsearch.units import counted


def study_front(frame: pd.DataFrame, manifest: Manifest) -> pd.DataFrame:
    """The study's Pareto front by rising madds: the trained trials within its limits that no other such trial beats."""
    return pareto_front(within(frame, manifest.limits), measured_objectives(frame, manifest.objectives))


def compared(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """The trained trials with both a top1 and the metric `name`: a figure of the two can show them."""
    return frame[comparable(frame, name)]


def comparable(frame: pd.DataFrame, name: str) -> "pd.Series[bool]":
    """Which rows `compared` gives."""
    return (frame["outcome"] == "trained") & frame["top1"].notna() & frame[name].notna()


def second_cost(frame: pd.DataFrame) -> str:
    """The cost shown beside madds: latency_ms if it was measured, else num_params."""
    return "latency_ms" if comparable(frame, "latency_ms").any() else "num_params"


def summary(frame: pd.DataFrame, manifest: Manifest) -> str:
    """The study in one paragraph: trials, limits, data, device and the best top1."""
    trained, stopped, rejected, failed = (int((frame["outcome"] == outcome).sum()) for outcome in OUTCOMES)
    tried = [f"{trained:,} trained", f"{rejected:,} rejected before training", f"{failed:,} failed"]
    if stopped:
        tried.insert(1, f"{stopped:,} stopped half way")
    sentences = [f"{counted(len(frame), 'trial')}: {', '.join(tried)}."]
    if trained_longer(frame):
        longer, repeated = (int((frame[name] > least).sum()) for name, least in (("rung", 0), ("seeds", 1)))
        seeds = f", {repeated:,} of these with several seeds" if repeated else ""
        if manifest.rungs.starts_cut:
            sentences.append(f"{counted(longer, 'network')} trained{seeds}; the others only cut from the parent.")
        else:
            sentences.append(f"{counted(longer, 'network')} trained longer{seeds}.")

    least = f"{shown_limit('madds', manifest.budget.low)} to " if manifest.budget.stated else "at most "
    sentences.append(f"Budget: {least}{shown_limit('madds', manifest.budget.high)} multiply-adds.")
    if manifest.cost_limits.given:
        sentences.append(f"Limits: {manifest.cost_limits}.")
    if manifest.latency_limit_ms is not None:
        sentences.append(f"Latency: at most {shown_limit('latency_ms', manifest.latency_limit_ms)}.")
        if over := [str(trial.number) for trial in frame["trial"] if trial.over_limit]:
            sentences.append(f"Over the limit in the final measurement, so not on the front: trial {', '.join(over)}.")
    sentences += [f"Data: {manifest.data.name}.", f"Device: {manifest.device_name or manifest.device}."]

    front = study_front(frame, manifest)
    if len(front):
        ((_, best),) = front[front["number"] == best_number(front)].iterrows()
        error = best.get("top1_error", best["top1_std"])
        reached = f"{shown_top1(best['top1'], error)} at {shown('madds', best['madds'])} multiply-adds"
        sentences.append(f"The highest top-1 is {reached}, by trial {best['number']} ({best['origin']}).")
        source = "the network as it was cut" if best["epochs_trained"] == 0 else "a short training"
        if best["rung"] > 0:
            length = shown_training(best["trial"])
            source = f"a longer training ({length})"
            if best["epochs_trained"] > 0:
                source = f"a training of {counted(best['epochs_trained'], 'epoch')} ({length})"
        sentences.append(f"It comes from {source}: enough to compare networks, but no estimate of a full training.")
    return " ".join(sentences)


def parent_sentence(parent: KeptParent) -> str:
    """The parent of a study with its costs and top1, in one sentence."""
    network = parent.network
    costs = [f"{shown('madds', network.metric('madds'))} multiply-adds"]
    costs += [] if network.latency_ms is None else [shown("latency_ms", network.latency_ms)]
    seen = parent.network.reason or "which may be among its training images"
    top1 = f"{shown('top1', network.metric('top1'))} top-1 on the validation images"
    return f"Parent: {parent.facts.name}, {', '.join(costs)}, {top1} ({seen})."


def confidence_columns(front: pd.DataFrame, frame: pd.DataFrame) -> dict[str, list[str]]:
    """Columns of the front's table that say how sure each member is; none if all trainings were short.

    Probability and ties need a network trained with two seeds.
    """
    if not trained_longer(frame):
        return {}
    columns = {"trained": [shown_training(trial) for trial in front["trial"]]}
    if front["front_probability"].notna().any():
        columns["on the front"] = [shown_probability(share) for share in front["front_probability"]]
        columns["tied with"] = [tied or "" for tied in front["tied_with"]]
    return columns


def why_no_front(frame: pd.DataFrame) -> str:
    """Why a study has no front: no trials, none trained (with the most common reason), or none within the limits."""
    if frame.empty:
        return "The study holds no trials yet."
    trained = int((frame["outcome"] == "trained").sum())
    if trained:
        return f"{counted(trained, 'trial')} trained, but none has every metric and meets every limit."
    reasons = frame["reason"].dropna().value_counts()
    said = f" Most common reason ({counted(int(reasons.iloc[0]), 'time')}): {reasons.index[0]}" if len(reasons) else ""
    return f"No network has been trained yet, so there is nothing to choose from.{said}"


def why_no_figure(frame: pd.DataFrame) -> str | None:
    """Why there is no figure; None if there are two points to compare."""
    points = int(comparable(frame, "madds").sum())
    return None if points >= 2 else f"{counted(points, 'trained trial')} with a top-1 so far; a figure needs two."
