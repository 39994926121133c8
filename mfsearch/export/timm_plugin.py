"""Mobile-Former for timm: import this module, or give `--device-modules mfsearch.export.timm_plugin` to its scripts.

It registers the seven published networks (`mobile_former_26m` to `mobile_former_508m`), those on MobileNetV4
(`mobile_former_v4_s`, `mobile_former_v4_m`) and `mobile_former`, which builds any network: model_kwargs
`{arch: {...}}` holds the content of an arch.yaml, `{bundle: DIR}` names a folder with one.
Weights have the names of `mfsearch.model.MobileFormer`, so a weights.safetensors of this package loads.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mfsearch.config import MobileFormerConfig, load_config
from mfsearch.model import MobileFormer
from mfsearch.presets import PRESETS, preset
from mfsearch.references.libraries import import_torchvision

import_torchvision()  # before timm, which fails if its build is not torch's

import timm  # noqa: E402
from timm.models import PretrainedCfg, build_model_with_cfg, generate_default_cfgs, register_model  # noqa: E402
from timm.models._features import feature_take_indices  # noqa: E402

Features = tuple[Tensor, Tensor | None]  # the last map [B, C, H, W], and the tokens [B, M, D] where there are any

NAMES = {name.replace("mf-", "mobile_former_"): name for name in PRESETS}
NAMES |= {f"mobile_former_v4_{size}": f"mf4-{size}" for size in ("s", "m")}


class TimmMobileFormer(MobileFormer):
    """A Mobile-Former with the methods that timm asks of its networks.

    `forward_features` returns the last map and the tokens, which the head reads. num_classes: 0 leaves the classifier
    out, None keeps the config's number. Raises ValueError unless in_chans is 3 and global_pool is avg.
    """

    def __init__(
        self,
        config: MobileFormerConfig,
        *,
        num_classes: int | None = None,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        if in_chans != 3:
            raise ValueError(f"in_chans must be 3, got {in_chans}: the stem reads RGB")
        if not 0 <= drop_path_rate < 1:
            raise ValueError(f"drop_path_rate must be from 0 and below 1, got {drop_path_rate}")
        _check_pool(global_pool)
        if num_classes is None:
            num_classes = config.classes
        if num_classes >= 2:
            config = dataclasses.replace(config, classes=num_classes)
        super().__init__(config, dropout=drop_rate, drop_path=drop_path_rate)
        self.in_chans = in_chans
        self.num_classes = config.classes
        self.global_pool = global_pool
        self.num_features = config.blocks[-1].out
        self.head_hidden_size = config.head.hidden
        self.feature_info = feature_info(config)
        if num_classes < 2:
            self.reset_classifier(num_classes)

    @property
    def _model_args(self) -> dict[str, Any]:
        """The arguments with which timm can rebuild the network elsewhere, without the bundle's folder."""
        return self._kept_args

    @_model_args.setter
    def _model_args(self, args: dict[str, Any]) -> None:
        if "bundle" in args:
            args = {key: value for key, value in args.items() if key != "bundle"} | {"arch": self.config.to_dict()}
        self._kept_args = args

    def forward_features(self, x_BCHW: Tensor) -> Features:
        return self.features(x_BCHW)

    def forward_head(self, features: Features, pre_logits: bool = False) -> Tensor:
        y: Tensor = self.head.pre_logits(*features) if pre_logits else self.head(*features)
        return y

    def get_classifier(self) -> nn.Module:
        return self.head.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier by a new one, initialised from torch's generator; by none if num_classes is 0."""
        if num_classes < 0:
            raise ValueError(f"num_classes must be 0 or more, got {num_classes}")
        if global_pool is not None:
            _check_pool(global_pool)
        hidden = self.head.hidden.weight  # says the device and the dtype
        self.num_classes = num_classes
        self.head.classifier = nn.Identity()  # type: ignore[assignment]  # as timm has it for no classes
        if num_classes:
            classifier = nn.Linear(self.head_hidden_size, num_classes, device=hidden.device, dtype=hidden.dtype)
            nn.init.normal_(classifier.weight, 0, 0.01)
            nn.init.zeros_(classifier.bias)
            self.head.classifier = classifier
        if num_classes >= 2:
            self.config = dataclasses.replace(self.config, classes=num_classes)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """The final features and the maps of `feature_info` at these indices (an int n: the last n).

        norm is ignored: maps are normalised already. stop_early: skip the blocks after the last requested map.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt must be NCHW, got {output_fmt!r}")
        take, last = feature_take_indices(len(self.feature_info), indices)
        wanted = {self.feature_info[k]["module"]: k for k in take}
        found: dict[int, Tensor] = {}

        def keep(name: str, x_BCHW: Tensor) -> None:
            if name in wanted:
                found[wanted[name]] = x_BCHW

        z_BMD = self.tokens.expand(x.shape[0], -1, -1) if self.tokens is not None else None
        x = self.stem(x)
        keep("stem", x)
        x = self.lite(x)
        keep("lite", x)
        stops = stop_early or intermediates_only
        for k, block in enumerate(self.blocks):
            if stops and last in found:
                break
            x, z_BMD = block(x, z_BMD)
            keep(f"blocks.{k}", x)
        maps = [found[k] for k in take]
        if intermediates_only:
            return maps
        if z_BMD is not None and self.final is not None:
            z_BMD, _ = self.final(x, z_BMD)
        return (x, z_BMD), maps

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop the blocks after the last map at these indices, and the head with the final bridge."""
        take, last = feature_take_indices(len(self.feature_info), indices)
        module = self.feature_info[last]["module"]
        self.blocks = self.blocks[: int(module.removeprefix("blocks.")) + 1 if module.startswith("blocks.") else 0]
        self.num_features = self.feature_info[last]["num_chs"]
        if prune_head:
            self.final = None
            self.head = nn.Identity()  # type: ignore[assignment]  # without it nothing but maps is asked for
            self.num_classes = 0
        return take

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        if enable:
            raise ValueError("gradient checkpointing is not supported: leave out grad_checkpointing")

    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        """Patterns that group parameters by depth, for layer-wise learning rates."""
        return {"stem": r"^(?:stem|lite|tokens)", "blocks": [(r"^blocks\.(\d+)", None), (r"^(?:final|head)", (99999,))]}


def _check_pool(name: str) -> None:
    if name != "avg":
        raise ValueError(f"global_pool must be avg, got {name!r}: the first token joins what is pooled")


def feature_info(config: MobileFormerConfig) -> list[dict[str, Any]]:
    """The last map of each size: channels, stride in input pixels, and the module."""
    places = [("stem", config.stem, 2), ("lite", config.lite.out, config.lite.stride)]
    places += [(f"blocks.{k}", row.out, row.stride) for k, row in enumerate(config.blocks)]
    last: dict[int, dict[str, Any]] = {}
    reduction = 1
    for name, channels, stride in places:
        reduction *= stride
        last[reduction] = {"num_chs": channels, "reduction": reduction, "module": name}
    return list(last.values())


def _cfg(config: MobileFormerConfig) -> PretrainedCfg:
    """timm's description of the data, the first convolution and the classifier."""
    return PretrainedCfg(
        input_size=(3, config.resolution, config.resolution),
        num_classes=config.classes,
        crop_pct=0.875,
        interpolation="bilinear",
        mean=timm.data.IMAGENET_DEFAULT_MEAN,
        std=timm.data.IMAGENET_DEFAULT_STD,
        first_conv="stem.conv.conv",
        classifier="head.classifier",
        paper_ids="arXiv:2108.05895",
    )


_ANY = PRESETS["mf-151m"]  # for the resolution and classes of a network that is not known yet
default_cfgs = generate_default_cfgs(
    {"mobile_former": _cfg(_ANY), **{name: _cfg(preset(ours)) for name, ours in NAMES.items()}}
)


def _build(name: str, config: MobileFormerConfig, pretrained: bool, kwargs: Mapping[str, Any]) -> nn.Module:
    feature_cfg = {"feature_cls": "getter", "out_indices": tuple(range(len(feature_info(config))))}
    model: nn.Module = build_model_with_cfg(
        lambda **options: TimmMobileFormer(config, **options), name, pretrained, feature_cfg=feature_cfg, **kwargs
    )
    return model


@register_model
def mobile_former(
    pretrained: bool = False,
    *,
    arch: Mapping[str, Any] | None = None,
    bundle: str | Path | None = None,
    **kwargs: Any,
) -> nn.Module:
    """Any Mobile-Former: from `arch`, the content of an arch.yaml, or from the folder `bundle` with an arch.yaml.

    pretrained: load the bundle's weights.safetensors; if the class count differs, the classifier is re-initialised.
    Raises ValueError unless exactly one of the two is given, for an invalid config, and if the weights are missing.
    """
    if (arch is None) == (bundle is None):
        given = "both" if arch is not None else "neither"
        raise ValueError(f"model_kwargs of mobile_former must have one of arch and bundle, got {given}")
    config = load_config(Path(bundle) / "arch.yaml") if bundle is not None else MobileFormerConfig.from_dict(arch or {})
    known = kwargs.get("pretrained_cfg")
    if not known or known == _REGISTERED:  # timm's train.py hands over what is registered
        own: dict[str, Any] = {"input_size": _cfg(config).input_size, "num_classes": config.classes}
        if pretrained and bundle is not None:
            weights = Path(bundle) / "weights.safetensors"
            if not weights.is_file():
                raise ValueError(f"{weights} does not exist: without pretrained the network starts from first weights")
            own["file"] = str(weights)
        kwargs["pretrained_cfg_overlay"] = own | (kwargs.get("pretrained_cfg_overlay") or {})
    return _build("mobile_former", config, pretrained, kwargs)


_REGISTERED = dataclasses.replace(_cfg(_ANY), architecture="mobile_former").to_dict()


def _entry(name: str, config: MobileFormerConfig) -> Callable[..., nn.Module]:
    def build(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        return _build(name, config, pretrained, kwargs)

    build.__name__ = build.__qualname__ = name
    return build


for _name, _preset in NAMES.items():
    register_model(_entry(_name, preset(_preset)))
