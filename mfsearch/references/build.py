"""Builds the networks of other families: by timm or torchvision where they have them, else by the files beside this."""

import itertools
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from mfsearch.references.libraries import import_library
from mfsearch.references.published import Reference
from mfsearch.references.pvt import PVTTiny
from mfsearch.references.t2t_vit import T2TViT7
from mfsearch.references.weightnet import LAST, REPEATS, SHUFFLE_WIDTHS, STEM, weightnet


def build_reference(reference: Reference, resolution: int | None = None) -> nn.Module:
    """The network in eval mode with seeded first weights, fused as it is deployed: images to logits of 1000 classes.

    resolution: of the images, by default the published one. ValueError if the network is not one of a fixed table, if
    timm or torchvision is missing, or if the network cannot take that size.
    """
    built = _build(reference, resolution, seed=0).eval()
    model: nn.Module = import_library("timm.models").reparameterize_model(built, inplace=True)
    for module in model.modules():
        if getattr(module, "fused_attn", False):
            module.fused_attn = False  # type: ignore[assignment]  # two products that can be counted
    return model.eval()


def build_to_train(reference: Reference, resolution: int, classes: int, seed: int) -> nn.Module:
    """The network in train mode, not fused, with seeded first weights and classifiers of so many classes.

    ValueError as `build_reference`.
    """
    model = _build(reference, resolution, seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, module in list(model.named_modules()):
            if isinstance(module, nn.Linear) and module.out_features == CLASSES:
                parent, _, last = name.rpartition(".")
                linear = nn.Linear(module.in_features, classes, bias=module.bias is not None)
                nn.init.trunc_normal_(linear.weight, std=0.02)
                if linear.bias is not None:
                    nn.init.zeros_(linear.bias)
                setattr(model.get_submodule(parent), last, linear)
    return model.train()


def _build(reference: Reference, resolution: int | None, *, seed: int) -> nn.Module:
    side = resolution or reference.resolution
    if side is None or not reference.built_elsewhere:
        raise ValueError(f"{reference.name} cannot be built: {reference.note or 'it is a preset of this package'}")
    timm = import_library("timm")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            if reference.name in BUILDERS:
                return BUILDERS[reference.name](side)
            sized = {"img_size": side} if reference.family in SIZED else {}
            model: nn.Module = timm.create_model(reference.timm, pretrained=False, **sized)
            return model
        except (AssertionError, RuntimeError, ValueError) as error:
            raise ValueError(f"{reference.name} cannot take images of {side} px: {error}") from None


def _mobilenet_v3_large_125(side: int) -> nn.Module:
    generate = import_library("timm.models.mobilenetv3")._gen_mobilenet_v3
    model: nn.Module = generate("mobilenetv3_large_100", 1.25)
    return model


def _shufflenet_v2(size: str, side: int) -> nn.Module:
    """By torchvision, with the widths that arXiv:2007.11823 printed these figures for."""
    create = import_library("torchvision.models.shufflenetv2").ShuffleNetV2
    model: nn.Module = create(list(REPEATS), [STEM, *SHUFFLE_WIDTHS[size], LAST])
    return model


def _weightnet(size: str, side: int) -> nn.Module:
    return weightnet(size)


def _vit_c(side: int) -> nn.Module:
    """ViT_C-1GF (arXiv:2106.14881): a stem of convolutions instead of patches, 11 blocks, MLPs three times as wide."""
    widths = (3, 24, 48, 96, 192)
    convs = [
        (nn.Conv2d(channels, out, 3, 2, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU())
        for channels, out in itertools.pairwise(widths)
    ]
    stem = nn.Sequential(*itertools.chain(*convs))
    stem.num_features = widths[-1]  # type: ignore[assignment]  # timm asks for it
    embed = partial(import_library("timm.layers").HybridEmbed, stem, feature_size=side // 16)
    create = import_library("timm.models.vision_transformer").VisionTransformer
    model: nn.Module = create(
        img_size=side, embed_dim=192, depth=11, num_heads=3, mlp_ratio=3, embed_layer=embed, patch_size=1
    )
    return model


def _swin_1g(side: int) -> nn.Module:
    """Swin-T (arXiv:2103.14030) with half of its widths."""
    create = import_library("timm.models.swin_transformer").SwinTransformer
    model: nn.Module = create(img_size=side, embed_dim=48, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24))
    return model


def _t2t_vit_7(side: int) -> nn.Module:
    return T2TViT7(import_library("timm.models.vision_transformer").Block, side)


CLASSES = 1000  # of ImageNet-1k, which all were published for
SIZED = ("DeiT", "ConViT", "CoaT", "LeViT")  # families whose tables of positions are made for one size
BUILDERS: dict[str, Callable[[int], nn.Module]] = {  # by name, those that timm does not name
    "MobileNetV3 Large 1.25": _mobilenet_v3_large_125,
    **{f"ShuffleNetV2 {size}": partial(_shufflenet_v2, size) for size in SHUFFLE_WIDTHS},
    **{f"WeightNet ShuffleNetV2 {size}, 4x": partial(_weightnet, size) for size in SHUFFLE_WIDTHS},
    "T2T-ViT 7": _t2t_vit_7,
    "PVT Tiny": PVTTiny,
    "ViT_C 1GF": _vit_c,
    "Swin 1G": _swin_1g,
}
