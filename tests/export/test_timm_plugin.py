"""Mobile-Former inside timm: built by its factories, the same network as ours, trained by its parts from train.yaml."""

import argparse
import copy
import dataclasses
import inspect
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.data import FastCollateMixup, Mixup, create_dataset, create_loader, create_transform, resolve_data_config
from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from timm.models import resolve_model_input_args, save_for_hf
from timm.optim import create_optimizer_v2, optimizer_kwargs, param_groups_layer_decay
from timm.scheduler import create_scheduler_v2, scheduler_kwargs
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from mfsearch.config import MobileFormerConfig
from mfsearch.export import timm_plugin
from mfsearch.export.bundle import write_bundle
from mfsearch.export.origin import of_config
from mfsearch.export.timm_keys import KEYS
from mfsearch.export.train_yaml import load_training, recommended_training, save_training
from mfsearch.model import MobileFormer
from mfsearch.presets import MF_26M, PRESETS
from tests.random_configs import SMALL, random_config, random_v4_config


def images(count: int = 2, side: int = 64) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def create(name: str = "mobile_former", **kwargs: Any) -> Any:
    return timm.create_model(name, **kwargs)


def small_bundle(folder: Path, config: MobileFormerConfig = SMALL, seed: int = 3) -> MobileFormer:
    """arch.yaml and weights.safetensors of a network whose weights no factory draws."""
    model = MobileFormer(config, seed=seed)
    config.save(folder / "arch.yaml")
    save_file(model.state_dict(), folder / "weights.safetensors")
    return model.eval()


def test_all_presets_are_listed_by_timm() -> None:
    names = [name.replace("mf-", "mobile_former_") for name in PRESETS] + ["mobile_former_v4_s", "mobile_former_v4_m"]
    assert sorted(timm.list_models("mobile_former*")) == sorted(["mobile_former", *names])


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_our_network_under_timms_name(name: str) -> None:
    ours, theirs = MobileFormer(PRESETS[name]), create(name.replace("mf-", "mobile_former_"))
    assert list(theirs.state_dict()) == list(ours.state_dict())
    theirs.load_state_dict(ours.state_dict())
    with torch.no_grad():
        assert torch.equal(theirs.eval()(images()), ours.eval()(images()))
    cfg = theirs.pretrained_cfg
    assert (cfg["input_size"], cfg["num_classes"], cfg["crop_pct"]) == ((3, 224, 224), 1000, 0.875)
    assert (cfg["interpolation"], cfg["architecture"]) == ("bilinear", name.replace("mf-", "mobile_former_"))
    assert theirs.get_submodule(cfg["classifier"]) is theirs.get_classifier()
    assert theirs.get_submodule(cfg["first_conv"]).in_channels == 3


@pytest.mark.parametrize("seed", range(18))
def test_any_network_is_built_from_its_config(seed: int) -> None:
    config = random_config(seed) if seed < 12 else random_v4_config(seed)
    ours, theirs = MobileFormer(config), create(arch=json.loads(json.dumps(config.to_dict())))
    theirs.load_state_dict(ours.state_dict())
    x = images(2, config.resolution)
    for mode in (False, True):
        ours.train(mode)
        theirs.train(mode)
        with torch.no_grad():
            y = ours(x)
            assert torch.equal(theirs(x), y)
            assert torch.equal(theirs.forward_head(theirs.forward_features(x)), y)
    assert theirs.pretrained_cfg["input_size"] == (3, config.resolution, config.resolution)
    assert theirs.num_classes == config.classes
    assert theirs.num_features == theirs.eval().forward_features(x)[0].shape[1]


def test_the_networks_on_mobilenetv4_have_a_map_of_every_size() -> None:
    model = create("mobile_former_v4_s", features_only=True).eval()
    assert model.feature_info.module_name() == ["stem", "lite", "blocks.0", "blocks.6", "blocks.12"]
    with torch.no_grad():
        assert [tuple(x.shape[1:]) for x in model(images())] == [
            (32, 32, 32),
            (32, 16, 16),
            (64, 8, 8),
            (96, 4, 4),
            (128, 2, 2),
        ]


def test_features_are_the_last_map_of_every_size() -> None:
    """By the paper's table: 151M has its widths 12, 16, 32, 88 and 128 at 1/2 to 1/32."""
    model = create("mobile_former_151m", features_only=True).eval()
    assert model.feature_info.channels() == [12, 16, 32, 88, 128]
    assert model.feature_info.reduction() == [2, 4, 8, 16, 32]
    assert model.feature_info.module_name() == ["lite", "blocks.1", "blocks.3", "blocks.7", "blocks.10"]
    with torch.no_grad():
        maps = model(images())
    widths, sizes = (12, 16, 32, 88, 128), (32, 16, 8, 4, 2)
    assert [tuple(x.shape) for x in maps] == [(2, width, size, size) for width, size in zip(widths, sizes, strict=True)]

    with torch.no_grad():
        whole = create("mobile_former_151m").eval()
        (last, tokens), all_maps = whole.forward_intermediates(images())
        want = whole.forward_features(images())
    assert torch.equal(last, want[0])
    assert torch.equal(tokens, want[1])
    assert all(torch.equal(a, b) for a, b in zip(maps, all_maps, strict=True))


def test_features_that_are_asked_for_need_no_more_than_their_blocks() -> None:
    model = create("mobile_former_52m", features_only=True, out_indices=(1, -2)).eval()
    assert model.feature_info.channels() == [12, 64]
    assert len(model.model.blocks) == 6  # of 8
    assert not [name for name, _ in model.named_parameters() if "head" in name or "final" in name]
    with torch.no_grad():
        assert [x.shape[1] for x in model(images())] == [12, 64]
    stem = create("mobile_former_52m", features_only=True, out_indices=(0,))
    assert len(stem.model.blocks) == 0
    assert stem(images())[0].shape == (2, 8, 32, 32)


def test_the_classifier_can_be_left_out_and_drawn_anew() -> None:
    model = create("mobile_former_26m", num_classes=0).eval()
    with torch.no_grad():
        y = model(images())
        assert y.shape == (2, model.head_hidden_size) == (2, 1024)
        assert torch.equal(model.forward_head(model.forward_features(images()), pre_logits=True), y)
    assert "head.classifier.weight" not in model.state_dict()
    for classes in (7, 1, 3):
        model.reset_classifier(classes)
        assert model(images()).shape == (2, classes)
        assert model.get_classifier().out_features == model.num_classes == classes
    assert model.config.classes == 3
    with pytest.raises(ValueError, match="num_classes must be 0 or more"):
        model.reset_classifier(-1)


def test_drop_rates_reach_the_network() -> None:
    model = create("mobile_former_26m", drop_rate=0.3, drop_path_rate=0.2)
    assert model.head.dropout.p == 0.3
    assert model.blocks[-1].mobile.drop_path == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"in_chans": 1}, "in_chans must be 3, got 1"),
        ({"global_pool": "max"}, "global_pool must be avg, got 'max'"),
        ({"drop_path_rate": 1.0}, "drop_path_rate must be from 0 and below 1"),
        ({"num_classes": -1}, "num_classes must be 0 or more"),
        ({"arch": None}, "must have one of arch and bundle, got neither"),
        ({"bundle": "x"}, "must have one of arch and bundle, got both"),
        ({"arch": {"stem": 8}}, "config lacks 'tokens'"),
        ({"arch": {**SMALL.to_dict(), "stems": 8}}, "stems"),
        ({"arch": None, "bundle": "/nowhere"}, "cannot read /nowhere/arch.yaml"),
    ],
)
def test_what_no_network_can_be_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        create(**{"arch": SMALL.to_dict(), **options})


def test_an_option_that_it_does_not_know_is_no_silent_one() -> None:
    with pytest.raises(TypeError, match="bn_momentum"):
        create("mobile_former_26m", bn_momentum=0.1)
    with pytest.raises(ValueError, match="gradient checkpointing is not supported"):
        create("mobile_former_26m").set_grad_checkpointing()
    create("mobile_former_26m").set_grad_checkpointing(False)


def test_a_bundle_is_built_with_its_weights_or_without(tmp_path: Path) -> None:
    ours = small_bundle(tmp_path)
    fresh, loaded = create(bundle=tmp_path), create(bundle=str(tmp_path), pretrained=True).eval()
    with torch.no_grad():
        assert torch.equal(loaded(images()), ours(images()))
    assert not torch.equal(fresh.state_dict()["stem.conv.conv.weight"], ours.state_dict()["stem.conv.conv.weight"])

    other = create(bundle=tmp_path, pretrained=True, num_classes=9)
    assert torch.equal(other.state_dict()["head.hidden.weight"], ours.state_dict()["head.hidden.weight"])
    assert other.get_classifier().out_features == 9

    backbone = create(bundle=tmp_path, pretrained=True, features_only=True).eval()
    with torch.no_grad():
        assert torch.equal(backbone(images())[-1], ours.features(images())[0])

    (tmp_path / "weights.safetensors").unlink()
    create(bundle=tmp_path)
    with pytest.raises(ValueError, match=r"weights\.safetensors does not exist"):
        create(bundle=tmp_path, pretrained=True)
    with pytest.raises(RuntimeError, match="No pretrained weights"):
        create("mobile_former_26m", pretrained=True)


def test_timms_scripts_may_name_weights_and_sizes_of_their_own(tmp_path: Path) -> None:
    """--pretrained-path and --img-size, as train.py hands them on."""
    ours = small_bundle(tmp_path)
    overlay = {"file": str(tmp_path / "weights.safetensors"), "num_classes": -1}
    model = create(arch=SMALL.to_dict(), pretrained=True, pretrained_cfg_overlay=overlay)
    assert torch.equal(model.state_dict()["head.hidden.weight"], ours.state_dict()["head.hidden.weight"])
    assert model.num_classes == SMALL.classes

    args = {"img_size": 48, "input_size": None, "in_chans": None}
    model = timm.create_model(**resolve_model_input_args("mobile_former", args=args, arch=SMALL.to_dict()))
    assert model.num_classes == SMALL.classes
    assert resolve_data_config(args, model=model)["input_size"] == (3, 48, 48)


def test_what_is_saved_for_the_hub_comes_back_without_the_bundle(tmp_path: Path) -> None:
    bundle, saved = tmp_path / "bundle", tmp_path / "saved"
    bundle.mkdir()
    ours = small_bundle(bundle)
    save_for_hf(create(bundle=bundle, pretrained=True), str(saved), safe_serialization=True)
    shutil.rmtree(bundle)
    model = create(f"local-dir:{saved}", pretrained=True).eval()
    with torch.no_grad():
        assert torch.equal(model(images()), ours(images()))
    assert model.config == SMALL
    assert model.pretrained_cfg["input_size"] == (3, 32, 32)
    assert create(f"local-dir:{saved}", pretrained=True, num_classes=2).num_classes == 2


def test_a_preset_with_other_classes_comes_back_too(tmp_path: Path) -> None:
    model = create("mobile_former_26m", num_classes=5).eval()
    save_for_hf(model, str(tmp_path), safe_serialization=True)
    again = create(f"local-dir:{tmp_path}", pretrained=True).eval()
    with torch.no_grad():
        assert torch.equal(again(images()), model(images()))
    assert again.pretrained_cfg["architecture"] == "mobile_former_26m"


def test_averaged_weights_and_rates_by_layer_work() -> None:
    model = create("mobile_former_26m", drop_path_rate=0.1)
    average = ModelEmaV3(model, decay=0.5)
    average.update(model)
    assert torch.equal(average.module.state_dict()["tokens"], model.state_dict()["tokens"])
    groups = param_groups_layer_decay(model, layer_decay=0.5)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    scales = {names[id(p)]: group["lr_scale"] for group in groups for p in group["params"]}
    assert (
        scales["tokens"] < scales["blocks.0.mobile.expand.conv.weight"] < scales["blocks.7.mobile.expand.conv.weight"]
    )
    assert scales["head.classifier.weight"] == 1
    assert copy.deepcopy(model).config == model.config


class Recorder(argparse.Namespace):
    """A namespace that notes what is read from it."""

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        object.__setattr__(self, "read", set())

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("__") and name != "read":
            object.__getattribute__(self, "read").add(name)
        return super().__getattribute__(name)


class RecorderDict(dict[str, Any]):
    """A mapping that notes what is asked of it."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.read: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.read.add(name)
        return super().get(name, default)


def test_the_table_holds_what_timms_own_factories_read() -> None:
    args = Recorder(**recommended_training(MF_26M))
    scheduler_kwargs(args)
    optimizer_kwargs(args)
    data = RecorderDict(recommended_training(MF_26M))
    resolve_data_config(data, model=create("mobile_former_26m"))
    without_input = {name: value for name, value in data.items() if name not in ("input_size", "mean", "std")}
    bare = RecorderDict(without_input)
    resolve_data_config(bare, model=create("mobile_former_26m"))
    read = args.read | data.read | bare.read
    legacy = {"opt_args", "opt_foreach", "chans", "crop_mode"}  # read, but no argument of its train.py
    assert read - legacy <= set(KEYS)
    assert len(read - legacy) > 30


@pytest.mark.parametrize(
    ("factory", "names"),
    [
        (
            create_transform,
            {"scale": "scale", "ratio": "ratio", "hflip": "hflip", "vflip": "vflip", "aa": "auto_augment"},
        ),
        (
            create_loader,
            {"reprob": "re_prob", "remode": "re_mode", "recount": "re_count", "mean": "mean", "std": "std"},
        ),
        (
            Mixup,
            {"mixup": "mixup_alpha", "mixup_prob": "prob", "mixup_switch_prob": "switch_prob", "mixup_mode": "mode"},
        ),
        (create_optimizer_v2, {"opt": "opt", "lr": "lr", "weight_decay": "weight_decay", "momentum": "momentum"}),
        (
            create_scheduler_v2,
            {"sched": "sched", "warmup_epochs": "warmup_epochs", "cooldown_epochs": "cooldown_epochs"},
        ),
    ],
)
def test_every_setting_has_its_place_in_a_factory(factory: Any, names: dict[str, str]) -> None:
    assert set(names.values()) <= set(inspect.signature(factory).parameters)
    assert set(names) <= set(KEYS)


def few_photos(folder: Path, per_class: int) -> None:
    """train/ and val/ with a few photos a class, as links; timm decides by class name what they are."""
    source = Path(os.environ["MFSEARCH_DATA"]) / "flowers5"
    for split, count in (("train", per_class), ("val", per_class // 2)):
        for place in sorted((source / split).iterdir()):
            (folder / split / place.name).mkdir(parents=True)
            for photo in sorted(place.iterdir())[:count]:
                (folder / split / place.name / photo.name).symlink_to(photo)


def train_as_timm_does(args: argparse.Namespace, data: Path) -> tuple[list[float], float, Any]:
    """An epoch by timm's parts alone, in the order of its train.py: losses of the updates, validation top1, network."""
    torch.manual_seed(args.seed)
    model: Any = timm.create_model(
        args.model,
        pretrained=False,
        in_chans=args.input_size[0],
        num_classes=args.num_classes,
        drop_rate=args.drop,
        drop_path_rate=args.drop_path,
        drop_block_rate=None,
        global_pool=None,
        bn_momentum=None,
        bn_eps=None,
        scriptable=False,
        checkpoint_path="",
        **args.model_kwargs,
    )
    data_config = resolve_data_config(vars(args), model=model)
    optimizer = create_optimizer_v2(model, **optimizer_kwargs(cfg=args))
    mixes = args.mixup > 0 or args.cutmix > 0
    collate = None
    if mixes:
        collate = FastCollateMixup(
            mixup_alpha=args.mixup,
            cutmix_alpha=args.cutmix,
            prob=args.mixup_prob,
            switch_prob=args.mixup_switch_prob,
            mode=args.mixup_mode,
            label_smoothing=args.smoothing,
            num_classes=args.num_classes,
        )
    common = {"num_workers": 0, "device": torch.device("cpu"), "mean": data_config["mean"], "std": data_config["std"]}
    train = create_loader(
        create_dataset("", root=str(data), split="train", is_training=True, batch_size=args.batch_size),
        input_size=data_config["input_size"],
        batch_size=args.batch_size,
        is_training=True,
        re_prob=args.reprob,
        re_mode=args.remode,
        re_count=args.recount,
        scale=args.scale,
        ratio=args.ratio,
        hflip=args.hflip,
        vflip=args.vflip,
        color_jitter=args.color_jitter,
        auto_augment=args.aa,
        num_aug_repeats=args.aug_repeats,
        num_aug_splits=args.aug_splits,
        interpolation=args.train_interpolation,
        collate_fn=collate,
        **common,
    )
    held_out = create_loader(
        create_dataset("", root=str(data), split="validation", is_training=False, batch_size=args.batch_size),
        input_size=data_config["input_size"],
        batch_size=args.batch_size,
        is_training=False,
        interpolation=data_config["interpolation"],
        crop_pct=data_config["crop_pct"],
        **common,
    )
    updates = math.ceil(len(train) / args.grad_accum_steps)
    scheduler, epochs = create_scheduler_v2(optimizer, **scheduler_kwargs(args), updates_per_epoch=updates)
    assert epochs == args.epochs + args.cooldown_epochs
    loss_of: nn.Module = SoftTargetCrossEntropy() if mixes else LabelSmoothingCrossEntropy(smoothing=args.smoothing)
    model.train()
    losses = []
    for k, (x, y) in enumerate(train):
        loss = loss_of(model(x), y)
        (loss / args.grad_accum_steps).backward()
        losses.append(loss.item())
        if (k + 1) % args.grad_accum_steps == 0 or k + 1 == len(train):
            optimizer.step()
            optimizer.zero_grad()
    scheduler.step(1)
    model.eval()
    with torch.no_grad():
        right = [(model(x).argmax(1) == y).float() for x, y in held_out]
    return losses, float(torch.cat(right).mean()), model


@pytest.mark.skipif("MFSEARCH_DATA" not in os.environ, reason="MFSEARCH_DATA names no folder with flowers5/")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow  # timm's reader leaves the files of its images to be closed by the interpreter
@pytest.mark.parametrize("kind", ["preset", "between"])
def test_train_yaml_trains_an_epoch_with_timms_parts_alone(tmp_path: Path, kind: str) -> None:
    """Flower photos at 64 px, smaller batches and a constant rate of one epoch; everything else as the file says."""
    config = dataclasses.replace(MF_26M, resolution=64, classes=5)
    if kind == "between":  # all of Mixup, RandAugment and random erasing are on
        blocks = (*PRESETS["mf-96m"].blocks[:-1], dataclasses.replace(PRESETS["mf-96m"].blocks[-1], exp=1024))
        config = dataclasses.replace(PRESETS["mf-96m"], blocks=blocks, resolution=64, classes=5)
    save_training(recommended_training(config), tmp_path / "train.yaml", header="flowers")
    changes = {"batch_size": 16, "grad_accum_steps": 1, "epochs": 1, "warmup_epochs": 0, "cooldown_epochs": 0}
    args = argparse.Namespace(**{**load_training(tmp_path / "train.yaml"), **changes})
    assert args.device_modules == [timm_plugin.__name__]
    assert args.mixup > 0
    assert args.aa
    assert (args.reprob > 0) == (kind == "between")
    per_class = 48 if kind == "between" else 160
    few_photos(tmp_path / "data", per_class)
    losses, top1, model = train_as_timm_does(args, tmp_path / "data")
    assert len(losses) == 5 * per_class // 16
    assert all(math.isfinite(loss) for loss in losses)
    assert model.num_classes == 5
    assert 0 <= top1 <= 1
    if kind == "preset":  # 1.79 to 1.58; the other's 15 updates are too few to learn by
        assert sum(losses[-10:]) < sum(losses[:10])


def test_the_examples_for_timm_run_where_torchvision_has_another_build(tmp_path: Path) -> None:
    """As they stand in a bundle's card and in the documentation, each in a process of its own."""
    folder = tmp_path / "found"
    write_bundle(of_config("small", SMALL), folder)
    (of_card,) = re.findall(
        r"```python\n(import mfsearch.export.timm_plugin.*?)```", (folder / "README.md").read_text(), re.S
    )
    page = (Path(__file__).parents[2] / "docs" / "bundles.md").read_text()
    of_page = re.findall(r"^    (import mfsearch.export.timm_plugin.*|timm\.create_model.*)$", page, re.M)
    assert len(of_page) == 4
    for code in (of_card, "\n".join(of_page).replace("arch={...}", f"arch={SMALL.to_dict()}")):
        here = folder if code == of_card else tmp_path
        done = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
