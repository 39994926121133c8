"""fvcore checks the closed form: it counts the built network, and we refuse operators that it cannot count."""

import warnings
from collections import Counter
from typing import Any, NamedTuple

import torch
from torch import nn

# Elementwise and bookkeeping operators that neither fvcore nor the paper counts. Any other operator that fvcore cannot
# count is an error here; fvcore itself would count it as zero, with a warning.
UNCOUNTED = frozenset(
    f"aten::{name}"
    for name in (
        *("add", "add_", "avg_pool2d", "div", "gelu", "hardsigmoid", "hardswish", "hardtanh", "pad"),
        *("maximum", "mean", "minimum", "mul", "relu6", "softmax", "sub"),
    )
)
PRODUCTS = frozenset({"conv", "linear", "addmm", "matmul", "bmm", "mm", "einsum"})


class CountError(RuntimeError):
    """fvcore met an operator that it cannot count and that is not in UNCOUNTED."""


class JudgedCount(NamedTuple):
    """fvcore's multiply-adds of one image: all (madds), products only (macs), by module name and by operator.

    uncounted: the operators that it met and counted as nothing, in order of their names.
    """

    madds: int
    macs: int
    by_module: dict[str, int]
    by_operator: dict[str, int]
    uncounted: list[str]


def judge_madds(model: nn.Module, resolution: int, allowed: frozenset[str] = UNCOUNTED) -> JudgedCount:
    """fvcore's count at batch 1 in eval mode; the model's own mode is restored. Raises CountError.

    allowed: the operators that may be left uncounted.
    """
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # fvcore (2022) uses deprecated functions of torch
            from fvcore.nn import FlopCountAnalysis

            analysis: Any = FlopCountAnalysis(model, torch.zeros(1, 3, resolution, resolution))
            analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
            by_operator: Counter[str] = analysis.by_operator()
            uncounted = sorted(analysis.unsupported_ops())
            unknown = [name for name in uncounted if name not in allowed]
            if unknown:
                raise CountError(f"fvcore must count all operators but UNCOUNTED, got {', '.join(unknown)}")
            by_module = {name: int(n) for name, n in analysis.by_module().items()}
    finally:
        model.train(training)
    return JudgedCount(
        madds=int(sum(by_operator.values())),
        macs=int(sum(n for name, n in by_operator.items() if name in PRODUCTS)),
        by_module=by_module,
        by_operator={name: int(n) for name, n in by_operator.items()},
        uncounted=uncounted,
    )
