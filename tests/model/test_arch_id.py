"""arch_id names what is built: equal where the network is the same, different where anything of it differs."""

import dataclasses
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from mfsearch.config import (
    BRIDGES,
    SOURCES,
    BridgeConfig,
    DyReLUConfig,
    MobileFormerConfig,
    TokenConfig,
)
from mfsearch.cost.madds import count_madds
from mfsearch.model import MobileFormer
from tests.random_configs import SMALL, random_config

NO_BRIDGE = tuple(dataclasses.replace(row, bridge="none", former=False) for row in SMALL.blocks)
BARE = dataclasses.replace(
    SMALL,
    tokens=TokenConfig(0, 0),
    blocks=NO_BRIDGE,
    bridges=BridgeConfig(final=False),
    dyrelu=DyReLUConfig("none"),
)


def with_rows(config: MobileFormerConfig, **fields: Any) -> MobileFormerConfig:
    return dataclasses.replace(config, blocks=tuple(dataclasses.replace(row, **fields) for row in config.blocks))


def part(config: MobileFormerConfig, name: str, **fields: Any) -> MobileFormerConfig:
    return dataclasses.replace(config, **{name: dataclasses.replace(getattr(config, name), **fields)})


NO_FORMER = with_rows(SMALL, former=False)
ONLY_TO_MOBILE = part(with_rows(SMALL, bridge="to_mobile"), "bridges", final=False)
ONE_TOKEN = part(SMALL, "tokens", count=1)
ONE_TO_MOBILE = part(ONLY_TO_MOBILE, "tokens", count=1)
STRIDE_1 = with_rows(SMALL, stride=1)

# Pairs of settings that build one network, by hand.
SAME = {
    "token width without tokens": (BARE, part(BARE, "tokens", dim=64)),
    "token scale without tokens": (BARE, part(BARE, "tokens", init_std=0.02)),
    "token scale as 1 and 1.0": (part(SMALL, "tokens", init_std=1), part(SMALL, "tokens", init_std=1.0)),
    "former's heads without a former": (NO_FORMER, part(NO_FORMER, "former", heads=2)),
    "former's ffn without a former": (NO_FORMER, part(NO_FORMER, "former", ffn=0)),
    "former's projections without a former": (NO_FORMER, part(NO_FORMER, "former", projections="full")),
    "former's heads over one token": (ONE_TOKEN, part(ONE_TOKEN, "former", heads=1)),
    "gate without mobile to former": (ONLY_TO_MOBILE, part(ONLY_TO_MOBILE, "bridges", gate=False)),
    "bridges' heads to mobile of one token": (ONE_TO_MOBILE, part(ONE_TO_MOBILE, "bridges", heads=1)),
    "bridges' heads without a bridge": (BARE, part(BARE, "bridges", heads=4)),
    "bridges' projections without a bridge": (BARE, part(BARE, "bridges", projections="full")),
    "gate without a bridge": (BARE, part(BARE, "bridges", gate=False)),
    "slopes of relu": (BARE, part(BARE, "dyrelu", slopes=3)),
    "intercepts of relu": (BARE, part(BARE, "dyrelu", intercepts=True)),
    "reduction of relu": (BARE, part(BARE, "dyrelu", reduction=8)),
    "position of relu": (BARE, part(BARE, "dyrelu", position="second")),
    "slopes of h-swish": (part(SMALL, "dyrelu", source="hswish"), part(SMALL, "dyrelu", source="hswish", slopes=3)),
    "reductions to the same width": (part(SMALL, "dyrelu", reduction=12), part(SMALL, "dyrelu", reduction=15)),
    "reductions beyond the width": (part(SMALL, "dyrelu", reduction=31), part(SMALL, "dyrelu", reduction=17)),
    "reductions of pooled features to the same widths": (
        part(SMALL, "dyrelu", source="pooled", position="first", reduction=9),
        part(SMALL, "dyrelu", source="pooled", position="first", reduction=11),
    ),
    "mean of one token": (ONE_TOKEN, part(ONE_TOKEN, "dyrelu", source="mean_token")),
    "tail of a stride-1 row": (STRIDE_1, with_rows(STRIDE_1, tail=2)),
}

# Settings of which each two build different networks, close to a canonicalisation above.
DIFFERENT = {
    "token scale": (SMALL, part(SMALL, "tokens", init_std=0.5)),
    "former's heads": (SMALL, part(SMALL, "former", heads=2)),
    "heads of mobile to former over one token": (ONE_TOKEN, part(ONE_TOKEN, "bridges", heads=1)),
    "heads of former to mobile": (ONLY_TO_MOBILE, part(ONLY_TO_MOBILE, "bridges", heads=1)),
    "projections to mobile": (ONLY_TO_MOBILE, part(ONLY_TO_MOBILE, "bridges", projections="full")),
    "position of h-swish": (
        part(SMALL, "dyrelu", source="hswish"),
        part(SMALL, "dyrelu", source="hswish", position="first"),
    ),
    "mean of three tokens": (SMALL, part(SMALL, "dyrelu", source="mean_token")),
    "one token mixed per pixel costs more": (ONE_TOKEN, part(ONE_TOKEN, "dyrelu", source="spatial")),
    "reductions of pooled features": (
        part(SMALL, "dyrelu", source="pooled", reduction=9),
        part(SMALL, "dyrelu", source="pooled", reduction=11),
    ),
    "tail of a stride-2 row": (SMALL, with_rows(SMALL, tail=2)),
    "resolution": (SMALL, dataclasses.replace(SMALL, resolution=48)),
}


class Built:
    """What a config builds: the shapes of its state, its outputs with weights drawn by name, its multiply-adds."""

    def __init__(self, config: MobileFormerConfig) -> None:
        model = MobileFormer(config).double()
        generator = torch.Generator()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name != "tokens":  # as drawn, for init_std to show
                    generator.manual_seed(zlib.crc32(name.encode()))
                    parameter.normal_(0.2 if parameter.ndim == 1 else 0, 0.4, generator=generator)
            images = torch.randn(3, 3, 64, 64, dtype=torch.float64, generator=generator.manual_seed(0))
            # in train mode BatchNorm keeps the signal alive, but takes off what is the same for every image
            self.outputs: Tensor = torch.cat([model(images), model.eval()(images)])
        self.shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
        self.madds = count_madds(config)

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, Built)
        return (
            self.shapes == other.shapes
            and self.madds == other.madds
            and torch.allclose(self.outputs, other.outputs, rtol=1e-9, atol=1e-9)
        )


@pytest.mark.parametrize("pair", SAME.values(), ids=SAME)
def test_settings_without_effect_share_an_arch_id(pair: tuple[MobileFormerConfig, MobileFormerConfig]) -> None:
    one, other = pair
    assert Built(one) == Built(other)
    assert one.arch_id == other.arch_id


@pytest.mark.parametrize("pair", DIFFERENT.values(), ids=DIFFERENT)
def test_settings_with_an_effect_have_arch_ids_of_their_own(
    pair: tuple[MobileFormerConfig, MobileFormerConfig],
) -> None:
    one, other = pair
    assert Built(one) != Built(other)
    assert one.arch_id != other.arch_id


def neighbours(config: MobileFormerConfig) -> Iterator[tuple[str, MobileFormerConfig]]:
    """Every field of the config changed in turn, where what results can be built."""
    inputs = [config.lite.out, *(row.out for row in config.blocks)]
    choices: dict[str, dict[str, tuple[Any, ...]]] = {
        "tokens": {"count": (1, 3, 4), "dim": (32, 64), "init_std": (0.5,)},
        "lite": {"exp": (config.lite.exp + config.stem,), "out": (8, 12, 16), "stride": (3 - config.lite.stride,)},
        "former": {"heads": (1, 2), "ffn": (0, 1), "projections": ("tied", "full")},
        "bridges": {
            "heads": (1, 2),
            "gate": (not config.bridges.gate,),
            "projections": ("published", "full"),
            "final": (not config.bridges.final,),
        },
        "dyrelu": {
            "source": SOURCES,
            "position": ("both", "first", "second"),
            "slopes": (2, 3),
            "intercepts": (not config.dyrelu.intercepts,),
            "reduction": (2, 4, 30, 32),
        },
        "head": {"conv": (config.head.conv + 4,), "hidden": (config.head.hidden + 1,)},
    }
    whole: dict[str, tuple[Any, ...]] = {
        "stem": (2, config.stem * 2),
        "groups": (1, 2, 4),
        "resolution": (40,),
        "classes": (3,),
        "blocks": (config.blocks[:-1], (*config.blocks, config.blocks[-1]), config.blocks[::-1]),
    }
    for i, row in enumerate(config.blocks):
        fields: dict[str, tuple[Any, ...]] = {
            "exp": (row.exp + inputs[i],),
            "out": (8, 12),
            "stride": (3 - row.stride,),
            "kernel": (8 - row.kernel,),
            "bridge": BRIDGES,
            "former": (not row.former,),
            "tail": (row.tail + 1,),
        }
        for name, values in fields.items():
            for value in values:
                changed = dataclasses.replace(row, **{name: value})
                whole["blocks"] += ((*config.blocks[:i], changed, *config.blocks[i + 1 :]),)
    changes = [("", name, value) for name, values in whole.items() for value in values]
    changes += [(place, name, value) for place, group in choices.items() for name in group for value in group[name]]
    for place, name, value in changes:
        try:
            changed_config = (
                part(config, place, **{name: value}) if place else dataclasses.replace(config, **{name: value})
            )
        except ValueError:
            continue
        if changed_config != config:
            yield f"{place}.{name} = {value}", changed_config


def test_each_field_of_a_small_network_changes_its_arch_id() -> None:
    """With tokens, formers, both bridges and DyReLU there, nothing is without effect but the tail of stride-1 rows."""
    same = [name for name, other in neighbours(SMALL) if other.arch_id == SMALL.arch_id]
    assert len(same) == 2
    assert all("tail=5" in name for name in same)
    ids = [other.arch_id for _, other in neighbours(SMALL) if other.arch_id != SMALL.arch_id]
    assert len(ids) > 50


@pytest.mark.parametrize("seed", range(6))
def test_arch_ids_of_neighbours_are_equal_exactly_where_the_networks_are(seed: int) -> None:
    config = dataclasses.replace(random_config(seed), resolution=64, classes=5)
    built = Built(config)
    for name, other in list(neighbours(config))[seed::6]:  # a sixth each: seconds
        assert (other.arch_id == config.arch_id) == (Built(other) == built), (name, config)
