"""Stochastic depth: what is dropped, how often, and that eval mode never does."""

import torch

from mfsearch.model import MobileFormer
from mfsearch.model.drop_path import dropped
from mfsearch.model.former import Former
from mfsearch.model.mobile import LiteBottleneck, Mobile, MobileDown
from mfsearch.presets import PRESETS


def test_whole_images_are_dropped_and_the_others_keep_the_mean() -> None:
    torch.manual_seed(0)
    kept = dropped(torch.ones(10_000, 2, 3), 0.25, training=True)
    per_image = kept.flatten(1)
    assert (per_image == per_image[:, :1]).all()
    assert set(per_image[:, 0].tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert abs((per_image[:, 0] == 0).float().mean().item() - 0.25) < 0.02  # 4.6 deviations of 0.0043
    assert dropped(kept, 0.25, training=False) is kept
    assert dropped(kept, 0.0, training=True) is kept


def test_rates_rise_from_the_first_block_to_the_last_and_weights_are_the_same() -> None:
    config = PRESETS["mf-26m"]
    plain, deep = MobileFormer(config), MobileFormer(config, drop_path=0.2)
    rows = [m.drop_path for m in deep.modules() if isinstance(m, LiteBottleneck | Mobile | MobileDown)]
    formers = [m.drop_path for m in deep.modules() if isinstance(m, Former)]
    for rates in (rows, formers):
        assert rates[0] == 0
        assert rates[-1] == 0.2
        assert rates == sorted(rates)
    assert len(rows) == 1 + len(config.blocks)
    assert all((a == b).all() for a, b in zip(plain.state_dict().values(), deep.state_dict().values(), strict=True))
    assert list(plain.state_dict()) == list(deep.state_dict())
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(plain.eval()(x), deep.eval()(x))
    plain.train()
    deep.train()
    assert not torch.equal(plain(x), deep(x))
