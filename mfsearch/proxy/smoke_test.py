"""A check of two seconds before training: finite loss, gradients everywhere, dynamic DyReLUs, distinct tokens."""

import math

import torch
import torch.nn.functional as F

from mfsearch.config import TOKEN_SOURCES, MobileFormerConfig
from mfsearch.model import MobileFormer
from mfsearch.model.dyrelu import DyReLU, StaticSlopes
from mfsearch.proxy.short_train import DeviceData, build_proxy

IMAGES = 8
PROBES = 64


class SmokeTestError(RuntimeError):
    """The network cannot be trained or deployed; the message becomes the trial's reason."""


def smoke_test(config: MobileFormerConfig, data: DeviceData, *, seed: int) -> None:
    """Raise SmokeTestError unless one training step of the network on real images is sound.

    The loss and gradients must be finite, every parameter must have a gradient, each DyReLU's coefficients must affect
    the loss and depend on their source, and the tokens after the last block must differ from one another.
    """
    model = build_proxy(config, data.data, seed).to(data.device)
    assert isinstance(model, MobileFormer)
    model.train()
    x_BCHW = data.normalized(data.train_images[:IMAGES])
    loss = F.cross_entropy(model(x_BCHW), data.train_labels[: len(x_BCHW)])
    if not math.isfinite(loss.item()):
        raise SmokeTestError(f"the loss before training must be finite, got {loss.item()}")
    loss.backward()  # type: ignore[no-untyped-call]
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            raise SmokeTestError(f"no gradient reaches {name}")
        if not bool(torch.isfinite(parameter.grad).all()):
            raise SmokeTestError(f"the gradient of {name} is not finite")
    _check_dyrelu(model)
    _check_tokens(config, model, x_BCHW)


@torch.no_grad()
def _check_dyrelu(model: MobileFormer) -> None:
    # Random sources, because a small MLP may output zero for the current token by chance and still work.
    generator = torch.Generator().manual_seed(0)
    for name, module in model.named_modules():
        if isinstance(module, DyReLU):
            static = isinstance(module, StaticSlopes)
            gradient = module.get_parameter("coefficients" if static else "expand.bias").grad
            if gradient is None or not bool(gradient.any()):
                raise SmokeTestError(f"the DyReLU {name} is dead: its coefficients get no gradient")
            if static:
                continue
            probes = torch.randn(PROBES, module.squeeze.in_features, generator=generator)
            theta = module.theta(probes.to(module.squeeze.weight.device))
            if bool((theta == theta[0]).all()):
                raise SmokeTestError(f"the DyReLU {name} is dead: its coefficients are the same for every source")


@torch.no_grad()
def _check_tokens(config: MobileFormerConfig, model: MobileFormer, x_BCHW: torch.Tensor) -> None:
    if config.tokens.count < 2:
        return
    seen: list[torch.Tensor] = []
    hook = model.blocks[-1].register_forward_hook(lambda _module, _inputs, output: seen.append(output[1]))
    model.eval()(x_BCHW)
    hook.remove()
    z_MD = seen[0][0]
    distance_MM = torch.cdist(z_MD, z_MD)
    distance_MM.fill_diagonal_(math.inf)
    if float(distance_MM.min()) < 1e-4 * float(z_MD.norm(dim=1).mean()):
        source = "feeds DyReLU" if config.dyrelu.source in TOKEN_SOURCES else "reads the image"
        raise SmokeTestError(f"two of the {config.tokens.count} tokens are equal where the last block {source}")
