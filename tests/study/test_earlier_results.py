"""All that is committed under results/ is read, drawn and told as by the earlier code; see make_earlier.py."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.study import earlier_views
from tests.study.make_earlier import EARLIER, views_of_results

KEPT: dict[str, Any] = json.loads((EARLIER / "results.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def views() -> dict[str, Any]:
    """As the kept ones read back: a tuple is a list."""
    found: dict[str, Any] = json.loads(json.dumps(views_of_results(earlier_views)))
    return found


def test_nothing_is_missing_and_nothing_new(views: dict[str, Any]) -> None:
    assert sorted(views) == sorted(KEPT)


@pytest.mark.parametrize("name", KEPT)
def test_results_render_as_before(name: str, views: dict[str, Any]) -> None:
    assert list(differences(views[name], KEPT[name])) == []


def differences(found: Any, kept: Any, place: str = "") -> Iterator[str]:
    """Each piece that is not as kept, with both beside each other."""
    if isinstance(found, dict) and isinstance(kept, dict) and "hash" not in kept:
        for key in sorted({*found, *kept}):
            yield from differences(found.get(key), kept.get(key), f"{place} > {key}".removeprefix(" > "))
    elif found != kept:
        yield f"{place}: was {kept}, is {found}"
