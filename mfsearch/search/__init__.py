"""The search: `mfsearch.search(space, budget="150M", data="flowers/")` runs one, see `mfsearch.api.search`.

This package and the public function share a name, so the package can be called.
"""

import sys
from typing import Any


class _CallablePackage(type(sys)):  # type: ignore[misc]
    def __call__(self, *args: Any, **options: Any) -> Any:
        from mfsearch.api import search

        return search(*args, **options)

    @property
    def __signature__(self) -> Any:
        import inspect

        from mfsearch.api import search

        return inspect.signature(search)


sys.modules[__name__].__class__ = _CallablePackage
