"""Peak activation memory and the size of the ONNX file by closed form.

The peak is the largest sum of tensors that are live at the same time.
"""

from mfsearch.config import DYNAMIC_SOURCES, LEARNED_SOURCES, MobileFormerConfig

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
        second = second if len(row.activated) == 2 else 0
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


def most_onnx_bytes(config: MobileFormerConfig, num_params: int) -> int:
    """At most the bytes of the ONNX file that `mfsearch.cost.onnx_graph` writes, for one image or any number.

    Four bytes for each parameter, though BatchNorms are folded; the masks that spread heads over rows, of which equal
    ones are stored once up to 4096 values; and the text of the graph, at the longest that each part was measured. Its
    metadata may hold class names of 32 bytes on average.
    """
    M, D, heads = config.tokens.count, config.tokens.dim, config.bridges.heads
    full = 850 * (config.bridges.projections == "full")
    grouped = 950 * (config.groups > 1)
    rows = heads * M if heads > 1 else 0
    masks: list[tuple[int, int]] = []
    text = 8_000 + 300 * (config.lite.exp // config.stem) + 32 * config.classes
    offsets = 0  # that DyReLUs with intercepts keep beside their parameters
    width = config.lite.out
    reads: list[int] = []  # the widths of the Mobile->Former bridges
    learned = True  # whether the first of them reads the learned tokens: its query and gate are constants then
    for row in config.blocks:
        if row.to_former:
            reads.append(width)
        if row.former:
            learned = learned and bool(reads)
            text += 3_250 if config.former.ffn else 2_200
            masks += [(config.former.heads * M, D)] * 2
        dyrelu = config.dyrelu.of(row)
        for at in ("first", "second"):
            text += 200 * dyrelu.coefficients if dyrelu.at(at) in LEARNED_SOURCES else 100
            text += 1_200 if dyrelu.at(at) in DYNAMIC_SOURCES else 0
        for at, channels in zip(("first", "second"), row.activated, strict=False):
            if dyrelu.intercepts and dyrelu.at(at) in DYNAMIC_SOURCES:
                offsets += 2 * dyrelu.coefficients * channels
        text += 200 + grouped + 300 * (row.exp // width + row.tail + 2 if row.stride == 2 else 4)
        if row.to_mobile:
            text += 2_550 + full
            masks += [(rows, row.out)] * 2
        width = row.out
    if config.bridges.final:
        reads.append(width)
    text += (2_700 + full) * len(reads)
    masks += [(rows, read) for read in reads] * 2
    small = {mask for mask in masks if mask[0] * mask[1] <= 4096}
    large = [mask for mask in masks if mask[0] * mask[1] > 4096]
    between = M * (heads * heads * M + 4 * heads * M + config.former.heads * M)  # products over tokens alone
    values = num_params + offsets + sum(high * wide for high, wide in [*small, *large]) + between
    if reads and learned:
        gate = config.bridges.gate
        values -= reads[0] * ((1 + gate) * (D + 1) - (heads + gate) * M)
    return BYTES * values + text
