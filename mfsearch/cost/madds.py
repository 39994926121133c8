"""Multiply-adds and parameters by closed form, per part and per block; equal to fvcore and to the built module.

madds is the total of fvcore's FlopCountAnalysis in eval mode at batch 1: the products of convolutions, linears and
attention (`macs`), 2 per element of BatchNorm, 5 per element of LayerNorm, 1 per element of adaptive pooling. The total
is within 1 % of the published figures; the paper does not say how it counted. Elementwise work (activations, residual
sums, softmax, DyReLU's max) is not counted, here or in fvcore.
"""

from typing import NamedTuple

from mfsearch.config import LEARNED_SOURCES, BlockConfig, DyReLUConfig, MobileFormerConfig
from mfsearch.cost.memory import most_onnx_bytes, peak_activation_bytes

PARTS = ("mobile", "former", "to_former", "to_mobile", "dyrelu", "head")
PART_NAMES = {
    "mobile": "Mobile",
    "dyrelu": "DyReLU",
    "to_former": "Mobile->Former",
    "former": "Former",
    "to_mobile": "Mobile<-Former",
    "head": "head",
}

_Count = tuple[int, int, int]  # macs, other multiply-adds (norms and pooling), parameters


class PartCost(NamedTuple):
    """Cost of one part at one place; `where` is stem, lite, a block's index, final, head or tokens."""

    where: str
    part: str
    macs: int
    other: int
    num_params: int

    @property
    def madds(self) -> int:
        return self.macs + self.other


class Costs(NamedTuple):
    """Exact costs of one network at config.resolution and config.classes, known before it is built; onnx_bytes is an
    upper bound."""

    madds: int
    macs: int
    num_params: int
    activation_bytes: int
    onnx_bytes: int
    parts: tuple[PartCost, ...]

    def by_part(self) -> dict[str, dict[str, int]]:
        """madds, macs and num_params of each of PARTS, summed over the network."""
        return self._summed([(row.part, row) for row in self.parts], PARTS)

    def by_place(self) -> dict[str, dict[str, int]]:
        """The same for each place, in the order of the forward pass."""
        places = list(dict.fromkeys(row.where for row in self.parts))
        return self._summed([(row.where, row) for row in self.parts], places)

    @staticmethod
    def _summed(rows: list[tuple[str, PartCost]], keys: list[str] | tuple[str, ...]) -> dict[str, dict[str, int]]:
        sums = {key: {"madds": 0, "macs": 0, "num_params": 0} for key in keys}
        for key, row in rows:
            total = sums[key]
            total["madds"] += row.madds
            total["macs"] += row.macs
            total["num_params"] += row.num_params
        return sums


def count_costs(config: MobileFormerConfig) -> Costs:
    """Costs of the network `MobileFormer(config)`; takes about 50 us and does not need torch.

    At config.resolution and config.classes: multiply-adds, parameters, fp32 activation bytes, an upper bound for the
    bytes of the ONNX file, and what each part takes.
    """
    parts = _count_parts(config)
    macs, num_params = sum(row[2] for row in parts), sum(row[4] for row in parts)
    return Costs(
        madds=macs + sum(row[3] for row in parts),
        macs=macs,
        num_params=num_params,
        activation_bytes=peak_activation_bytes(config),
        onnx_bytes=most_onnx_bytes(config, num_params),
        parts=tuple(PartCost(*row) for row in parts),
    )


def count_madds(config: MobileFormerConfig) -> int:
    """The multiply-adds alone; the width solver calls this a dozen times for each proposal."""
    return sum(row[2] + row[3] for row in _count_parts(config))


def count_as_published(config: MobileFormerConfig) -> int:
    """Multiply-adds by the rule that gives the paper's own figures: products, and 1 per element of each convolution's
    BatchNorm and of DyReLU. fvcore counts 2 and 0 of these."""
    side = -(-config.resolution // 2)
    elements = config.stem * side * side
    side = -(-side // config.lite.stride)
    elements += (config.lite.exp + config.lite.out) * side * side
    width = config.lite.out
    for row in config.blocks:
        early, side = side, -(-side // row.stride)
        early = side if row.halves_first else early
        inner = row.activated[0] + (0 if row.fused else sum(row.activated[1:]))  # each with a BatchNorm
        elements += (row.out * (1 + row.has_tail) + inner - row.exp) * side * side
        elements += (row.exp + (row.before > 0) * width) * early * early
        for activation, channels, place in zip(("first", "second"), row.activated, (early, side), strict=False):
            elements += channels * place * place * (config.dyrelu.of(row).at(activation) in LEARNED_SOURCES)
        width = row.out
    return count_costs(config).macs + elements + config.head.conv * side * side


def _count_parts(config: MobileFormerConfig) -> list[tuple[str, str, int, int, int]]:
    M, D = config.tokens.count, config.tokens.dim
    groups = config.groups
    gate, full = config.bridges.gate, config.bridges.projections == "full"
    former = _former(config, M, D) if M else (0, 0, 0)
    rows: list[tuple[str, str, int, int, int]] = []
    if M:
        rows.append(("tokens", "former", 0, 0, M * D))

    side = -(-config.resolution // 2)
    rows.append(("stem", "mobile", *_conv(3, config.stem, 9, side * side, 1)))
    lite = config.lite
    side = -(-side // lite.stride)
    N = side * side
    dense = 1 if lite.mobile != "lite" else config.stem
    first = _sum(_conv(config.stem, lite.exp, 9, N, dense), _conv(lite.exp, lite.out, 1, N, groups))
    rows.append(("lite", "mobile", *first))
    width = lite.out
    for i, row in enumerate(config.blocks):
        where = str(i)
        N_in = side * side
        side = -(-side // row.stride)
        N = side * side
        if row.to_former:
            rows.append((where, "to_former", *_to_former(M, D, width, N_in, gate, full)))
        if row.former:
            rows.append((where, "former", *former))
        rows.append((where, "mobile", *_mobile(row, width, N_in, N, groups)))
        dyrelu = config.dyrelu.of(row)
        if dyrelu.source in LEARNED_SOURCES:
            rows.append((where, "dyrelu", *_dyrelu(dyrelu, row, M, D, N_in, N)))
        if row.to_mobile:
            rows.append((where, "to_mobile", *_to_mobile(M, D, row.out, N, full)))
        width = row.out
    if config.bridges.final:
        rows.append(("final", "to_former", *_to_former(M, D, width, side * side, gate, full)))
    rows.append(("head", "head", *_head(config, width, side * side)))
    return rows


def _sum(a: _Count, b: _Count) -> _Count:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


def _conv(inp: int, out: int, taps: int, positions: int, groups: int) -> _Count:
    """Convolution without bias and its BatchNorm."""
    weights = inp // groups * out * taps
    return weights * positions, 2 * out * positions, weights + 2 * out


def _mobile(row: BlockConfig, inp: int, N_in: int, N: int, groups: int) -> _Count:
    """The convolutions of one row, from its weights and normalised channels; those before the halving run at N_in."""
    taps, exp, out = row.kernel * row.kernel, row.exp, row.out
    if row.has_tail:
        wide = row.tail * out
        weights = (exp + wide) * taps + (exp + wide) * out // groups
        channels = exp + wide + 2 * out
        return weights * N, 2 * channels * N, weights + 2 * channels
    inside = exp if row.inside else 0
    weights, channels = exp * out // groups + inside * taps, inside + out
    early, normed = inp * exp * taps if row.fused else inp * exp // groups + inp * row.before**2, exp
    normed += inp if row.before else 0
    N_early = N if row.halves_first else N_in
    macs, other = weights * N + early * N_early, 2 * (channels * N + normed * N_early)
    return macs, other, weights + early + 2 * (channels + normed)


def _former(config: MobileFormerConfig, M: int, D: int) -> _Count:
    projections = 4 if config.former.projections == "full" else 2
    ffn = config.former.ffn
    norms = 2 if ffn else 1
    macs = M * D * D * (projections + 2 * ffn) + 2 * M * M * D
    params = projections * (D * D + D) + norms * 2 * D
    if ffn:
        params += 2 * ffn * D * D + ffn * D + D
    return macs, norms * 5 * M * D, params


def _to_former(M: int, D: int, C: int, N: int, gate: bool, full: bool) -> _Count:
    linears = 3 if gate else 2  # query, output, gate
    macs = linears * M * C * D + 2 * M * C * N
    params = linears * C * D + (linears - 1) * C + D + 2 * D
    if full:
        macs += 2 * C * C * N
        params += 2 * C * C
    return macs, 5 * M * D, params


def _to_mobile(M: int, D: int, C: int, N: int, full: bool) -> _Count:
    macs = 2 * M * C * D + 2 * M * C * N
    params = 2 * (C * D + C)
    if full:
        macs += 2 * C * C * N
        params += 2 * C * C
    return macs, 0, params


def _dyrelu(config: DyReLUConfig, row: BlockConfig, M: int, D: int, N_in: int, N_out: int) -> _Count:
    """The coefficient MLPs of a row's DyReLUs; "spatial" adds a mix per position, "pooled" adds the pooling."""
    source, coefficients = config.source, config.coefficients
    macs = other = params = 0
    for at, C, N in zip(("first", "second"), row.activated, (N_out if row.halves_first else N_in, N_out), strict=False):
        if config.position not in ("both", at):
            continue
        if source == "static":
            params += coefficients * C
            continue
        width = C if source == "pooled" else D
        hidden = config.hidden(width)
        weights = hidden * (width + coefficients * C)
        params += weights + hidden + coefficients * C
        if source == "spatial":
            macs += M * weights + coefficients * C * M * N
        else:
            macs += weights
        if source == "pooled":
            other += C * N
    return macs, other, params


def _head(config: MobileFormerConfig, width: int, N: int) -> _Count:
    conv, hidden, classes = config.head.conv, config.head.hidden, config.classes
    joined = conv + (config.tokens.dim if config.tokens.count else 0)
    macs, other, params = _conv(width, conv, 1, N, config.groups)
    macs += joined * hidden + hidden * classes
    other += conv * N + 2 * hidden
    params += joined * hidden + hidden + 2 * hidden + hidden * classes + classes
    return macs, other, params
