"""Bundles for tests: of small networks, and of a study whose weights are kept."""

import subprocess
import sys
from pathlib import Path

from safetensors.torch import save_file

from mfsearch.config import MobileFormerConfig
from mfsearch.export.bundle import write_bundle
from mfsearch.export.origin import of_config
from mfsearch.model import MobileFormer
from tests.cost.test_onnx_graph import lived
from tests.random_configs import SMALL

ROOT = Path(__file__).resolve().parents[2]


def small_bundle(
    folder: Path, config: MobileFormerConfig = SMALL, *, dynamic_batch: bool = False, measure: bool = False
) -> Path:
    write_bundle(of_config("small", config), folder, dynamic_batch=dynamic_batch, measure=measure)
    return folder


def trained_weights(path: Path, config: MobileFormerConfig = SMALL, seed: int = 1) -> Path:
    """Weights as after a training, in a file."""
    model = lived(MobileFormer(config), seed)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def python(code: str) -> str:
    """What a process of its own prints, which can import torch and safetensors and neither mfsearch nor ONNX."""
    guard = """
import sys
class Guard:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("mfsearch", "onnx", "onnxruntime", "timm", "yaml", "optuna"):
            raise ImportError(f"{name} was asked for")
sys.meta_path.insert(0, Guard())
sys.dont_write_bytecode = True
"""
    run = subprocess.run([sys.executable, "-I", "-c", guard + code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout
