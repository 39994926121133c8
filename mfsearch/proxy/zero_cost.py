"""Scores of a network without training: synflow, NASWOT, Zen. More is better. A score that ranks networks no better
than multiply-adds is not worth showing.

Each function builds its own network from config and seed, so no caller's weights, mode or gradients change. `images` is
a normalised batch; synflow and Zen use only its shape and device. Shapes: B images, C channels, H x W positions.
"""

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mfsearch.config import MobileFormerConfig
from mfsearch.model import MobileFormer
from mfsearch.model.mobile import ConvNorm, LiteBottleneck, Mobile

Score = Callable[[MobileFormerConfig, Tensor, int], float]

SMALL = 1e-60  # scale of synflow's input: below every kink of ReLU6, h-swish and GELU, well inside float64's range
PERTURBATION = 0.01  # alpha of arXiv:2102.01063


def synflow(config: MobileFormerConfig, images_BCHW: Tensor, seed: int) -> float:
    """log of the synaptic flow, sum of |w dR/dw| over all kernels, matrices and tokens (arXiv:2006.05467).

    R is the sum of the logits for an image of ones, with all weights made positive and the norms removed. Image and
    tokens are scaled towards 0, where the network is linear: ReLU6 clips nothing, every attention is a plain mean, and
    a DyReLU is the ReLU it is initialised to.
    """
    model = MobileFormer(config, seed=seed).to(images_BCHW.device)
    return synaptic_flow(model, torch.ones_like(images_BCHW[:1]))


def synaptic_flow(model: nn.Module, image_1CHW: Tensor) -> float:
    """log of sum |w dR/dw| of a copy of `model`, in float64 and eval mode, with image and tokens scaled by SMALL."""
    model = copy.deepcopy(model).double().eval()
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.LayerNorm | nn.BatchNorm1d | nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    weights = [p for p in model.parameters() if p.ndim > 1]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.abs_().mul_(SMALL if name == "tokens" else 1.0)
    flow = model(image_1CHW.double() * SMALL).sum()
    gradients = torch.autograd.grad(flow, weights, allow_unused=True)
    parts = [(w.detach() * g).abs().sum().item() for w, g in zip(weights, gradients, strict=True) if g is not None]
    return math.log(sum(parts)) - math.log(SMALL)


def naswot(config: MobileFormerConfig, images_BCHW: Tensor, seed: int) -> float:
    """log |K|; K[i, j] counts activations with images i and j on the same side of 0 (arXiv:2006.04647).

    It counts the inputs of all activations of the Mobile path: in the stem, in the lite bottleneck, twice in every
    block and after the head's 1x1, for any function (ReLU6, ReLU, DyReLU and h-swish all bend near 0). GELU in the
    Former and the small MLPs inside DyReLU are left out. BatchNorm uses the batch, as at the first training step.
    """
    model = MobileFormer(config, seed=seed).to(images_BCHW.device).train()
    kernel_BB = torch.zeros(len(images_BCHW), len(images_BCHW), dtype=torch.float64, device=images_BCHW.device)

    def count(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        kernel_BB.add_(same_side(output.flatten(1)))

    pairs = [one.project for one in model.modules() if isinstance(one, Mobile) and one.depthwise is None and one.act2]
    for name, module in model.named_modules():
        linear = name.rpartition(".")[2].startswith(("project", "before"))  # no activation follows
        if isinstance(module, ConvNorm) and (not linear or module in pairs):
            module.register_forward_hook(count)
    with torch.no_grad():
        model(images_BCHW)
    score = float(torch.linalg.slogdet(kernel_BB).logabsdet)
    if not math.isfinite(score):
        raise ValueError(f"NASWOT has no score: two of the {len(images_BCHW)} images have equal activations")
    return score


def same_side(values_BA: Tensor) -> Tensor:
    """K[i, j] = number of columns where rows i and j are both above 0 or both not."""
    above_BA = (values_BA > 0).to(values_BA.dtype)
    below_BA = 1 - above_BA
    return (above_BA @ above_BA.T + below_BA @ below_BA.T).double()


def zen(config: MobileFormerConfig, images_BCHW: Tensor, seed: int) -> float:
    """Zen score: the change of the last features when noise is added to a Gaussian image (arXiv:2102.01063).

    The features are the head's 1x1 before its activation. Convolutions of the Mobile path are drawn from N(0, 1); all
    other weights keep their initial values. Skips are removed as in the paper, except inside stride-2 blocks, where the
    skip is the only way past the first half.
    """
    model = MobileFormer(config, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, ConvNorm):
            module.conv.weight.data.normal_(generator=generator)
        elif isinstance(module, Mobile | LiteBottleneck):
            module.skip = False
    x_BCHW, noise_BCHW = (torch.randn(images_BCHW.shape, generator=generator) for _ in range(2))
    device = images_BCHW.device
    return gaussian_complexity(model.to(device), model.head.conv, x_BCHW.to(device), noise_BCHW.to(device))


@torch.no_grad()
def gaussian_complexity(model: nn.Module, features: nn.Module, x_BCHW: Tensor, noise_BCHW: Tensor) -> float:
    """log E |f(x) - f(x + 0.01 noise)| + sum over BatchNorm2d of log sqrt(mean variance of its input).

    f is the output of the module `features` with a copy of `model` in training mode. The sum restores the scale that
    the norms remove.
    """
    model, features = copy.deepcopy((model, features))  # together, so that features stays a part of model
    model.train()
    seen: list[Tensor] = []
    scale: list[Tensor] = []
    features.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    hooks = [
        module.register_forward_pre_hook(lambda _module, inputs: scale.append(inputs[0].var((0, 2, 3), correction=0)))
        for module in model.modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    model(x_BCHW)
    for hook in hooks:
        hook.remove()
    model(x_BCHW + PERTURBATION * noise_BCHW)
    moved_B = (seen[0] - seen[1]).flatten(1).norm(dim=1)
    return math.log(float(moved_B.mean())) + sum(0.5 * math.log(float(variance_C.mean())) for variance_C in scale)


ZERO_COST: dict[str, Score] = {"synflow": synflow, "naswot": naswot, "zen": zen}
