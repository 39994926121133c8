"""Shows a running search: a live panel on a terminal, plain lines elsewhere."""

import contextlib
import shlex
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mfsearch.analysis.front.confidence import (
    Confidence,
    Noise,
    confidence,
    marks,
    shown_lengths,
    shown_noise,
    shown_precision,
    shown_probability,
    shown_training,
    shown_wiring,
    training_noise,
)
from mfsearch.proxy.rungs import CUT, Rungs
from mfsearch.search.progress import Progress, SearchEvent
from mfsearch.search.screen import screen_line
from mfsearch.study.study import Study, best_trial
from mfsearch.study.trial import Trial
from mfsearch.units import counted, format_madds, format_seconds

LINES_LIVE = 8  # rows of the front in the live panel
MEGABYTES = {"memory MB": "activation_bytes", "size MB": "onnx_bytes"}  # columns of a front that has them as objectives


def make_display(*, quiet: bool) -> "Display":
    """Live on a terminal, plain lines elsewhere; if quiet, only problems are shown, on standard error."""
    console = Console(stderr=quiet, highlight=False)
    return Display(console, live=console.is_terminal and not quiet, quiet=quiet)


class Display(contextlib.AbstractContextManager["Display"]):
    """Shows the events of a search."""

    def __init__(self, console: Console, *, live: bool, quiet: bool) -> None:
        self.console, self.quiet = console, quiet
        self.progress: Progress | None = None
        self.text = "starting"  # the current step before the search begins
        self.live = Live(console=console, transient=True, get_renderable=self._panel) if live else None
        if self.live is not None:
            self.live.start()

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.live.stop()

    def __call__(self, event: SearchEvent) -> None:
        """Show one event."""
        self.progress = event.progress
        if event.kind == "problem":
            self._say(event.text)
        elif not self.quiet and event.kind != "tick":
            show = {"began": self._began, "trial": self._trial, "training": self._training, "latency": self._latency}
            show[event.kind](event)

    def _began(self, event: SearchEvent) -> None:
        progress, manifest = event.progress, event.progress.manifest
        budget, data, recipe = manifest.budget, manifest.data, manifest.recipe
        low, high = format_madds(budget.low), format_madds(budget.high)
        resumed = f", resumed after {counted(progress.before, 'trial')}" if progress.before else ""
        limit = "" if manifest.latency_limit_ms is None else f", at most {manifest.latency_limit_ms:g} ms"
        band = f"{low} to {high}" if budget.stated else f"at most {high}"
        solved = "" if budget.stated else f", widths solved from {low} up"
        self._say(f"study     {manifest.study}{resumed}")
        self._say(
            f"budget    {band} multiply-adds at {manifest.resolution} px for {manifest.classes} classes{solved}{limit}"
        )
        if manifest.cost_limits.given:
            below = "" if budget.stated else "; a network that they bind may lie below the budget's band"
            self._say(f"limits    {manifest.cost_limits}{below}")
        self._say(
            f"space     {manifest.space.name}, {counted(len(manifest.space.knobs), 'knob')}, sampler {manifest.sampler}"
        )
        if manifest.prior_fit is not None:
            tables = ", ".join(manifest.prior_fit.tables)
            self._say(
                f"prior     networks trained on CIFAR-10 ({tables}), as far as they agree with the study's own; "
                "--prior none: without"
            )
        if manifest.parent is not None:
            parent = manifest.parent
            self._say(
                f"parent    {parent.name} ({parent.arch_id}): networks start from its weights {parent.digest[:12]}"
            )
        self._say(
            f"data      {data.name}: {data.train_images} training and {data.val_images} validation images, "
            f"{data.classes} classes"
        )
        for note in progress.notes:
            self._say(f"          {note}".replace("\n", "\n          "))
        self._say(f"precision {_precision(progress)}")
        self._say(
            f"training  {counted(recipe.epochs, 'epoch')} at {recipe.resolution} px, {recipe.optimizer}, "
            f"batch {recipe.batch}; {counted(progress.limits.workers, 'worker')} on {manifest.device}"
        )
        if progress.rungs.last:
            self._say(f"longer    {_longer(progress.rungs)}")
        self._say(progress.trust)
        left = progress.time_left()
        if progress.plan is None and left is not None:
            self._say(f"estimate  {left}")
        if progress.plan is not None:
            for line in progress.plan.lines(progress.limits.seconds):
                self._say(line)
        self._say("\n* means on the front when it was trained")

    def stage(self, text: str) -> None:
        """Print the current step before the search begins."""
        self.text = text
        if not self.quiet and self.live is None:
            print(f"{text} ...", file=sys.stderr, flush=True)

    def _trial(self, event: SearchEvent) -> None:
        trial, progress = event.trial, event.progress
        assert trial is not None
        facts = f"trial {trial.number:>3}  {format_madds(trial.metric('madds')):>7}"
        if trial.latency_ms is not None:
            facts += f"  {trial.latency_ms:6.2f} ms"
        if trial.outcome == "trained":
            front = " *" if trial.number in progress.front else "  "
            seconds = format_seconds(trial.metric("train_seconds"))
            facts += f"  top1 {trial.metric('top1'):6.2%}{front}  {seconds:>7}"
        else:
            facts += f"  {trial.outcome}: {trial.reason}"
        left = progress.time_left()
        self._say(f"{facts}  {trial.origin}" + (f"  ({left})" if left else ""))
        if trial.short is not None and trial.short.weights_lost:
            self._say(f"           its weights could not be kept: {trial.short.weights_lost}")

    def _training(self, event: SearchEvent) -> None:
        trial, training = event.trial, event.training
        assert trial is not None
        assert training is not None
        words = training.reason
        if training.top1 is not None:
            front = " *" if trial.number in event.progress.front else "  "
            words = f"top1 {training.top1:6.2%}{front}  {format_seconds(training.train_seconds or 0.0)}"
        length = f"{event.progress.rungs.factors[training.rung]:g}x, seed {training.seed}"
        self._say(f"trial {trial.number:>3}  {length:>14}  {words}")

    def _latency(self, event: SearchEvent) -> None:
        trial = event.trial
        assert trial is not None
        assert trial.measured is not None
        self._say(
            f"trial {trial.number:>3}  latency again {trial.latency_ms:6.2f} ms, {trial.measured.ms:.2f} in the search"
            + (", over the limit" if trial.over_limit else "")
            + ("  disturbed" if trial.latency and trial.latency.disturbed else "")
            + (f"  ({event.left} left)" if event.left else "")
        )

    def _panel(self) -> Group:
        return Group(Text(f"{self.text} ...")) if self.progress is None else panel(self.progress)

    def _say(self, text: str) -> None:
        self.console.print(Text(text), soft_wrap=True)


def _precision(progress: Progress) -> str:
    """The least difference that will show, with the seed noise of the study's own finals or of the calibration."""
    noise, kept = training_noise(progress.trials), progress.calibration
    known = noise[max(noise)] if noise else None
    if known is None and kept is not None and kept.long_noise is not None:
        known = Noise(kept.long_noise, len(kept.noise_seeds) - 1)
    seeds = progress.rungs.seeds if progress.rungs.last and progress.rungs.finalists else 1
    words = shown_precision(progress.manifest.data.val_images, seeds, noise=known)
    return words if known else f"{words}, with the noise of seeds often half as much again"


def _longer(rungs: Rungs) -> str:
    """A sentence on the networks that are trained longer."""
    middle = " and ".join(f"{factor:g}x" for factor in rungs.factors[1:-1])
    words = "all are ranked as they are cut, without training; " if rungs.starts_cut else ""
    words += f"one network in {rungs.keep:g} is promoted to {middle} the short training; " if middle else ""
    if not rungs.finalists:
        return f"{words}no finalists"
    seeds = counted(rungs.seeds, "seed")
    who = f"{counted(rungs.finalists, 'finalist')}, or all of the front if that is larger,"
    return f"{words}{who} to {rungs.factors[-1]:g}x with {seeds} each"


def panel(progress: Progress) -> Group:
    """The state of a running search: stage, times, what each worker does, and the end of the front."""
    limits, outcomes = progress.limits, Counter(trial.outcome for trial in progress.trials)
    of = f" of {limits.trials}" if limits.trials is not None else ""
    longer = sum(len(trial.longer) for trial in progress.trials)
    facts = [
        f"{progress.trained}{of} trained, {longer} longer, {outcomes['rejected']} rejected, {outcomes['failed']} failed"
    ]
    if best := best_trial([progress.trials[number] for number in progress.front]):
        facts.append(f"best top1 {best.metric('top1'):.2%}")
    facts.append(f"{format_seconds(time.monotonic() - progress.started)} gone")
    if left := progress.time_left():
        facts.append(left)
    lines = [_line(f"{progress.stage}   {'   '.join(facts)}", "bold")]
    for number, running in sorted(progress.running.items()):
        bar, stage = "#" * round(20 * running.share), running.stage
        if stage == "training":
            rung = 0 if running.promotion is None else running.promotion.rung
            epochs = progress.manifest.recipe.epochs * progress.rungs.factors[rung]
            stage = f"epoch {running.share * epochs:.2g} of {epochs:g}" if epochs else CUT
        text = f"  worker {number}  {format_madds(running.madds):>7}  {stage:<16} [{bar:<20}]  {running.origin}"
        lines.append(_line(text, "dim"))
    front = [progress.trials[number] for number in progress.front[-LINES_LIVE:]]
    return Group(*lines, front_table(front, progress.objectives))


def _line(text: str, style: str) -> Text:
    """One line of the terminal, cut at its end: where it wraps, the next frame erases a line that was printed above."""
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _cheaper_sentence(trials: Sequence[Trial], best: Trial | None, sure: Mapping[int, Confidence]) -> str:
    """Which network is the cheapest that top1 cannot tell from the best; empty if there is none below its cost."""
    tied = sure[best.number].tied_with if best is not None and best.number in sure else ()
    others = [trial for trial in trials if trial.number in tied]
    if best is None or not others:
        return ""
    least = min(others, key=lambda trial: trial.metric("madds"))
    if least.metric("madds") >= best.metric("madds"):
        return ""
    whole, less = (format_madds(one.metric("madds")) for one in (best, least))
    return (
        f"Trial {best.number} has the best top1, at {whole}: take it to use the budget. Trial {least.number} "
        f"({least.origin}) costs {less}, and top1 cannot tell them apart: take it to save cost, or train both in full."
    )


def front_table(
    trials: Sequence[Trial],
    objectives: Sequence[str],
    sure: Mapping[int, Confidence] | None = None,
    marked: Mapping[int, str] | None = None,
) -> Table:
    """The given trials as a table, in their order. sure, marked: by trial number, see `confidence` and `marks`.

    Without tokens and DyReLU if trainings differ in length, so that the table fits into 100 columns.
    """
    longer = any(trial.rung for trial in trials)
    sure, drawn = sure or {}, any(one.front_probability is not None for one in (sure or {}).values())
    heads = ["trial", "top1 %"] + (["best"] if marked else []) + (["trained"] if longer else [])
    heads += ["on front", "tied with"] if drawn else []
    heads += ["madds M", "params M"] + (["ms"] if "latency_ms" in objectives else [])
    heads += [head for head, name in MEGABYTES.items() if name in objectives]
    heads += ["origin"] if longer or drawn else ["tokens", "DyReLU", "origin"]
    table = Table(title="front", title_justify="left", box=None, pad_edge=False)
    for name in heads:
        table.add_column(
            name, justify="left" if name in ("best", "trained", "tied with", "DyReLU", "origin") else "right"
        )
    for trial in trials:
        tokens = trial.config.tokens
        cells = {
            "trial": str(trial.number),
            "top1 %": top1_percent(trial, sure[trial.number].top1_error if trial.number in sure else None),
            "best": (marked or {}).get(trial.number, ""),
            "trained": shown_training(trial),
            "madds M": f"{trial.metric('madds') / 1e6:.1f}",
            "params M": f"{trial.metric('num_params') / 1e6:.2f}",
            "ms": f"{trial.latency_ms:.2f}" if trial.latency_ms is not None else "",
            **{head: f"{trial.metric(name) / 1e6:.2f}" for head, name in MEGABYTES.items()},
            "tokens": f"{tokens.count}x{tokens.dim}" if tokens.count else "none",
            "DyReLU": trial.config.dyrelu.source,
            "origin": trial.origin,
        }
        if drawn:
            cells["on front"] = shown_probability(sure[trial.number].front_probability or 0.0)
            cells["tied with"] = _tied_with(sure[trial.number].tied_with)
        table.add_row(*(cells[name] for name in heads))
    return table


def top1_percent(trial: Trial, error: float | None = None) -> str:
    """The percentage as text, "61.34", or with its standard error, "61.34 ±0.42"; "" without a top1."""
    if trial.top1 is None:
        return ""
    return f"{100 * trial.top1:.2f}" + (f" ±{100 * error:.2f}" if error is not None else "")


def _tied_with(numbers: list[int]) -> str:
    """The nearest trial and the number of others, as text."""
    return " +".join(map(str, [*numbers[:1], *([len(numbers) - 1] if len(numbers) > 1 else [])]))


def print_front(study: Study) -> None:
    """Print the front as a table, with a line on the outcomes of all trials."""
    console = Console(highlight=False)
    objectives, trials, front = study.objectives, study.trials, study.front()
    longer = sum(trial.rung > 0 for trial in trials)
    if front:
        images = study.manifest.data.val_images
        sure = confidence(trials, objectives, images)
        marked = marks(front, training_noise(trials), images)
        console.print(front_table(front, objectives, sure, marked), soft_wrap=True)
        told = [shown_noise(trials, images), shown_lengths(front), shown_wiring(front)]
        told.insert(0, "± is one standard error." if sure else "")
        told.append(_cheaper_sentence(trials, best_trial(front), sure))
        console.print("\n" + "\n".join(filter(None, told)), soft_wrap=True)
        if (facts := study.manifest.parent) is not None:
            from mfsearch.analysis.front.compare import lineage  # these load pandas
            from mfsearch.analysis.front.summary import parent_sentence

            best = best_trial(front) or front[-1]
            words = [] if study.parent is None else [parent_sentence(study.parent)]
            words.append(f"Trial {best.number}: {lineage(facts, study.parent, best)}")
            console.print(Text("\n".join(words)), soft_wrap=True)
    timed = [trial.latency for trial in trials if trial.latency is not None]
    disturbed = sum(bool(latency.disturbed) for latency in timed)
    console.print(
        f"\n{study.folder.name}: {study.count('trained')} trained ({_own(trials)} the search's own), "
        + (f"{longer} of them longer, " if longer else "")
        + (f"{study.count('stopped')} stopped half way, " if study.count("stopped") else "")
        + f"{study.count('rejected')} rejected by latency, {study.count('failed')} failed; "
        f"{len(front)} on the front of {', '.join(objectives)}",
        soft_wrap=True,
    )
    if study.manifest.cost_limits.given:
        console.print(f"limits: {study.manifest.cost_limits}", soft_wrap=True)
    if study.manifest.prior_fit is not None:
        from mfsearch.analysis.front.outcomes import prior_worth  # loads pandas

        if worth := prior_worth(study.trials, study.manifest.prior_fit):
            console.print(worth, soft_wrap=True)
    if "latency_ms" in objectives and study.count("trained"):
        console.print(_latency_origin(study, front), soft_wrap=True)
    if missing := study.without_weights():
        console.print(
            f"on the front without kept weights, so exported with first ones: trial {', '.join(map(str, missing))}",
            soft_wrap=True,
        )
    if screened := screen_line(trials, study.manifest.latency_limit_ms):
        console.print(screened, soft_wrap=True)
    if disturbed:
        console.print(
            f"{disturbed} of {len(timed)} latencies were measured on a busy machine and may be off by a few "
            f"percent; `mfsearch latency {study.folder.name}:TRIAL` measures longer",
            soft_wrap=True,
        )


def next_steps(study: Study, results: Path) -> list[str]:
    """The commands that take the best network further, as lines; empty if nothing is trained."""
    best, manifest = study.best(), study.manifest
    if best is None:
        return []
    name = study.folder.name if study.folder == results / study.folder.name else shlex.quote(str(study.folder))
    in_results = "" if results == Path("results") else f" --results {shlex.quote(str(results))}"
    ours, theirs = manifest.data.classes, manifest.classes
    classes = "" if ours == theirs else f" --classes {ours}"  # without it the trained classifier is lost
    request = manifest.request
    data = manifest.data.name if request is None else request.data
    where = f"--data {shlex.quote(data)}"
    if request is not None and request.data_dir is not None:
        where += f" --data-dir {shlex.quote(request.data_dir)}"
    to, side, trained = f"{study.folder.name}-{best.number}", manifest.resolution, manifest.recipe.resolution
    export = f"  mfsearch export {name} --trial {best.number}{classes}"
    lines = ["", "What to do next:", f"  mfsearch explore {name}{in_results}"]
    lines.append(f"  mfsearch describe {name}:{best.number}{in_results}")
    lines.append(f"{export} --to {to}{in_results}    # at {side} px, for which the budget counts")
    lines.append(f"  mfsearch train {to} {where}    # 30 epochs from these weights; --scratch: all 450")
    if side != trained:
        lines.append(f"{export} --resolution {trained} --to {to}-{trained}px{in_results}    # as it was trained here")
        lines.append(f"  mfsearch predict {to}-{trained}px PHOTO")
        lines += ["", f"The weights so far were trained at {trained} px: at {side} px they begin with a lower top1."]
    return lines


def _own(trials: Sequence[Trial]) -> int:
    """How many trained networks are neither published nor published ones fitted to the budget."""
    published = ("preset ", "fitted ")
    return sum(trial.outcome == "trained" and not trial.origin.startswith(published) for trial in trials)


def _latency_origin(study: Study, front: Sequence[Trial]) -> str:
    """A line on the device of the latencies, the second measurement of the front, and the trials that left it."""
    device = study.manifest.device_name or "a device without a name"
    passport = study.manifest.passport or {}
    threads = f", {counted(passport['threads'], 'thread')}" if "threads" in passport else ""
    windows = {None if trial.final is None else trial.final.window for trial in front}
    again = "" if None in windows or len(windows) != 1 else "; the front's were measured again in one go at the end"
    over = [f"{trial.number} ({trial.latency_ms:.2f} ms)" for trial in study.trials if trial.over_limit]
    limit = f"\nover the limit when measured again, so off the front: trial {', '.join(over)}"
    return f"latencies on {device}{threads}{again}" + (limit if over else "")
