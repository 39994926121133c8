"""Peak activation memory by closed form: the largest sum of tensors that are live at the same time."""

from mfsearch.config import MobileFormerConfig

BYTES = 4  # fp32


def peak_activation_bytes(config: MobileFormerConfig) -> int:
    """Peak live activations of one image in fp32, in bytes.

    Counted at each convolution, attention and coefficient mix: its inputs, its output, and the tensors that a later
    operator still needs (the skip, the tokens, a pending attention map). Norms, activations and residual sums work in
    place. Weights are not activations.
    """
    M, h = config.tokens.count, config.bridges.heads
    T = M * config.tokens.dim
    full = config.bridges.projections == "full"

    side = -(-config.resolution // 2)
    live = 3 * config.resolution**2 + config.stem * side * side
    peak = live
    lite = config.lite
    N_in, side = side * side, -(-side // lite.stride)
    N = side * side
    skip = config.stem * N_in if lite.stride == 1 and config.stem == lite.out else 0
    peak = max(peak, config.stem * N_in + lite.exp * N, skip + (lite.exp + lite.out) * N)
    width = lite.out
    for row in config.blocks:
        N_in, side = side * side, -(-side // row.stride)
        N = side * side
        x = width * N_in
        if row.to_former:
            peak = max(peak, T + x * (3 if full else 1) + h * M * N_in)
        dyrelu = config.dyrelu.of(row)
        first, second = (dyrelu.coefficients if dyrelu.at(at) == "spatial" else 0 for at in ("first", "second"))
        N_early = N if row.halves_first else N_in
        beside = T + (M * N_early if dyrelu.source == "spatial" else 0)
        if not row.has_tail:
            skip = x if row.stride == 1 and width == row.out else 0
            before = width * N_early if row.before else 0
            wide, out = row.exp * N_early, row.out * N
            narrow = row.exp * N if row.inside else 0  # after the depthwise convolution
            live = max(
                x + before,
                (skip + before if before else x) + wide,  # expand
                skip + wide * (1 + first),  # DyReLU with coefficients per pixel
                skip + wide + narrow,  # depthwise
                skip + (narrow or out) * (1 + second),
                skip + (narrow or wide) + out,  # project
            )
        else:
            exp, tail, out = row.exp * N, row.tail * row.out * N, row.out * N
            live = max(x + exp, exp * (1 + first), exp + out, out + tail * (1 + second), out + tail + out)
        peak = max(peak, beside + live)
        if row.to_mobile:
            peak = max(peak, T + row.out * N * (3 if full else 2) + h * M * N)
        width = row.out
    x = width * side * side
    if config.bridges.final:
        peak = max(peak, T + x * (3 if full else 1) + h * M * side * side)
    peak = max(peak, T + x + config.head.conv * side * side)
    return peak * BYTES
