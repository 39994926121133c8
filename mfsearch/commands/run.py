"""Search networks inside a budget; the same command again resumes."""

import argparse
import collections
import dataclasses
import json
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mfsearch.commands import options
from mfsearch.commands.show import summary_of
from mfsearch.proxy.curve import SCORES
from mfsearch.proxy.rungs import INSIDE_FACTORS, Rungs, default_rungs
from mfsearch.references.libraries import check_libraries
from mfsearch.study.settings import GOALS, SAMPLERS, Limits, Settings, parse_objectives
from mfsearch.units import counted, parse_budget, parse_limits, parse_ms, parse_seconds

if TYPE_CHECKING:
    from mfsearch.study.study import Study


def add_options(parser: argparse.ArgumentParser) -> None:
    options.add_budget(parser)
    options.add_parent(parser)
    options.add_data(parser, f"{options.DATA} (default: digits)")
    text = "limit on latency at batch 1, one thread: 8ms, 800us (default: not measured)"
    parser.add_argument("--latency", type=options.checked(parse_ms), help=text)
    options.add_runner(parser)
    options.add_limits(parser)
    text = f"what the front is of, by commas: {', '.join(GOALS)} (default: top1,madds; with --latency latency too)"
    parser.add_argument("--objectives", type=options.checked(parse_objectives), help=text)
    text = f"trained networks in the study, earlier runs counted (default: {Limits.trials}, with --time what fits)"
    parser.add_argument("--trials", type=options.whole, help=text)
    text = "end after 90s, 30m or 2h, with sizes, lengths and numbers of trainings that fit (default: no limit)"
    parser.add_argument("--time", type=options.checked(parse_seconds), help=text)
    parser.add_argument("--study", help="name of the study (default: made from data and budget)")
    parser.add_argument("--from", dest="start_from", metavar="STUDY", help="try the best networks of this study first")
    parser.add_argument("--storage", help="keep trials in this database URL instead of the study's folder")
    options.add_default(parser, "--sampler", Settings.sampler, ", ".join(SAMPLERS))
    text = "what the sampler's model knows before the first training: tables (of networks trained on CIFAR-10) or none"
    options.add_default(parser, "--prior", Settings.prior, text)
    parser.add_argument("--dry-run", action="store_true", help="propose --trials networks, train none")
    options.add_results(parser)
    options.add_training(parser)
    group = parser.add_argument_group("longer trainings of the better networks")
    usual, inside = (",".join(f"{factor:g}" for factor in factors) for factors in (Rungs.factors, INSIDE_FACTORS))
    text = "lengths in multiples of the short training; 1: no longer ones; 0 first: networks as they are cut"
    text += f" (default: {usual}; with --parent {inside})"
    group.add_argument("--rungs", help=text)
    for option, default, text in (
        ("--finalists", Rungs.finalists, "networks trained at the last length"),
        ("--final-seeds", Rungs.seeds, "seeds that each finalist is trained with"),
    ):
        group.add_argument(option, type=options.whole, help=f"{text} (default: {default})")
    options.add_default(group, "--rank-by", Rungs.rank_by, f"rank networks by {', '.join(SCORES)}")
    options.add_deployment(parser, "space", "data")


def run(args: argparse.Namespace) -> int:
    """Search, print the front and what to do next."""
    began = time.monotonic()
    no_data, args.data = args.data is None, args.data or "digits"
    options.begin("run", args.data, args.data)
    settings = _settings(args)
    if no_data:
        print("no --data: searching on the embedded digits", file=sys.stderr)
    if args.dry_run:
        return _dry_run(settings, args)
    from mfsearch.commands.display import make_display, print_front
    from mfsearch.search.ending import check_found
    from mfsearch.search.loop import run_search

    limits = _limits(args)
    folder: Path = args.results / settings.study
    options.note("")
    with make_display(quiet=args.json) as display:
        result = run_search(
            settings,
            limits,
            folder,
            display,
            args.storage,
            args.command_line,
            fixed=_fixed(args),
            on_stage=display.stage,
            started=began,
        )
    study = result.study
    trained = study.count("trained")
    options.note("writing the report")
    report = _write_report(study) if trained else None
    options.note("")
    if args.json:
        print(json.dumps({"stopped": result.stopped, **summary_of(study)}, indent=1))
    else:
        print_front(study)
        _print_ending(result.stopped, study, settings, report, args)
    if result.stopped == "interrupted":
        return 130
    check_found(result.stopped, study, settings)
    return 0 if trained else 1


def _settings(args: argparse.Namespace) -> Settings:
    from mfsearch.study.files import check_name, find_lesson, study_name

    budget = parse_budget(args.budget)
    space, parent = options.space_and_parent(args)
    study = args.study or study_name(args.data, args.budget)
    return Settings(
        study=check_name(study),
        budget=budget,
        latency_limit_ms=None if args.latency is None else parse_ms(args.latency),
        space=space,
        data=args.data,
        recipe=options.recipe_of(args),
        sampler=args.sampler,
        prior=args.prior,
        cost_limits=parse_limits(args.params, args.memory, args.size),
        goals=() if args.objectives is None else parse_objectives(args.objectives),
        seed=args.seed,
        device=args.device,
        rungs=_rungs(args),
        data_dir=args.data_dir or args.data_home,
        download=args.download,
        skip_damaged=args.skip_damaged,
        start_from=find_lesson(args.start_from, study, args.results),
        runner=options.runner_of(args),
        cache_dir=args.cache_dir,
        space_given=args.space if parent is None or args.space != options.SPACE else None,
        parent=parent,
    )


def _rungs(args: argparse.Namespace) -> Rungs:
    try:
        factors = None if args.rungs is None else tuple(float(text) for text in args.rungs.split(","))
    except ValueError:
        raise ValueError(f"--rungs must be numbers like 1,3,9, got {args.rungs!r:.200}") from None
    given = {"factors": factors, "finalists": args.finalists, "seeds": args.final_seeds, "rank_by": args.rank_by}
    changed = {name: value for name, value in given.items() if value is not None}
    return dataclasses.replace(default_rungs(inside=args.parent is not None), **changed)


def _limits(args: argparse.Namespace) -> Limits:
    seconds = None if args.time is None else parse_seconds(args.time)
    trials = Limits.trials if args.trials is None and seconds is None else args.trials
    return Limits(trials, seconds, args.workers, args.checkpoint_seconds)


def _fixed(args: argparse.Namespace) -> frozenset[str]:
    """Which of the settings that are otherwise chosen the user gave."""
    given = {
        "resolution": args.proxy_resolution,
        "epochs": args.epochs,
        "rungs": args.rungs,
        "finalists": args.finalists,
        "seeds": args.final_seeds,
        "classes": args.classes,
    }
    return frozenset(name for name, value in given.items() if value is not None)


def _dry_run(settings: Settings, args: argparse.Namespace) -> int:
    """Print the run's header and count proposals, without training: is the budget in reach, how long would a run
    take?"""
    from mfsearch.commands.display import make_display
    from mfsearch.search.loop import prepare
    from mfsearch.search.progress import SearchEvent
    from mfsearch.search.proposal import Proposer
    from mfsearch.study.files import MANIFEST
    from mfsearch.study.study import Study

    limits, folder = _limits(args), args.results / settings.study
    with make_display(quiet=args.json) as display:
        settings, _, progress = prepare(
            settings, limits, folder, args.storage, args.command_line, fixed=_fixed(args), on_stage=display.stage
        )
        if (folder / MANIFEST).exists():
            progress.trials = list(Study.open(folder).trials)
            progress.before = len(progress.trials)
        display(SearchEvent("began", progress))
    plan = progress.plan
    proposer = Proposer.of(settings, progress.manifest)
    for trial in progress.trials:
        proposer.learn(trial)
        proposer.index = max(proposer.index, (trial.proposal or 0) + 1)
    times, proposals = [], []
    for _ in range(max(0, (limits.trials or (plan.networks if plan else 0)) - progress.trained)):
        start = time.perf_counter()
        proposal = proposer.next()
        times.append((time.perf_counter() - start) * 1e3)
        if proposal is None:
            break
        proposals.append(proposal)
    madds = [proposal.costs.madds for proposal in proposals]
    inside = sum(settings.budget.holds(one.costs.madds) and settings.cost_limits.hold(one.costs) for one in proposals)
    predicted = [proposal.predicted for proposal in proposals if proposal.predicted is not None]
    report = {
        "budget": {"low": settings.budget.low, "high": settings.budget.high},
        "limits": settings.cost_limits.given,
        "space": settings.space.name,
        "classes": settings.space.classes,
        "sampler": settings.sampler,
        "proposals": len(proposals),
        "inside": inside,
        "in_band": sum(settings.budget.low <= value <= settings.budget.high for value in madds),
        "duplicates": len(proposals) - len({proposal.arch_id for proposal in proposals}),
        "screened": proposer.screened,
        "median_ms": statistics.median(times) if times else None,
        "origins": dict(collections.Counter(proposal.origin.partition(" ")[0] for proposal in proposals)),
        "short_training_seconds": None if plan is None else plan.short_seconds * plan.networks / args.workers,
        "fastest_ms": min((one.latency_ms for one in predicted), default=None),
        "parent_seconds": None if plan is None else plan.parent_seconds,
        "latency_measurements": None if plan is None else plan.latencies,
        "latency_seconds": None if plan is None else plan.latency_seconds,
        "estimated_seconds": progress.seconds_left() if plan is None else plan.seconds,
    }
    limits_too = " and the limits" if settings.cost_limits.given else ""
    if args.json:
        print(json.dumps(report, indent=1))
    else:
        print(f"\n{counted(progress.trained, 'network')} trained so far; to come:" if progress.trials else "")
        print(
            f"{report['proposals']} proposals, {inside} inside the budget {settings.budget}{limits_too}, "
            f"{report['duplicates']} duplicates, {report['screened']} turned down before; "
            f"{report['median_ms'] or 0:.1f} ms each; none trained"
        )
        if predicted and all(proposer.latency.is_too_slow(one) for one in predicted):
            print(
                f"latency limit {settings.latency_limit_ms:g} ms: no network proposed is likely to keep it; "
                f"the fastest takes about {report['fastest_ms']:.1f} ms"
            )
    return 0


def _write_report(study: "Study") -> Path | None:
    """Write the study's page; a full disk costs the page, not the run."""
    from mfsearch.analysis.front.report import write_report
    from mfsearch.study.files import REPORT

    path = study.folder / REPORT
    try:
        write_report(study.frame(), study.manifest, path, study.parent)
    except OSError as error:
        print(f"mfsearch: cannot write {path}: {error.strerror}", file=sys.stderr)
        return None
    return path


def _print_ending(
    stopped: str, study: "Study", settings: Settings, report: Path | None, args: argparse.Namespace
) -> None:
    words = {
        "trials": "All --trials are trained; a higher number resumes the study.",
        "time": f"Done: the time is up. To search on, the same command takes another {args.time}.",
        "interrupted": "Interrupted; every finished trial is kept. The same command resumes.",
        "exhausted": "No new network inside the budget is left to propose in this space.",
        "latency": f"Stopped: the last networks proposed were slower than {settings.latency_limit_ms} ms.",
        "failing": "Stopped: the last networks proposed could not be trained.",
    }
    print(f"\n{words[stopped]}")
    if report is not None:
        from mfsearch.commands.display import next_steps
        from mfsearch.study.files import MANIFEST

        print(f"\nreport    {report}\nmanifest  {study.folder / MANIFEST}")
        print(*next_steps(study, args.results), sep="\n")
        try:
            check_libraries("`mfsearch train`", "train")
        except ValueError as error:
            print(error)
