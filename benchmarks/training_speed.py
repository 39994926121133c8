"""How fast mf-151m trains on one thread: our loop, a plain loop of the same network, and MobileNetV3-Large.

    python benchmarks/training_speed.py [--rounds 30] [--resolution 32] [--batch 128] [--json]

The plain loop is what one would write first: the network from the paper in contiguous NCHW, attention by matmul and
softmax, DyReLU as the larger of two products, torch's own AdamW. It is checked first to be the same training: from the
same weights and images, the losses of five steps in double precision are ours within 1e-5. MobileNetV3-Large goes
through our loop, channels-last, with our optimizer.

One step of each in every round, in turning order, in one process. Clock: CPU seconds of this thread, so that others on
the machine disturb little; a ratio is the median over rounds of the ratio inside a round. linear_products times the
matrix products of our linear layers alone, forward and for both gradients: no rewriting gets below them.

Last figures: AMD EPYC with 2 cores, torch 2.13.0, batch 128, load average about 4; 24 rounds at 32 px, 8 at 48 px.

                                           32 px   48 px
    ours against the plain loop             1.60    1.64
    ours against MobileNetV3-Large          0.52    0.63
    linear products over MobileNetV3-Large  0.86    0.52

The tokens cost the same at every resolution: at 32 px linear layers are 21.3 of our 24.0 million multiply-adds in
products, 19.2 of them over all six tokens, where MobileNetV3-Large has 7.1 million in all.
"""

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mfsearch.cost.reference_net import mobilenet_v3_large
from mfsearch.data import load_data
from mfsearch.data.augment import augment, normalize
from mfsearch.presets import MF_151M
from mfsearch.proxy.recipe import Recipe
from mfsearch.proxy.short_train import DeviceData, _Training

Step = Callable[[], float]  # trains on one batch and returns the loss

# in, exp, out, stride: mf-151m in Table 1 of arXiv:2108.05895
ROWS = (
    ( 12,  72,  16, 2),
    ( 16,  48,  16, 1),
    ( 16,  96,  32, 2),
    ( 32,  96,  32, 1),
    ( 32, 192,  64, 2),
    ( 64, 256,  64, 1),
    ( 64, 384,  88, 1),
    ( 88, 528,  88, 1),
    ( 88, 528, 128, 2),
    (128, 768, 128, 1),
    (128, 768, 128, 1),
)  # fmt: skip
M, D = 6, 192  # tokens and their width


class ConvNorm(nn.Module):
    def __init__(self, inp: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inp, out, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))  # type: ignore[no-any-return]


class DyReLU(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze, self.expand = nn.Linear(D, D // 4), nn.Linear(D // 4, 2 * channels)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        theta = 2 * (F.hardsigmoid(self.expand(torch.relu(self.squeeze(z[:, 0])))) - 0.5)
        first, second = theta.view(len(x), 2, -1, 1, 1).unbind(1)
        return torch.maximum((1 + first) * x, second * x)


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """softmax(q k / sqrt(c)) v in heads of c channels; all are [B, rows, channels]."""
    q, k, v = (y.reshape(len(y), y.shape[1], heads, -1).transpose(1, 2) for y in (q, k, v))
    shares = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(q.shape[3]), 3)
    return (shares @ v).transpose(1, 2).flatten(2)


class ToFormer(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query, self.gate = nn.Linear(D, channels), nn.Linear(D, channels)
        self.output, self.norm = nn.Linear(channels, D), nn.LayerNorm(D)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        local = x.flatten(2).transpose(1, 2)
        gathered = attention(self.query(z), local, local, 2) * (2 * F.hardsigmoid(self.gate(z)))
        return self.norm(z + self.output(gathered))  # type: ignore[no-any-return]


class Former(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.output, self.norm1 = nn.Linear(D, D), nn.Linear(D, D), nn.LayerNorm(D)
        self.ffn1, self.ffn2, self.norm2 = nn.Linear(D, 2 * D), nn.Linear(2 * D, D), nn.LayerNorm(D)

    def forward(self, z: Tensor) -> Tensor:
        z = self.norm1(z + self.output(attention(self.query(z), z, z, 4)))
        return self.norm2(z + self.ffn2(F.gelu(self.ffn1(z))))  # type: ignore[no-any-return]


class ToMobile(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.key, self.value = nn.Linear(D, channels), nn.Linear(D, channels)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        local = x.flatten(2).transpose(1, 2)
        mixed = attention(local, self.key(z), self.value(z), 2)
        return x + mixed.transpose(1, 2).view(x.shape)


class Mobile(nn.Module):
    def __init__(self, inp: int, exp: int, out: int) -> None:
        super().__init__()
        self.skip = inp == out
        self.expand, self.act1 = ConvNorm(inp, exp), DyReLU(exp)
        self.depthwise, self.act2 = ConvNorm(exp, exp, 3, groups=exp), DyReLU(exp)
        self.project = ConvNorm(exp, out)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        y: Tensor = self.project(self.act2(self.depthwise(self.act1(self.expand(x), z)), z))
        return x + y if self.skip else y


class MobileDown(nn.Module):
    def __init__(self, inp: int, exp: int, out: int) -> None:
        super().__init__()
        self.depthwise1, self.act1 = ConvNorm(inp, exp, 3, 2, groups=inp), DyReLU(exp)
        self.project1 = ConvNorm(exp, out)
        self.depthwise2, self.act2 = ConvNorm(out, 4 * out, 3, groups=out), DyReLU(4 * out)
        self.project2 = ConvNorm(4 * out, out)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        x = self.project1(self.act1(self.depthwise1(x), z))
        return x + self.project2(self.act2(self.depthwise2(x), z))  # type: ignore[no-any-return]


class Block(nn.Module):
    def __init__(self, inp: int, exp: int, out: int, stride: int) -> None:
        super().__init__()
        self.to_former, self.former, self.to_mobile = ToFormer(inp), Former(), ToMobile(out)
        self.mobile = (MobileDown if stride == 2 else Mobile)(inp, exp, out)

    def forward(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        z = self.former(self.to_former(x, z))
        return self.to_mobile(self.mobile(x, z), z), z


class Lite(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.depthwise, self.project = ConvNorm(12, 24, 3, groups=12), ConvNorm(24, 12)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.project(F.relu6(self.depthwise(x)))  # type: ignore[no-any-return]


class Head(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv, self.hidden = ConvNorm(128, 768), nn.Linear(768 + D, 1280)
        self.norm, self.classifier = nn.BatchNorm1d(1280), nn.Linear(1280, classes)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        pooled = F.hardswish(F.relu6(self.conv(x)).mean((2, 3)))
        hidden = self.hidden(torch.cat([pooled, z[:, 0]], 1))
        return self.classifier(F.hardswish(self.norm(hidden)))  # type: ignore[no-any-return]


class PlainMobileFormer(nn.Module):
    """mf-151m as the paper's parts, one after the other, with the parameter names of ours."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.ModuleDict({"conv": ConvNorm(3, 12, 3, 2)})
        self.lite = Lite()
        self.blocks = nn.ModuleList(Block(*row) for row in ROWS)
        self.final = ToFormer(128)
        self.head = Head(classes)
        self.tokens = nn.Parameter(torch.randn(M, D))

    def forward(self, x: Tensor) -> Tensor:
        z = self.tokens.expand(len(x), M, D)
        x = self.lite(F.relu6(self.stem["conv"](x)))
        for block in self.blocks:
            x, z = block(x, z)
        return self.head(x, self.final(x, z))  # type: ignore[no-any-return]


def plain_loop(data: DeviceData, recipe: Recipe, weights: dict[str, Tensor]) -> Step:
    """The plain network from these weights, trained as our loop does it: same images, rates, decay and averaging."""
    model = PlainMobileFormer(len(data.data.classes))
    model.to(weights["tokens"].dtype).load_state_dict(weights)
    decayed = [p for name, p in model.named_parameters() if p.ndim > 1 and name != "tokens"]
    others = [p for name, p in model.named_parameters() if p.ndim <= 1 or name == "tokens"]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}], recipe.lr
    )
    average = [p.detach().clone() for p in model.parameters()]
    per_epoch = len(data.train_images) // recipe.batch
    warmup = max(1, round(recipe.warmup * per_epoch))
    count = 0

    def step() -> float:
        nonlocal count
        epoch, k = divmod(count, per_epoch)
        # a seed for the order of an epoch and one for the crops of a step, as short_train draws them with seed 0
        order = torch.randperm(len(data.train_images), generator=torch.Generator().manual_seed(epoch))
        chosen = order[k * recipe.batch : (k + 1) * recipe.batch]
        generator = torch.Generator().manual_seed(1_000_003 + count)
        images = augment(data.train_images[chosen], generator, flip=data.data.flip, pad=recipe.crop)
        x = normalize(images, data.data.mean, data.data.std).to(model.tokens.dtype).contiguous()
        logits = model(x)
        loss = F.cross_entropy(logits, data.train_labels[chosen])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        count += 1
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * min(1.0, count / warmup)
        optimizer.step()
        with torch.no_grad():
            for own, p in zip(average, model.parameters(), strict=True):
                own.lerp_(p, (recipe.average + 1) / (count + recipe.average))
        return loss.item()

    return step


def our_loop(run: _Training) -> Step:
    """The steps of a short training, as `mfsearch run` takes them."""

    def step() -> float:
        before = run.loss_sum.item()
        run.train_step(sys.maxsize)
        return run.loss_sum.item() - before

    return step


def mobilenet_training(data: DeviceData, recipe: Recipe) -> _Training:
    """A short training whose network is MobileNetV3-Large."""
    model = mobilenet_v3_large(len(data.data.classes)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with mock.patch("mfsearch.proxy.short_train.build_proxy", return_value=model):
        return _Training(MF_151M, data, recipe, 0)


class DoubleData(DeviceData):
    def normalized(self, images_BCHW: Tensor) -> Tensor:
        return super().normalized(images_BCHW).double()


def check_same(data: DeviceData, recipe: Recipe) -> float:
    """The largest relative difference between the losses of our first five steps and the plain ones.

    In double precision: AdamW's first steps have the size of the rate however small a gradient is, so that in single
    precision even two orders of summation part after two steps.
    """
    run = _Training(MF_151M, DoubleData(data.data, data.device), recipe, 0)
    run.model.double()
    run.average = [value.double() for value in run.average]
    ours, plain = our_loop(run), plain_loop(data, recipe, copied_weights(run))
    losses = [(ours(), plain()) for _ in range(5)]
    difference = max(abs(one / two - 1) for one, two in losses)
    if not difference < 1e-5:
        raise RuntimeError(f"the plain loop must be the same training: losses differ by {difference:.1e} in {losses}")
    return difference


def linear_products(run: _Training) -> Step:
    """The matrix products of our linear layers alone, forward and for both gradients: a bound on what code can save."""
    shapes: list[tuple[int, int, int]] = []

    def note(layer: nn.Linear, _inputs: object, output: Tensor) -> None:
        shapes.append((output.numel() // layer.out_features, layer.in_features, layer.out_features))

    for module in run.model.modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(note)
    run.train_step(sys.maxsize)
    triples = [(torch.randn(rows, inp), torch.randn(out, inp), torch.randn(rows, out)) for rows, inp, out in shapes]

    def step() -> float:
        for x, w, g in triples:
            x @ w.T, g @ w, g.T @ x
        return 0.0

    return step


def copied_weights(run: _Training) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in run.model.state_dict().items()}


def measure(steps: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each step in each round, after three rounds of warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    names = list(steps)
    for k in range(3 + rounds):
        for name in names:
            begin = time.thread_time()
            steps[name]()
            if k >= 3:
                seconds[name].append(time.thread_time() - begin)
        names = names[1:] + names[:1]
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--resolution", type=int, default=32, help="pixels (32)")
    parser.add_argument("--batch", type=int, default=128, help="images a step (128)")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = DeviceData(load_data("digits", resolution=args.resolution, val_samples=100), torch.device("cpu"))
    recipe = Recipe(resolution=args.resolution, epochs=1, batch=args.batch, crop=2)
    difference = check_same(data, recipe)
    run = _Training(MF_151M, data, recipe, 0)
    steps = {
        "ours": our_loop(run),
        "plain": plain_loop(data, recipe, copied_weights(run)),
        "mobilenet_v3_large": our_loop(mobilenet_training(data, recipe)),
        "linear_products": linear_products(_Training(MF_151M, data, recipe, 0)),
    }
    seconds = measure(steps, args.rounds)

    def ratio(above: str, below: str) -> float:
        return statistics.median(a / b for a, b in zip(seconds[above], seconds[below], strict=True))

    result = {
        "resolution": args.resolution,
        "batch": args.batch,
        "rounds": args.rounds,
        "threads": 1,
        "torch": str(torch.__version__),
        "loss_difference": difference,
        "step_seconds": {name: round(statistics.median(values), 4) for name, values in seconds.items()},
        "fastest_step_seconds": {name: round(min(values), 4) for name, values in seconds.items()},
        "times_as_fast_as": {name: round(ratio(name, "ours"), 3) for name in ("plain", "mobilenet_v3_large")},
        "linear_products_over_mobilenet": round(ratio("linear_products", "mobilenet_v3_large"), 3),
    }
    if args.json:
        print(json.dumps(result))
        return 0
    for name, values in seconds.items():
        middle, fastest = statistics.median(values), min(values)
        print(
            f"{name:20} {args.batch / middle:6.0f} images/s, {1e3 * middle:.0f} ms a step, fastest {1e3 * fastest:.0f}"
        )
    print(f"ours trains {ratio('plain', 'ours'):.2f} times as fast as the plain loop")
    print(f"ours trains {ratio('mobilenet_v3_large', 'ours'):.2f} times as fast as MobileNetV3-Large")
    print(f"our linear layers' products alone take {ratio('linear_products', 'mobilenet_v3_large'):.2f} of its step")
    print(f"losses of five steps in double precision differ by {difference:.1e}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
