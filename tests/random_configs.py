"""Configs for tests: one small network, and random valid ones over every knob of the builder."""

import dataclasses
import random

from mfsearch.config import (
    MOBILES,
    SOURCES,
    BlockConfig,
    BridgeConfig,
    DyReLUConfig,
    FormerConfig,
    HeadConfig,
    LiteConfig,
    MobileFormerConfig,
    TokenConfig,
)
from mfsearch.living import living

# one row of each kind, all bridges
SMALL = MobileFormerConfig(
    tokens=TokenConfig(3, 32),
    stem=4,
    lite=LiteConfig(8, 8, 1),
    blocks=(BlockConfig(16, 8), BlockConfig(24, 12, stride=2), BlockConfig(24, 12)),
    head=HeadConfig(24, 16),
    resolution=32,
    classes=4,
)


def random_config(seed: int) -> MobileFormerConfig:
    """A valid network drawn by seed: small, so that building and tracing it is quick. Odd seeds give living ones."""
    rng = random.Random(seed)
    while True:
        try:
            return living(_draw(rng)) if seed % 2 else _draw(rng)
        except ValueError:
            continue  # a combination that cannot be built


def random_v4_config(seed: int) -> MobileFormerConfig:
    """The same with MobileNetV4's rows among the others, and for two seeds of three after its stem and first row."""
    rng = random.Random(f"v4 {seed}")
    while True:
        try:
            config = _draw(rng)
            rows = tuple(_v4_row(rng, row) for row in config.blocks)
            lite = dataclasses.replace(config.lite, mobile=rng.choice(["fused", "conv_pair"] if seed % 3 else ["lite"]))
            config = dataclasses.replace(config, blocks=rows, lite=lite)
            return living(config) if seed % 2 else config
        except ValueError:
            continue


def _v4_row(rng: random.Random, row: BlockConfig) -> BlockConfig:
    mobile = rng.choice(["inverted_bottleneck", "universal", "universal", "universal", *MOBILES[2:]])
    kernels = [0, 2, 3, 5] if mobile == "universal" else [2, 3, 5] if mobile != "inverted_bottleneck" else [3, 5]
    before = rng.choice([0, 2, 3, 5]) if mobile == "universal" else 0
    exp = rng.choice([row.exp, 12, 32])
    return dataclasses.replace(row, mobile=mobile, exp=exp, kernel=rng.choice(kernels), before=before)


def _draw(rng: random.Random) -> MobileFormerConfig:
    count = rng.choice([0, 1, 2, 3, 6, 9, 12])
    groups = rng.choice([1, 1, 2, 4])
    stem = rng.choice([4, 8, 12])
    width = rng.choice([8, 12, 16])
    lite = LiteConfig(stem * rng.choice([1, 2, 3]), width, rng.choice([1, 2]))
    blocks = []
    for _ in range(rng.randint(1, 5)):
        out = rng.choice([8, 12, 16, 20, 24, width])
        blocks.append(
            BlockConfig(
                exp=width * rng.choice([1, 2, 3, 4, 6]),
                out=out,
                stride=rng.choice([1, 1, 2]),
                kernel=rng.choice([3, 5]),
                bridge=rng.choice(["both", "both", "to_former", "to_mobile", "none"]) if count else "none",
                former=bool(count) and rng.random() < 0.7,
                tail=rng.choice([1, 2, 4]),
            )
        )
        width = out
    return MobileFormerConfig(
        tokens=TokenConfig(count, rng.choice([32, 48, 64, 96, 384]), rng.choice([0.02, 1.0])),
        stem=stem,
        lite=lite,
        blocks=tuple(blocks),
        head=HeadConfig(rng.choice([16, 48]), rng.choice([16, 40])),
        former=FormerConfig(rng.choice([1, 2, 4]), rng.choice([0, 1, 2, 4]), rng.choice(["tied", "full"])),
        bridges=BridgeConfig(
            rng.choice([1, 2, 4]),
            rng.random() < 0.5,
            rng.choice(["published", "full"]),
            bool(count) and rng.random() < 0.7,
        ),
        dyrelu=DyReLUConfig(
            rng.choice(SOURCES),
            rng.choice(["both", "first", "second"]),
            rng.choice([2, 3]),
            rng.random() < 0.5,
            rng.choice([1, 4, 8]),
        ),
        groups=groups,
        resolution=rng.choice([32, 33, 48, 64]),
        classes=rng.choice([2, 10, 100]),
    )
