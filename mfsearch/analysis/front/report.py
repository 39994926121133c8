"""A study as one HTML file that can be sent to somebody: words, the front, the figures, what to do next."""

import json
import os
from collections import Counter
from html import escape
from pathlib import Path
from shlex import quote
from string import Template

import pandas as pd

from mfsearch.analysis.figures.curves import curve_lines, draw_curves, draw_progress, progress_points
from mfsearch.analysis.figures.style import figure_html, plotly_script
from mfsearch.analysis.figures.tradeoff import draw_tradeoff, tradeoff_points
from mfsearch.analysis.front.confidence import marks, shown_lengths, shown_wiring, training_noise
from mfsearch.analysis.front.cut import best_number, measured_objectives
from mfsearch.analysis.front.summary import (
    confidence_columns,
    parent_sentence,
    second_cost,
    study_front,
    summary,
    why_no_figure,
    why_no_front,
)
from mfsearch.analysis.metrics import (
    METRICS,
    label,
    noise_sentence,
    shown,
    shown_top1,
    telling_knobs,
    with_confidence,
)
from mfsearch.study.files import without_password
from mfsearch.study.frame import KNOB
from mfsearch.study.kept_parent import KeptParent
from mfsearch.study.manifest import Manifest
from mfsearch.units import counted


def write_report(frame: pd.DataFrame, manifest: Manifest, path: Path, parent: KeptParent | None = None) -> None:
    """Writes the report of a study to `path`, whole or not at all: one file that loads nothing from anywhere.

    `frame` as `study_frame` gives it.
    """
    study = manifest.study
    objectives = measured_objectives(frame, manifest.objectives)
    images = manifest.data.val_images
    frame = with_confidence(frame, objectives, images)
    front = study_front(frame, manifest)
    figures = _figures(frame, manifest, front, parent)
    lacking = [] if len(front) else [why_no_front(frame)]
    lacking += [why] if len(front) and (why := why_no_figure(frame)) else []
    settings = json.dumps(manifest.to_dict(), indent=2, ensure_ascii=False, default=str)
    body = [
        f"<p>{escape(summary(frame, manifest))}</p>",
        "" if parent is None else f"<p>{escape(parent_sentence(parent))}</p>",
        *(f'<p class="note">{escape(sentence)}</p>' for sentence in lacking),
        _front_table(front, frame, objectives, images) if len(front) else "",
        f'<div class="figures">{"".join(figures)}</div>' if figures else "",
        _next_steps(study, front),
        _losses(frame),
        f"<details><summary>Settings of this study</summary><pre>{escape(without_password(settings))}</pre></details>",
    ]
    script = plotly_script() if figures else ""
    page = _PAGE.substitute(title=escape(study), script=script, body="\n".join(filter(None, body)))

    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        unfinished.write_text(page, encoding="utf-8")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _figures(frame: pd.DataFrame, manifest: Manifest, front: pd.DataFrame, parent: KeptParent | None) -> list[str]:
    """The figures as HTML sections; none where there are no two points to compare."""
    if why_no_figure(frame) is not None:
        return []
    objectives, limits = measured_objectives(frame, manifest.objectives), manifest.limits
    figures = {
        f"Top-1 against {METRICS[cost].title.lower()}": draw_tradeoff(
            tradeoff_points(frame, cost, objectives, limits, parent=parent)
        )
        for cost in ("madds", second_cost(frame))
    }
    if lines := curve_lines(front):
        figures["Training curves of the front"] = draw_curves(lines)
    figures["Trials over time" + (", within the limits" if limits else "")] = draw_progress(
        progress_points(frame, limits)
    )
    return [
        f"<section><h2>{title}</h2>{figure_html(figure, f'figure-{at}')}</section>"
        for at, (title, figure) in enumerate(figures.items())
    ]


def _front_table(front: pd.DataFrame, frame: pd.DataFrame, objectives: list[str], images: int) -> str:
    """The front as a table: metrics, how sure they are, then the knobs that go with the largest differences in top1."""
    wanted = dict.fromkeys(("top1", "madds", "latency_ms", "num_params", *objectives))
    metrics = [name for name in wanted if front[name].notna().any()]
    knobs = telling_knobs(frame, 3)
    trials = front["trial"].tolist()
    marked = marks(trials, training_noise(frame["trial"].tolist()), images)
    sure = confidence_columns(front, frame)
    heads = "".join(f'<th title="{name}">{escape(label(name))}</th>' for name in metrics)
    heads = heads.replace("</th>", "</th>" + "".join(f'<th class="text">{name}</th>' for name in sure), 1)
    heads += "".join(f'<th class="text">{escape(name)}</th>' for name in knobs)
    lines = []
    for at, row in enumerate(front.to_dict("records")):
        mark = f' <span class="badge">{name}</span>' if (name := marked[row["number"]]) else ""
        cells = f'<td>{row["number"]}{mark}</td><td class="text">{escape(str(row["origin"]))}</td>'
        cells += f"<td>{shown_top1(row['top1'], row['top1_error']).removesuffix(METRICS['top1'].unit)}</td>"
        cells += "".join(f'<td class="text">{escape(values[at])}</td>' for values in sure.values())
        cells += "".join(f"<td>{shown(name, row[name]).removesuffix(METRICS[name].unit)}</td>" for name in metrics[1:])
        cells += "".join(f'<td class="text">{escape(str(row[KNOB + name]))}</td>' for name in knobs)
        lines.append(f"<tr>{cells}</tr>")
    about = ["± is the standard error of top-1. Tied: its top-1 is not clearly below the best."]
    about += filter(None, (shown_lengths(trials), noise_sentence(frame, images), shown_wiring(trials)))
    titles = [METRICS[name].title.lower() for name in objectives]
    names = " and ".join([", ".join(titles[:-1]), titles[-1]]) if len(titles) > 1 else titles[0]
    return (
        f"<h2>The front</h2><p>{counted(len(front), 'trial')} that no other trial beats in {names} together.</p>"
        f"<p>{escape(' '.join(about))}</p>"
        f'<div class="wide"><table><thead><tr><th>trial</th><th class="text">origin</th>{heads}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _losses(frame: pd.DataFrame) -> str:
    """Why trials were rejected, failed or stopped half way, the commonest reasons first; "" if none was."""
    lost = frame[frame["outcome"] != "trained"]
    counts = Counter(map(_loss, lost["outcome"], lost["reason"]))
    lines = [f"<li>{count} {escape(reason)}</li>" for reason, count in counts.most_common()]
    more = f"<li>and {len(lines) - 20} other reasons</li>" if len(lines) > 20 else ""
    end = " or stopped early" if (lost["outcome"] == "stopped").any() else ""
    title = f"<summary>Why trials were not trained{end}</summary>"
    return f"<details>{title}<ul>{''.join(lines[:20])}{more}</ul></details>" if lines else ""


def _loss(outcome: str, reason: object) -> str:
    if outcome == "stopped":  # each has its own figures, which its point in the figures tells
        return "stopped half way: even the best second half would not have earned a longer training"
    return f"{outcome}: {reason or 'no reason recorded'}"


def _next_steps(study: str, front: pd.DataFrame) -> str:
    steps = [("Explore the trials:", f"mfsearch explore {quote(study)}")]
    if len(front):
        best = best_number(front)
        command = f"mfsearch export {quote(study)} --trial {best} --to {quote(f'{study}-{best}')}"
        steps.append(("Export a network for full training, here the one with the highest top-1:", command))
    return "<h2>What to do next</h2>" + "".join(f"<p>{text}</p><pre>{escape(command)}</pre>" for text, command in steps)


_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:">
<title>$title · mfsearch</title>
<style>
:root { --ground: #ffffff; --card: #f6f7f9; --ink: #1d2329; --soft: #5b6570; --line: #dde1e6; --accent: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #14181d; --card: #1d232a; --ink: #e6e9ec; --soft: #a3adb8; --line: #333b45; --accent: #56b4e9; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 32px 24px 64px; }
header small { color: var(--soft); letter-spacing: 0.02em; }
h1 { margin: 0 0 12px; font-size: 30px; line-height: 1.2; overflow-wrap: anywhere; }
h2 { margin: 32px 0 8px; font-size: 19px; }
p { max-width: 80ch; margin: 8px 0; overflow-wrap: anywhere; }
.note { padding: 12px 16px; border-left: 3px solid var(--accent); background: var(--card); }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 7px 12px; text-align: right; white-space: nowrap; }
th { color: var(--soft); font-weight: 600; background: var(--card); }
td { border-top: 1px solid var(--line); }
th.text, td.text { text-align: left; }
.badge { padding: 1px 7px; border-radius: 9px; background: var(--accent); color: var(--ground); font-size: 12px; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(480px, 100%), 1fr)); gap: 0 32px; }
.figures section { min-width: 0; }
pre { margin: 8px 0; padding: 12px 16px; overflow-x: auto; border-radius: 8px; background: var(--card);
  font: 13.5px/1.6 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
details { margin-top: 24px; }
summary { cursor: pointer; font-weight: 600; }
li { overflow-wrap: anywhere; }
.js-plotly-plot :is(.xtick, .ytick, .legendtext, .annotation-text, .textpoint),
.js-plotly-plot :is(.xtick, .ytick, .textpoint, [class^="g-"]) text { fill: var(--soft) !important; }
@media (max-width: 600px) { main { padding: 20px 16px 48px; } h1 { font-size: 24px; } th, td { padding: 6px 9px; } }
@media print { details { display: none; } .figures { display: block; } }
</style>
$script
</head>
<body>
<main>
<header><small>mfsearch study</small><h1>$title</h1></header>
$body
</main>
</body>
</html>
""")
