"""Neural architecture search and design-space explorer for Mobile-Former.

    import mfsearch as mf

    study = mf.search("mobile_former", budget="150M", data="flowers/", trials=30)
    network = study.network(study.front()[-1].number, weights=True)

The names in `__all__` are the public interface; each is loaded when it is first used.
"""

import importlib

__version__ = "0.1.0"
TYPE_CHECKING = False  # typing itself takes longer to import than all of this

if TYPE_CHECKING:
    from mfsearch.api import (
        export_bundle,
        load_bundle,
        load_published,
        load_space,
        measure_latency,
        open_study,
        plot_front,
        references,
        search,
    )
    from mfsearch.config import MobileFormerConfig, load_config
    from mfsearch.cost.madds import count_costs
    from mfsearch.model import MobileFormer
    from mfsearch.presets import preset
    from mfsearch.study.study import Study
    from mfsearch.study.table_file import load_table
    from mfsearch.study.trial import Trial

_HOMES = {
    "MobileFormer": "model",
    "MobileFormerConfig": "config",
    "Study": "study.study",
    "Trial": "study.trial",
    "count_costs": "cost.madds",
    "export_bundle": "api",
    "load_bundle": "api",
    "load_config": "config",
    "load_published": "api",
    "load_space": "api",
    "load_table": "study.table_file",
    "measure_latency": "api",
    "open_study": "api",
    "plot_front": "api",
    "preset": "presets",
}

__all__ = [
    "MobileFormer",
    "MobileFormerConfig",
    "Study",
    "Trial",
    "count_costs",
    "export_bundle",
    "load_bundle",
    "load_config",
    "load_published",
    "load_space",
    "load_table",
    "measure_latency",
    "open_study",
    "plot_front",
    "preset",
    "references",
    "search",
]


class CallablePackage(type(importlib)):  # type: ignore[misc]
    """A sub-package that has the name of a public function, and calls it: mfsearch.search and mfsearch.references."""

    def _function(self):  # type: ignore[no-untyped-def]
        return getattr(importlib.import_module("mfsearch.api"), self.__name__.rpartition(".")[2])

    def __call__(self, *args, **options):  # type: ignore[no-untyped-def]
        return self._function()(*args, **options)  # type: ignore[no-untyped-call]

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        import inspect

        function = self._function()  # type: ignore[no-untyped-call]
        return f"{self.__name__}{inspect.signature(function)}\n\n{inspect.getdoc(function)}"

    @property
    def __signature__(self):  # type: ignore[no-untyped-def]
        import inspect

        return inspect.signature(self._function())  # type: ignore[no-untyped-call]


def __getattr__(name: str):  # type: ignore[no-untyped-def]
    if name in ("search", "references"):  # sub-packages that can be called
        return importlib.import_module(f"mfsearch.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'mfsearch' has no attribute {name!r}; public names are {', '.join(__all__)}")
    return getattr(importlib.import_module(f"mfsearch.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
