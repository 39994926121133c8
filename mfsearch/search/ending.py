"""Why a search ended with nothing trained, in one sentence with its figures."""

import collections

from mfsearch.search.proposal import nothing_inside
from mfsearch.study.settings import Settings
from mfsearch.study.study import Study


def check_found(stopped: str, study: Study, settings: Settings) -> None:
    """Raise an error if no network was trained and trying again cannot help.

    stopped: as in `RunResult`. ValueError if no network is within the budget or the latency limit, RuntimeError if all
    trainings failed.
    """
    if study.count("trained"):
        return
    if stopped == "latency":
        measured = [trial for trial in study.trials if trial.latency_ms is not None]
        fastest = min(measured, key=lambda trial: trial.metric("latency_ms"))
        raise ValueError(
            f"latency limit {settings.latency_limit_ms:g} ms: none of {len(measured)} networks measured keeps it; "
            f"the fastest takes {fastest.latency_ms:.2f} ms, {fastest.metric('madds') / 1e6:.1f}M multiply-adds "
            f"({fastest.origin})"
        )
    if stopped == "exhausted":
        raise nothing_inside(settings.space, settings.budget, settings.cost_limits)
    if stopped == "failing":
        reasons = collections.Counter(str(trial.reason) for trial in study.trials)
        raise RuntimeError(
            f"none of {len(study.trials)} networks could be trained; most often: {reasons.most_common(1)[0][0]}"
        )
