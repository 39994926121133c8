"""The search: `mfsearch.search(space, budget="150M", data="flowers/")` runs one, see `mfsearch.api.search`.

`mfsearch.search` is both this package and the public function, so the package can be called.
"""

import inspect
import sys
from typing import Any


class _CallablePackage(type(sys)):  # type: ignore[misc]
    def __call__(self, *args: Any, **options: Any) -> Any:
        from mfsearch.api import search

        return search(*args, **options)

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        from mfsearch.api import search

        return f"{self.__name__}{inspect.signature(search)}\n\n{inspect.getdoc(search)}"

    @property
    def __signature__(self) -> Any:
        from mfsearch.api import search

        return inspect.signature(search)


sys.modules[__name__].__class__ = _CallablePackage
