"""Made-up trials, as a study gives them."""

from mfsearch.search.rungs import merged


def row(number: int, top1: float | None = 0.5, madds: int = 100_000_000, **more: object) -> dict[str, object]:
    """A trained trial with every key; `more` replaces some."""
    return {
        "number": number,
        "outcome": "trained",
        "reason": None,
        "origin": "tpe",
        "arch_id": f"{number:08x}",
        "madds": madds,
        "macs": madds - 5_000_000,
        "num_params": 6_000_000 + number,
        "activation_bytes": 3_000_000,
        "latency_ms": None,
        "latency_low_ms": None,
        "latency_high_ms": None,
        "top1": top1,
        "train_seconds": 40.0,
        "seed": 0,
        "resolution": 224,
        "params": {"tokens.count": 6 if number % 2 else 3, "dyrelu.source": "pooled"},
        "config": {"name": "made up"},
        "curve": [{"epoch": 1, "loss": 2.0, "top1": 0.2}, {"epoch": 2, "loss": 1.0, "top1": top1}],
        **more,
    }


def study(count: int = 12, latency: bool = True) -> list[dict[str, object]]:
    """A small study with all that can happen: published networks first, two rejected, one failed, the rest trained.

    Top1 rises with madds and falls with the distance from a multiple of three, so that some trials are dominated.
    """
    rows = []
    for number in range(count):
        madds = 60_000_000 + 7_000_000 * number
        ms = {"latency_ms": 4 + number / 4, "latency_low_ms": 3.9 + number / 4, "latency_high_ms": 4.2 + number / 4}
        origin = {0: "preset mf-26m", 1: "fitted mf-52m"}.get(number, "tpe")
        top1 = 0.40 + 0.01 * number - 0.03 * (number % 3)
        rows.append(row(number, top1, madds, origin=origin) | (ms if latency else {}))
    lost: dict[str, object] = {"top1": None, "train_seconds": None, "curve": []}
    rows[4] |= {"outcome": "rejected", "reason": "latency 9.1 ms is over the limit", **lost}
    rows[5] |= {"outcome": "rejected", "reason": "latency 9.1 ms is over the limit", **lost}
    rows[7] |= {"outcome": "failed", "reason": "loss became NaN", **lost}
    return rows


def failed(count: int) -> list[dict[str, object]]:
    """A study in which nothing worked."""
    return [row(number, None, outcome="failed", reason="loss became NaN", curve=[]) for number in range(count)]


def stage(rung: int, seed: int, top1: float, curve: dict[float, float] | None = None) -> dict[str, object]:
    """A longer training, 1, 3 or 9 epochs long; curve: top1 by epoch on the way."""
    epochs = 3.0**rung
    points = {**(curve or {}), epochs: top1}
    logs = [{"epoch": epoch, "loss": 1.0, "top1": value} for epoch, value in points.items()]
    return {"rung": rung, "seed": seed, "top1": top1, "epochs": epochs, "curve": logs, "train_seconds": 90.0}


def longer_study() -> list[dict[str, object]]:
    """Six networks, each dearer than the one before: three short, one 3x, and two finalists of 9x with two seeds.

    The finalists, 4 and 5, differ by 0.01 in the mean; each residual of top1 on network plus seed is 0.005, so that the
    noise is sqrt(4 * 0.005**2 / 1) = 0.01 with one degree of freedom. Trial 6 was stopped half way.
    """
    rows = [row(k, 0.40 + 0.01 * k, 100_000_000 + 10_000_000 * k, epochs=1.0) for k in range(6)]
    rows[3] = merged(rows[3], [stage(1, 0, 0.55)])
    rows[4] = merged(rows[4], [stage(1, 0, 0.60), stage(2, 0, 0.705), stage(2, 1, 0.715)])
    rows[5] = merged(rows[5], [stage(1, 0, 0.61), stage(2, 0, 0.725), stage(2, 1, 0.715)])
    return [*rows, row(6, 0.2, 90_000_000, outcome="stopped", reason="top1 20.00% half way", epochs=0.5)]


MANIFEST: dict[str, object] = {
    "study": "flowers",
    "budget": {"low": 120_000_000, "high": 150_000_000, "stated": False},
    "latency_limit_ms": 7.25,
    "objectives": ["top1", "madds", "latency_ms"],
    "data": {"name": "digits", "classes": 10},
    "passport": {"cpu": "A slow CPU", "threads": 1},
}

MARKUP = "<img src=x onerror=alert(1)>"
