"""A study in words: what it was asked, what came of it, and why there may be nothing to show. Plain text, not HTML."""

import pandas as pd

from mfsearch.analysis.frame import shown, shown_limit, shown_top1, trained_longer
from mfsearch.analysis.front.confidence import shown_probability, shown_training
from mfsearch.analysis.front.cut import measured_objectives, pareto_front, within
from mfsearch.study.manifest import Manifest
from mfsearch.study.trial import OUTCOMES


def study_front(frame: pd.DataFrame, manifest: Manifest) -> pd.DataFrame:
    """The front of a study by rising madds: the trained trials within its own limits that no other one beats in what it
    optimised and measured. A trial over a limit hides none of those that keep it."""
    objectives = measured_objectives(frame, manifest.objectives)
    return pareto_front(within(frame, manifest.limits), objectives)


def compared(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """The trained trials that have both a top1 and the metric `name`: those that a figure of the two can show."""
    return frame[comparable(frame, name)]


def comparable(frame: pd.DataFrame, name: str) -> "pd.Series[bool]":
    """Which rows `compared` gives."""
    return (frame["outcome"] == "trained") & frame["top1"].notna() & frame[name].notna()


def second_cost(frame: pd.DataFrame) -> str:
    """The cost to show beside madds: latency_ms if it was measured, else num_params."""
    return "latency_ms" if comparable(frame, "latency_ms").any() else "num_params"


def summary(frame: pd.DataFrame, manifest: Manifest) -> str:
    """The study in one paragraph: what was tried, in which limits, on which data and device, and the best top1."""
    trained, stopped, rejected, failed = (int((frame["outcome"] == outcome).sum()) for outcome in OUTCOMES)
    tried = [f"{trained:,} trained", f"{rejected:,} rejected before training", f"{failed:,} failed"]
    if stopped:
        tried.insert(1, f"{stopped:,} stopped half way")
    sentences = [f"{counted(len(frame), 'trial')}: {', '.join(tried)}."]
    if trained_longer(frame):
        longer, repeated = (int((frame[name] > least).sum()) for name, least in (("rung", 0), ("seeds", 1)))
        seeds = f", {repeated:,} of these with several seeds" if repeated else ""
        sentences.append(f"{counted(longer, 'network')} trained longer{seeds}.")

    least = f"{shown_limit('madds', manifest.budget.low)} to " if manifest.budget.stated else "at most "
    sentences.append(f"Budget: {least}{shown_limit('madds', manifest.budget.high)} multiply-adds.")
    if manifest.latency_limit_ms is not None:
        sentences.append(f"Latency: at most {shown_limit('latency_ms', manifest.latency_limit_ms)}.")
        if over := [str(trial.number) for trial in frame["trial"] if trial.over_limit]:
            sentences.append(f"Over it when measured again at the end, so off the front: trial {', '.join(over)}.")
    sentences += [f"Data: {manifest.data.name}.", f"Device: {manifest.device_name or manifest.device}."]

    comparable = within(compared(frame, "madds"), manifest.limits)
    if len(comparable):
        best = comparable.sort_values("top1").iloc[-1]
        reached = f"{shown_top1(best['top1'], best['top1_std'])} at {shown('madds', best['madds'])} multiply-adds"
        sentences.append(f"The highest top1 is {reached}, by trial {best['number']} ({best['origin']}).")
        source = "a short training"
        if best["rung"] > 0:
            length = shown_training(best["trial"])
            source = f"a training of {best['epochs_trained']:g} epochs ({length})"
        sentences.append(f"It comes from {source}: good to compare networks, no promise of what a full one reaches.")
    return " ".join(sentences)


def confidence_columns(front: pd.DataFrame, frame: pd.DataFrame) -> dict[str, list[str]]:
    """What a table of the front says of how sure each member is, by head; nothing if all trainings were short.

    The probability and the ties are left out where no network was trained with two seeds.
    """
    if not trained_longer(frame):
        return {}
    columns = {"trained": [shown_training(trial) for trial in front["trial"]]}
    if front["front_probability"].notna().any():
        columns["on the front"] = [shown_probability(share) for share in front["front_probability"]]
        columns["tied with"] = [tied or "" for tied in front["tied_with"]]
    return columns


def why_no_front(frame: pd.DataFrame) -> str:
    """Why a study has no front, for when it has none: it is empty, nothing was trained (with the commonest reason), or
    what was trained lacks a metric or keeps no limit."""
    if frame.empty:
        return "The study holds no trials yet."
    trained = int((frame["outcome"] == "trained").sum())
    if trained:
        return f"{counted(trained, 'trial')} trained, but none has every metric and keeps every limit."
    reasons = frame["reason"].dropna().value_counts()
    said = f" The commonest reason, {counted(int(reasons.iloc[0]), 'time')}: {reasons.index[0]}" if len(reasons) else ""
    return f"No trial was trained, so there is nothing to choose from yet.{said}"


def why_no_figure(frame: pd.DataFrame) -> str | None:
    """Why a figure would show nothing; None where there are two points to compare."""
    points = int(comparable(frame, "madds").sum())
    return None if points >= 2 else f"{counted(points, 'trained trial')} with a top1 so far: a figure needs two."


def counted(count: int, noun: str) -> str:
    """ "1 trial", "1,200 trials"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
