"""Which parts of a network are alive: the image reaches them, and the logits read what they make.

The tokens are learned constants until the first Mobile->Former bridge. A Former on constants, a Mobile<-Former bridge
that spreads constants and a DyReLU whose coefficients come from constants compute nothing from the image: a runtime
folds them away, so they cost multiply-adds and parameters but no time. At the other end, tokens beyond the first are
dead if no Former, bridge or DyReLU ever reads them, because the head reads the first token alone.

A softmax over one token is 1, so with one token the queries and keys over tokens change nothing. They stay, because the
published layers have them; a runtime cannot fold them, and they cost the same as they compute.

Order inside a block: Mobile->Former, Former, Mobile with its DyReLUs, Mobile<-Former (arXiv:2108.05895, section 3.3).
"""

import dataclasses

from mfsearch.config import TOKEN_SOURCES, MobileFormerConfig, TokenConfig


def living(config: MobileFormerConfig) -> MobileFormerConfig:
    """The network without its dead parts; the same object if all of it is alive.

    Before the first Mobile->Former bridge there is no Former and no Mobile<-Former, and DyReLUs that would read tokens
    have learned slopes (`static`). Without any such bridge there are no tokens at all.
    """
    if not config.tokens.count:
        return config
    dyrelu, rows = config.dyrelu, config.blocks
    reads_tokens = dyrelu.source in TOKEN_SOURCES
    first = first_bridge(config)
    blocks = [
        row if k >= first else dataclasses.replace(row, bridge="none", former=False, static=row.static or reads_tokens)
        for k, row in enumerate(rows)
    ]
    if reads_tokens and all(row.static for row in blocks):
        dyrelu = dataclasses.replace(dyrelu, source="static")
        blocks = [dataclasses.replace(row, static=False) for row in blocks]
    tokens = config.tokens
    if first == len(rows) and not config.bridges.final:
        tokens = TokenConfig(0, 0)
    elif not any(row.former or row.to_mobile for row in blocks) and dyrelu.source not in ("mean_token", "spatial"):
        tokens = dataclasses.replace(tokens, count=1)
    if tokens == config.tokens and dyrelu == config.dyrelu and tuple(blocks) == rows:
        return config
    return dataclasses.replace(config, tokens=tokens, dyrelu=dyrelu, blocks=tuple(blocks))


def first_bridge(config: MobileFormerConfig) -> int:
    """The index of the first block with a Mobile->Former bridge; the number of blocks if none has one."""
    return next((k for k, row in enumerate(config.blocks) if row.to_former), len(config.blocks))


def dead_parts(config: MobileFormerConfig) -> list[str]:
    """One sentence for each dead part: its place, the reason, and what to write instead; empty if all is alive."""
    alive = living(config)
    if alive is config:
        return []
    count, first = config.tokens.count, first_bridge(config)
    if not alive.tokens.count:
        return [f"tokens.count must be 0, got {count}: no Mobile->Former bridge brings the image to the tokens"]
    if first == len(config.blocks):
        why = "the tokens are constants before the final Mobile->Former bridge"
    else:
        why = f"the tokens are constants before the first Mobile->Former bridge, in blocks[{first}]"
    dead = []
    for k, row in enumerate(config.blocks[:first]):
        if row.former:
            dead.append(f"blocks[{k}].former must be false: {why}")
        if row.to_mobile:
            dead.append(f"blocks[{k}].bridge must be none, got {row.bridge}: {why}")
        if alive.blocks[k].static and not row.static:
            dead.append(f"blocks[{k}].static must be true for dyrelu.source {config.dyrelu.source}: {why}")
    if alive.dyrelu.source != config.dyrelu.source:
        dead.append(f"dyrelu.source must be static, got {config.dyrelu.source}: {why}")
    if alive.tokens.count != count:
        dead.append(f"tokens.count must be 1, got {count}: nothing reads a token but the first")
    return dead


def check_living(config: MobileFormerConfig, place: object) -> MobileFormerConfig:
    """The config itself; ValueError names its dead parts, after the place where it stands."""
    dead = dead_parts(config)
    if dead:
        more = f"; {len(dead) - 3} more dead parts" if len(dead) > 3 else ""
        raise ValueError(f"{place}: {'; '.join(dead[:3])}{more}")
    return config
