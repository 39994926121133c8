"""Living networks: every part sees the image and reaches the logits, in the model and in the ONNX graph."""

import dataclasses
import random
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor

from mfsearch.config import (
    BlockConfig,
    BridgeConfig,
    DyReLUConfig,
    MobileFormerConfig,
    TokenConfig,
)
from mfsearch.cost.madds import count_costs
from mfsearch.cost.onnx_export import export_onnx
from mfsearch.living import check_living, dead_parts, living
from mfsearch.model import MobileFormer
from mfsearch.presets import PRESETS
from mfsearch.space import find_space
from mfsearch.study.configs import find_config
from tests.cost.test_onnx_graph import lived
from tests.random_configs import SMALL, random_config

COUNT = 8  # of each space; benchmarks/living.py does the same to 500
SPACES = ("mobile_former", "mobile_former_small", "mobile_former_v4", "paper")


def draws(space_name: str, count: int, seed: int = 0) -> Iterator[MobileFormerConfig]:
    """Draws of a space at a quarter of its widths and 32 px, where building and running them is quick."""
    space, rng = find_space(space_name), random.Random(seed)
    while count:
        try:
            config = space.resolve(space.draw(rng), 0.25)
        except ValueError:
            continue  # a combination that cannot be built
        count -= 1
        yield dataclasses.replace(config, resolution=32, classes=4)


def check_all_alive(config: MobileFormerConfig, path: Path) -> None:
    """Fails unless each Former, bridge and DyReLU depends on the image, the logits on each, and no operator folds."""
    dead = _dead(lived(MobileFormer(config), 0))
    for seed in range(1, 5):  # with few channels a ReLU may be zero everywhere by chance
        dead = dead and _dead(lived(MobileFormer(config), seed))
    assert not dead, f"{dead} in {config}"
    model = MobileFormer(config)
    assert count_costs(config).num_params == sum(p.numel() for p in model.parameters())
    export_onnx(model, 32, path, check=False)
    graph = onnx.load(str(path)).graph
    constants = {each.name for each in graph.initializer}
    foldable = [node.output[0] for node in graph.node if {*node.input} - {""} <= constants]
    assert not foldable, f"the graph computes constants: {foldable[:3]}"


def _dead(model: MobileFormer) -> list[str]:
    """The parts that give the same for two images, or whose weights change no logit."""
    parts = {
        name: module
        for name, module in model.named_modules()
        if name.rpartition(".")[2] in ("former", "to_former", "to_mobile", "final", "act1", "act2")
    }
    seen: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: _first(out)}))
        for name, module in parts.items()
    ]
    logits = model.eval()(torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)))
    for hook in hooks:
        hook.remove()
    dead = [name for name, value in seen.items() if torch.equal(value[0], value[1])]
    logits.square().sum().backward()
    for name, module in parts.items():
        gradients = [weight.grad for weight in module.parameters()]
        if gradients and not any(grad is not None and bool(grad.any()) for grad in gradients):
            dead.append(f"weights of {name}")
    if model.tokens is not None and model.tokens.grad is not None:
        dead += [f"token {k}" for k, row in enumerate(model.tokens.grad) if not bool(row.any())]
    return dead


def _first(out: Tensor | tuple[Tensor, ...]) -> Tensor:
    return out if isinstance(out, Tensor) else out[0]


@pytest.mark.parametrize("space_name", SPACES)
def test_every_part_of_a_drawn_network_is_alive(space_name: str, tmp_path: Path) -> None:
    for config in draws(space_name, COUNT):
        assert living(config) is config
        check_all_alive(config, tmp_path / "net.onnx")


def test_what_living_gives_is_alive_and_computes_as_before(tmp_path: Path) -> None:
    """Of any network, dead parts and all: nothing that the image reached is lost but what nothing reads."""
    for seed in range(0, 60, 2):
        config = random_config(seed)
        alive = living(config)
        assert living(alive) == alive
        assert not dead_parts(alive)
        if alive.tokens.count != 1:  # queries and keys over one token change nothing: a Former of one token is kept
            check_all_alive(dataclasses.replace(alive, resolution=32), tmp_path / "net.onnx")
        assert count_costs(alive).madds <= count_costs(config).madds


@pytest.mark.parametrize("name", PRESETS)
def test_the_published_networks_are_alive(name: str) -> None:
    assert living(PRESETS[name]) is PRESETS[name]


def rows(*bridges: str, former: bool = True) -> tuple[BlockConfig, ...]:
    return tuple(BlockConfig(16, 8, bridge=bridge, former=former) for bridge in bridges)


def test_before_the_first_bridge_there_is_no_former_and_slopes_are_learned() -> None:
    config = dataclasses.replace(SMALL, blocks=rows("none", "to_mobile", "both"))
    assert living(config).blocks == (
        BlockConfig(16, 8, bridge="none", former=False, static=True),
        BlockConfig(16, 8, bridge="none", former=False, static=True),
        BlockConfig(16, 8, bridge="both"),
    )
    assert dead_parts(config)[0] == (
        "blocks[0].former must be false: the tokens are constants before the first Mobile->Former bridge, in blocks[2]"
    )
    assert any("blocks[1].bridge must be none, got to_mobile" in each for each in dead_parts(config))


def test_with_the_final_bridge_alone_one_token_is_left_and_all_slopes_are_learned() -> None:
    config = living(dataclasses.replace(SMALL, blocks=rows("none", "none", "to_mobile")))
    assert (config.tokens.count, config.dyrelu.source) == (1, "static")
    assert not any(row.former or row.static for row in config.blocks)


def test_without_any_way_in_there_are_no_tokens() -> None:
    config = dataclasses.replace(
        SMALL,
        blocks=rows("none", "to_mobile", "none"),
        bridges=BridgeConfig(final=False),
        dyrelu=DyReLUConfig("pooled"),
    )
    assert living(config).tokens == TokenConfig(0, 0)
    assert dead_parts(config) == [
        "tokens.count must be 0, got 3: no Mobile->Former bridge brings the image to the tokens"
    ]


def test_tokens_that_nothing_reads_are_dropped() -> None:
    config = dataclasses.replace(SMALL, blocks=rows("to_former", "to_former", "to_former", former=False))
    assert living(config).tokens.count == 1
    assert living(dataclasses.replace(config, dyrelu=DyReLUConfig("mean_token"))).tokens.count == 3


def test_learned_slopes_start_as_relu_and_cost_their_coefficients() -> None:
    config = dataclasses.replace(
        SMALL,
        tokens=TokenConfig(0, 0),
        bridges=BridgeConfig(final=False),
        blocks=rows("none", "none", former=False),
        dyrelu=DyReLUConfig("static", slopes=3, intercepts=True),
    )
    relu = dataclasses.replace(config, dyrelu=DyReLUConfig("none"))
    assert count_costs(config).madds == count_costs(relu).madds
    assert count_costs(config).num_params - count_costs(relu).num_params == 2 * 2 * 16 * 6  # blocks, acts, exp, lines
    images = torch.randn(2, 3, 32, 32)
    assert torch.allclose(MobileFormer(config).eval()(images), MobileFormer(relu).eval()(images), atol=1e-7)


def test_a_network_file_that_names_a_dead_part_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    dataclasses.replace(SMALL, blocks=rows("none", "both", "both")).save(path)
    with pytest.raises(
        ValueError, match=r"net\.yaml: blocks\[0\]\.former must be false: the tokens are constants before"
    ):
        find_config(str(path), tmp_path)
    living(dataclasses.replace(SMALL, blocks=rows("none", "both", "both"))).save(path)
    assert find_config(str(path), tmp_path).blocks[0].static
    assert check_living(SMALL, "here") is SMALL
