"""Distillation: the loss by hand, and teachers that do not fit."""

import math
from pathlib import Path

import pytest
import torch

from mfsearch.train.parts import import_timm
from mfsearch.train.teacher import distilled, load_teacher

MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
CPU = torch.device("cpu")


def test_the_loss_by_hand() -> None:
    """Teacher (3/4, 1/4) and student (1/2, 1/2) at temperature 2: KL = 3/4 ln(3/2) + 1/4 ln(1/2)."""
    student = torch.tensor([[5.0, 5.0]])
    teacher = torch.tensor([[2 * math.log(3), 0.0]])
    kl = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    found = distilled(torch.tensor(7.0), student, teacher, share=0.3, temperature=2.0)
    assert found.item() == pytest.approx(0.7 * 7 + 0.3 * 4 * kl, rel=1e-6)
    same = distilled(torch.tensor(7.0), student, student, share=0.3, temperature=2.0)
    assert same.item() == pytest.approx(0.7 * 7, rel=1e-6)


def test_a_teacher_sees_its_own_normalisation(tmp_path: Path) -> None:
    timm = import_timm()
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=3).eval()
    torch.save(model.state_dict(), tmp_path / "t.pt")
    teacher = load_teacher(f"test_resnet:{tmp_path / 't.pt'}", 3, (0.1, 0.2, 0.3), (0.2, 0.3, 0.4), CPU, download=False)
    config = model.pretrained_cfg
    pixels = torch.rand(2, 3, 160, 160)

    def normalised(mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
        return (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]

    ours = teacher.logits(normalised((0.1, 0.2, 0.3), (0.2, 0.3, 0.4)))
    with torch.no_grad():
        theirs = model(normalised(config["mean"], config["std"]))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert not any(p.requires_grad for p in teacher.model.parameters())


def test_teachers_that_do_not_fit(tmp_path: Path) -> None:
    timm = import_timm()
    torch.save(timm.create_model("test_resnet", num_classes=3).state_dict(), tmp_path / "t.pt")
    for spec, message in [
        ("resnet1888", "teacher 'resnet1888' is not a model of timm; near are resnet"),
        ("test_resnet", "give its weights as test_resnet:FILE, or --download"),
        (f"test_resnet:{tmp_path / 'no.pt'}", "no.pt: no such file"),
        (f"test_resnet:{tmp_path / 't.pt'}", "t.pt: not the weights of test_resnet with 4 classes"),
    ]:
        with pytest.raises(ValueError, match=message):
            load_teacher(spec, 4, MEAN, STD, CPU, download=False)
