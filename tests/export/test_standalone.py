import json
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mfsearch.config import MobileFormerConfig
from mfsearch.export.standalone import SHORTER_SIDE, Normalisation, Preprocessing, select, write_standalone
from mfsearch.model import MobileFormer
from mfsearch.presets import PRESETS, V4_PRESETS
from mfsearch.space import find_space
from tests.cost.test_onnx_graph import lived
from tests.random_configs import random_config, random_v4_config

IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
ROOT = Path(__file__).resolve().parents[2]


def module_of(config: MobileFormerConfig, normalisation: Normalisation | None = IMAGENET) -> Any:
    module = types.ModuleType("model")
    module.__file__ = "model.py"
    exec(compile(write_standalone(config, normalisation), "model.py", "exec"), module.__dict__)
    return module


def gradients(model: nn.Module, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    model.zero_grad()
    logits: Tensor = model(images)
    logits.square().sum().backward()  # type: ignore[no-untyped-call]
    named = model.named_parameters()
    return logits.detach(), {name: torch.zeros(1) if p.grad is None else p.grad.clone() for name, p in named}


def check_same(config: MobileFormerConfig, seed: int, side: int) -> None:
    """Outputs, gradients and BatchNorm's statistics in double precision, where a mistake cannot pass for rounding."""
    ours = lived(MobileFormer(config), seed).double()
    theirs = module_of(config).build().double()
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(seed)).double()
    for training in (False, True):
        expected, expected_grads = gradients(ours.train(training), images)
        logits, grads = gradients(theirs.train(training), images)
        assert torch.allclose(logits, expected, rtol=1e-10, atol=1e-10 * float(expected.abs().max()))
        largest = max(float(grad.abs().max()) for grad in expected_grads.values())
        for name, grad in expected_grads.items():
            assert float((grads[name] - grad).abs().max()) < 1e-9 * largest, (name, training)
    for name, value in ours.state_dict().items():
        assert torch.allclose(theirs.state_dict()[name], value, rtol=1e-10), name


@pytest.mark.parametrize("seed", range(80))
def test_any_network_is_that_of_the_package_in_outputs_and_gradients(seed: int) -> None:
    config = random_config(seed)
    check_same(config, seed, min(config.resolution, 48))


@pytest.mark.parametrize("name", ["mf-26m", "mf-151m"])
def test_the_published_networks_are_those_of_the_package(name: str) -> None:
    check_same(PRESETS[name], 0, 64)


def test_draws_from_the_whole_space_are_those_of_the_package() -> None:
    import random

    space = find_space("mobile_former")
    rng = random.Random(0)
    for seed in range(4):
        check_same(space.resolve(space.draw(rng)), seed, 48)


def test_what_is_written_is_formatted_and_holds_nothing_unused(tmp_path: Path) -> None:
    for seed in range(80):
        for kind, draw in (("r", random_config), ("v", random_v4_config)):
            text = write_standalone(draw(seed), IMAGENET if seed % 2 else None)
            (tmp_path / f"{kind}{seed}.py").write_text(text)
    names = tuple(f"class {k}" for k in range(1000))
    told = Preprocessing(224, None, SHORTER_SIDE, 0.875, "bilinear", False, *IMAGENET, names)
    for name, config in (PRESETS | V4_PRESETS).items():
        (tmp_path / f"{name.replace('-', '_')}.py").write_text(write_standalone(config, IMAGENET, told))
    settings = ["--config", str(ROOT / "pyproject.toml"), str(tmp_path)]
    for command in (["format", "--check"], ["check"]):
        run = subprocess.run([sys.executable, "-m", "ruff", *command, *settings], capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr


def test_only_what_a_network_uses_is_written() -> None:
    plain = write_standalone(PRESETS["mf-151m"], IMAGENET)
    for word in ("shuffle", "GROUPS", "REDUCTION", "avg_pool2d", "Hardswish", "is not None"):
        assert word not in plain
    assert "GROUPS = 4" in write_standalone(PRESETS["mf-26m"], IMAGENET)
    assert "MEAN" not in write_standalone(PRESETS["mf-26m"], None)
    assert not any("mfsearch" in line for line in plain.splitlines() if "import" in line)


def test_first_weights_are_spread_as_those_of_the_package() -> None:
    torch.manual_seed(0)
    theirs = dict(module_of(PRESETS["mf-26m"]).build().named_parameters())
    for name, value in MobileFormer(PRESETS["mf-26m"]).named_parameters():
        if value.numel() > 1000:
            assert theirs[name].std().item() == pytest.approx(value.std().item(), rel=0.1), name
        elif value.ndim == 1:
            assert torch.equal(theirs[name], value), name


def test_dropout_stands_before_the_last_linear() -> None:
    config = random_config(0)
    network = module_of(config).build(drop_rate=1.0).train()
    network(torch.randn(2, 3, 32, 32))
    bias = network.head.classifier.bias
    assert torch.allclose(network(torch.randn(2, 3, 32, 32)), bias.expand(2, -1))


def test_lines_are_kept_by_their_conditions() -> None:
    text = "a  #: x\nb  #: not x\n#: if x\nc\n  #: if y\n  d\n  #: else\n  e  #: x and not y\n  #: end\n#: end\nf\n"
    assert select(text, {"x": True, "y": False}) == "a\nc\n  e\nf\n"
    assert select(text, {"x": False, "y": True}) == "b\nf\n"


def test_a_file_needs_torch_alone(tmp_path: Path) -> None:
    """Imported in a process of its own in which neither mfsearch nor anything that is not torch's can be imported."""
    (tmp_path / "model.py").write_text(write_standalone(PRESETS["mf-26m"], IMAGENET))
    code = f"""
import json, sys
refused = ("mfsearch", "safetensors", "onnx", "onnxruntime", "timm", "yaml", "optuna")
class Guard:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in refused:
            raise ImportError(f"{{name}} was asked for")
sys.meta_path.insert(0, Guard())
sys.path.insert(0, {str(tmp_path)!r})
import torch, model
print(json.dumps(list(model.build().eval()(torch.zeros(2, 3, 64, 64)).shape)))
"""
    run = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    assert json.loads(run.stdout or "null") == [2, 1000], run.stderr
