"""Predicted latency: the work by closed form times the device's rate for each kind of work, learned from few networks.

log t = log sum_k rate_k work_k + noise. The prior for the log rates is normal, centred on another device's rates: all
share a scale with a wide prior, and each differs by about exp(SPREAD), or more if the measurements say so. A few
measured networks fix the scale and the rates that differ most; the others keep their prior. The noise is heavy-tailed
(Student's t), because a measurement beside other work is sometimes far off.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mfsearch.config import BlockConfig, MobileFormerConfig

Array = NDArray[np.float64]

# Nanoseconds per unit of work, fitted to the networks of results/reference/latency/measured.json not held out,
# on a device where the reference network takes REFERENCE_MS.
REFERENCE_MS = 6.207
RATES: dict[str, float] = {
    "network": 31e3,
    "convolutions": 3.2e3,
    "pointwise_macs": 0.018,
    "padding_macs": 0.023,  # extra products because channels are padded to blocks of 16
    "grouped_macs": 0.03,
    "pointwise_elements": 0.059,  # read and written
    "depthwise_macs": 0.015,
    "depthwise_elements": 0.11,
    "multiplying_convolutions": 5.1e3,
    "multiplied_elements": 0.45,
    "shuffled_elements": 0.17,
    "stem_macs": 0.015,
    "hswish_elements": 0.31,
    "dyrelus": 16e3,
    "dyrelu_elements": 0.29,
    "intercept_elements": 0.2,
    "spatial_elements": 0.5,  # coefficients
    "pooled_elements": 0.16,
    "to_formers": 21e3,
    "to_mobiles": 34e3,
    "bridge_elements": 0.55,
    "bridge_macs": 0.029,
    "softmax_elements": 1.3,
    "formers": 27e3,
    "token_linears": 3.6e3,
    "token_weights": 0.2,
    "token_macs": 0.02,
    "head_weights": 0.22,
}
BLOCK = 16  # channels that ONNX Runtime computes together (AVX-512; 8 on other CPUs)

COMMON, SPREAD = 1.0, 0.5  # standard deviations of log rates: of the shared scale, and of each rate by itself
TRANSFER = 0.25  # the same as SPREAD, when the prior is a measured device
SCALED = 0.1  # the same as COMMON, when the prior is scaled by the reference network's time on the device
STRANGER = (0.0, 0.5, 1.0)  # candidates to add to SPREAD or TRANSFER; the evidence chooses
NOISE, NOISE_WEIGHT = 0.05, 4.0  # prior for the noise of log milliseconds, and its weight in networks
FREEDOM = 8.0  # degrees of freedom of the noise
WIDTH = 2.306  # half of a 95 % interval under Student's t with FREEDOM, in scales
STEPS = 60
MIN_MEASURED = 8  # networks to measure before predictions are used
WITHIN = 0.1  # a good prediction is off by at most this fraction of the measurement


class Prediction(NamedTuple):
    """Predicted milliseconds, with the 95 % interval for a measurement."""

    latency_ms: float
    low_ms: float
    high_ms: float


class Rates(NamedTuple):
    """The posterior for a device: log nanoseconds per unit [K] in the order of RATES, their covariance [K, K], and the
    scale of the noise of log milliseconds."""

    log_rates: Array
    covariance: Array
    noise: float

    def predict(self, work: Array) -> list[Prediction]:
        """The latency of networks from their work [N, K]."""
        parts = work * np.exp(self.log_rates) * 1e-6
        total = parts.sum(1)
        shares = parts / total[:, None]
        spread = np.sqrt(np.einsum("nk,kl,nl->n", shares, self.covariance, shares) + self.noise**2)
        half = np.exp(WIDTH * spread)
        return [Prediction(float(t), float(t / h), float(t * h)) for t, h in zip(total, half, strict=True)]

    def elsewhere(self) -> Rates:
        """The prior for another device: its scale is open, its rates are similar to these."""
        k = len(self.log_rates)
        return Rates(self.log_rates, self.covariance + TRANSFER**2 * np.eye(k) + COMMON**2, NOISE)


def unmeasured(reference_ms: float | None = None) -> Rates:
    """The prior for a device with no measurements, or with that of the reference network alone, in milliseconds."""
    rates, k = np.log(list(RATES.values())), len(RATES)
    if reference_ms is None:
        return Rates(rates, SPREAD**2 * np.eye(k) + COMMON**2, NOISE)
    return Rates(rates + math.log(reference_ms / REFERENCE_MS), TRANSFER**2 * np.eye(k) + SCALED**2, NOISE)


def fit_rates(work: Array, latency_ms: Array, prior: Rates) -> Rates:
    """The rates of a device, from the work [N, K] and latency [N] of networks measured on it.

    The evidence (Laplace's approximation) decides how far the device may differ from the prior's.
    """
    candidates = []
    for added in STRANGER:
        wider = prior._replace(covariance=prior.covariance + added**2 * np.eye(work.shape[1]))
        rates = _mode(work, latency_ms, wider)
        candidates.append((_log_evidence(work, latency_ms, wider, rates), rates))
    return max(candidates, key=lambda one: one[0])[1]


def _log_evidence(work: Array, latency_ms: Array, prior: Rates, rates: Rates) -> float:
    """The log evidence of the measurements under the prior, up to a constant."""
    error = np.log(latency_ms) - np.log(work @ np.exp(rates.log_rates) * 1e-6)
    variance, off = rates.noise**2, rates.log_rates - prior.log_rates
    likelihood = -0.5 * len(error) * math.log(variance)
    likelihood -= (FREEDOM + 1) / 2 * float(np.log1p(error**2 / (FREEDOM * variance)).sum())
    noise = -0.5 * NOISE_WEIGHT * (math.log(variance) + NOISE**2 / variance)
    distance = float(off @ np.linalg.solve(prior.covariance, off))
    volumes = float(np.linalg.slogdet(rates.covariance)[1] - np.linalg.slogdet(prior.covariance)[1])
    return likelihood + noise - 0.5 * distance + 0.5 * volumes


def _mode(work: Array, latency_ms: Array, prior: Rates) -> Rates:
    """The mode of the posterior by Gauss-Newton; far outliers have little weight."""
    y, precision = np.log(latency_ms), np.linalg.inv(prior.covariance)
    n = len(work)
    x, weights, variance = prior.log_rates, np.ones(n), prior.noise**2
    for step in range(STEPS):
        parts = work * np.exp(x) * 1e-6
        total = parts.sum(1)
        shares = parts / total[:, None]  # the slope of log t in the log rates
        error = y - np.log(total)
        weighted = shares * (weights / variance)[:, None]
        covariance = np.linalg.inv(weighted.T @ shares + precision)
        change = covariance @ (weighted.T @ error - precision @ (x - prior.log_rates))
        x = x + change / max(1.0, float(np.abs(change).max()))
        if step < 4:  # come near the mode first, then estimate the noise
            continue
        fitted = float(np.einsum("nk,kl,nl->", weighted, covariance, shares))  # effective number of parameters
        free = max(n - fitted, n / 4)
        variance = (NOISE_WEIGHT * NOISE**2 + float(weights @ error**2)) / (NOISE_WEIGHT + free)
        weights = (FREEDOM + 1) / (FREEDOM + error**2 / variance)
        if np.abs(change).max() < 1e-6:
            break
    return Rates(x, covariance, math.sqrt(variance))


class Accuracy(NamedTuple):
    """Errors of predictions as fractions of the measurements; `covered` is the share inside the 95 % interval."""

    networks: int
    median_error: float
    within: float
    covered: float


def accuracy(predicted: Sequence[Prediction], latency_ms: Array) -> Accuracy:
    """Compare predictions with the measured latencies [N]."""
    errors = [abs(one.latency_ms / ms - 1) for one, ms in zip(predicted, latency_ms.tolist(), strict=True)]
    inside = [one.low_ms <= ms <= one.high_ms for one, ms in zip(predicted, latency_ms.tolist(), strict=True)]
    return Accuracy(
        networks=len(errors),
        median_error=statistics.median(errors),
        within=sum(error <= WITHIN for error in errors) / len(errors),
        covered=sum(inside) / len(inside),
    )


def leave_one_out(work: Array, latency_ms: Array, prior: Rates) -> Accuracy:
    """The accuracy of predicting each network from all others; takes a few ms per network."""
    predicted = []
    for k in range(len(work)):
        others = np.arange(len(work)) != k
        predicted += fit_rates(work[others], latency_ms[others], prior).predict(work[k : k + 1])
    return accuracy(predicted, latency_ms)


def count_work(config: MobileFormerConfig) -> Array:
    """The amount of each kind of work in RATES for one image [K]; takes about 150 us and does not need torch.

    Token work before the first bridge does not depend on the image: it is computed at load time and not counted.
    """
    work: Counter[str] = Counter()
    _add_work(config, lambda where, part: work)
    return _in_order(work)


def split_work(config: MobileFormerConfig) -> dict[tuple[str, str], Array]:
    """The work of `count_work` [K] by place and part, in the order of the forward pass; the sum is exactly equal.

    Places and parts are those of `mfsearch.cost.madds`; a block's place is its index as text. The token linears of a
    DyReLU belong to that DyReLU. ("run", "run") is the fixed cost of any network.
    """
    split: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    _add_work(config, lambda where, part: split[where, part])
    return {place: _in_order(work) for place, work in split.items()}


def _in_order(work: Counter[str]) -> Array:
    assert set(work) <= set(RATES)
    return np.array([work[name] for name in RATES], dtype=np.float64)


def _add_work(config: MobileFormerConfig, account: Callable[[str, str], Counter[str]]) -> None:
    """Walk the network and add each operator's work to the account of its place and part."""
    M, D, groups = config.tokens.count, config.tokens.dim, config.groups
    alive = False  # whether the tokens depend on the image

    def pointwise(work: Counter[str], inp: int, out: int, N: int, groups: int = 1, taps: int = 1) -> None:
        """A 1x1 convolution, or a dense one of that many taps."""
        macs = inp * out // groups * taps * N
        work["convolutions"] += 1
        work["pointwise_elements"] += (inp + out) * N
        if groups > 1:
            work["grouped_macs"] += macs
        else:
            work["pointwise_macs"] += macs
            work["padding_macs"] += _padded(inp) * _padded(out) * taps * N - macs

    def depthwise(work: Counter[str], inp: int, out: int, kernel: int, N: int) -> None:
        work["convolutions"] += 1
        work["depthwise_macs"] += kernel * kernel * out * N
        work["depthwise_elements"] += out * N
        if out > inp:
            work["multiplying_convolutions"] += out // inp
            work["multiplied_elements"] += out * N

    def linears(work: Counter[str], count: int, weights: int, rows: int) -> None:
        work["token_linears"] += count
        work["token_weights"] += weights
        work["token_macs"] += rows * weights

    def activation(where: str, row: BlockConfig, which: str, C: int, N: int) -> None:
        dyrelu = config.dyrelu.of(row)
        source = dyrelu.at(which)
        if source == "hswish":
            account(where, "mobile")["hswish_elements"] += C * N
        if source in ("none", "hswish"):
            return
        work = account(where, "dyrelu")
        work["dyrelus"] += source != "static"
        work["dyrelu_elements"] += dyrelu.slopes * C * N
        if dyrelu.intercepts:
            work["intercept_elements"] += dyrelu.slopes * C * N
        if source == "spatial":
            work["spatial_elements"] += dyrelu.coefficients * C * N
        elif source == "pooled":
            work["pooled_elements"] += C * N
        if source != "static" and (alive or source == "pooled"):
            width = C if source == "pooled" else D
            weights = dyrelu.hidden(width) * (width + dyrelu.coefficients * C)
            linears(work, 2, weights, M if source == "spatial" else 1)

    def bridge(work: Counter[str], kind: str, C: int, N: int, count: int) -> None:
        work[kind] += 1
        linears(work, count, count * C * D, M)
        full = config.bridges.projections == "full"
        work["bridge_elements"] += C * N * (3 if full else 1)  # each changes between blocked and plain layout
        work["bridge_macs"] += 2 * M * C * N
        work["softmax_elements"] += config.bridges.heads * M * N
        if full:
            pointwise(work, C, C, N)
            pointwise(work, C, C, N)

    def to_former(where: str, C: int, N: int) -> None:
        count = 1 + alive * (2 if config.bridges.gate else 1)
        bridge(account(where, "to_former"), "to_formers", C, N, count)

    def former(work: Counter[str]) -> None:
        work["formers"] += 1
        projections, ffn = 4 if config.former.projections == "full" else 2, config.former.ffn
        linears(work, projections + (2 if ffn else 0), D * D * (projections + 2 * ffn), M)

    def mobile(where: str, row: BlockConfig, inp: int, N_in: int, N: int) -> None:
        work = account(where, "mobile")
        if not row.has_tail:
            N_early = N if row.halves_first else N_in
            if row.before:
                depthwise(work, inp, inp, row.before, N_early)
            if row.fused:
                pointwise(work, inp, row.exp, N, taps=row.kernel**2)
            else:
                pointwise(work, inp, row.exp, N_early, groups)
                work["shuffled_elements"] += row.exp * N_early * (groups > 1)
            activation(where, row, "first", row.exp, N_early)
            if row.inside:
                depthwise(work, row.exp, row.exp, row.kernel, N)
            if len(row.activated) == 2:
                activation(where, row, "second", row.activated[1], N)
            pointwise(work, row.exp, row.out, N, groups)
            shuffled = row.out
        else:
            wide = row.tail * row.out
            depthwise(work, inp, row.exp, row.kernel, N)
            activation(where, row, "first", row.exp, N)
            pointwise(work, row.exp, row.out, N, groups)
            depthwise(work, row.out, wide, row.kernel, N)
            activation(where, row, "second", wide, N)
            pointwise(work, wide, row.out, N, groups)
            shuffled = row.exp + wide
        if groups > 1:
            work["shuffled_elements"] += shuffled * N

    account("run", "run")["network"] += 1
    side = -(-config.resolution // 2)
    account("stem", "mobile")["stem_macs"] += 27 * _padded(config.stem) * side * side
    side = -(-side // config.lite.stride)
    lite = account("lite", "mobile")
    if config.lite.mobile == "lite":
        depthwise(lite, config.stem, config.lite.exp, 3, side * side)
    else:
        pointwise(lite, config.stem, config.lite.exp, side * side, taps=9)
    pointwise(lite, config.lite.exp, config.lite.out, side * side, groups)
    width = config.lite.out
    for i, row in enumerate(config.blocks):
        where = str(i)
        if row.to_former:
            to_former(where, width, side * side)
            alive = True
        if row.former and alive:
            former(account(where, "former"))
        N_in, side = side * side, -(-side // row.stride)
        mobile(where, row, width, N_in, side * side)
        width = row.out
        if row.to_mobile:
            bridge(account(where, "to_mobile"), "to_mobiles", width, side * side, 2 * alive)
    if config.bridges.final:
        to_former("final", width, side * side)
    head = account("head", "head")
    pointwise(head, width, config.head.conv, side * side, groups)
    joined = config.head.conv + (D if M else 0)
    head["head_weights"] += joined * config.head.hidden + config.head.hidden * config.classes


def _padded(channels: int) -> int:
    return -(-channels // BLOCK) * BLOCK
