"""Imports go one way, and what is heavy or optional is imported in one place only."""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# From the ground up: a file imports its own layer and those before it, inside functions too. `space` stands after
# `cost`, because the width is solved with the closed-form count.
LAYERS = [
    *("units", "plain_files", "config", "living", "presets", "references", "model", "cost", "space", "data", "proxy"),
    *("pareto", "study", "search", "analysis", "export", "train", "api", "commands", "cli", "__main__"),
]
HOME = {
    "optuna": ("mfsearch/study/ledger.py", "mfsearch/search/samplers"),
    "plotly": ("mfsearch/analysis/figures",),
    "streamlit": ("app",),
    "timm": ("mfsearch/train/parts.py", "mfsearch/export/timm_plugin.py"),
}


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every import; `from a import b` gives a.b, which may be a module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "import_module":
            for argument in node.args:
                if isinstance(argument, ast.Constant):
                    yield node.lineno, str(argument.value)


def layer_of(path: Path) -> str:
    parts = path.relative_to(ROOT / "mfsearch").parts
    return parts[0].removesuffix(".py")


def test_every_part_of_the_package_has_its_layer() -> None:
    found = {layer_of(path) for path in sources("mfsearch")} - {"__init__"}
    assert found <= set(LAYERS), found - set(LAYERS)


def test_imports_go_one_way() -> None:
    """All but one: `mfsearch.search(...)` is the public function, which stands higher up."""
    wrong = []
    for path in sources("mfsearch"):
        here = layer_of(path)
        if here == "__init__":
            continue
        for line, name in imported(path):
            package, _, rest = name.partition(".")
            there = rest.split(".")[0]
            door = path.relative_to(ROOT).as_posix() == "mfsearch/search/__init__.py" and there == "api"
            if package == "mfsearch" and there in LAYERS and LAYERS.index(there) > LAYERS.index(here) and not door:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert wrong == []


@pytest.mark.parametrize("library", HOME)
def test_a_library_is_known_to_its_homes_only(library: str) -> None:
    files = [*sources("mfsearch"), *sources("app")]
    homes = [path for path in files if any(name.split(".")[0] == library for _, name in imported(path))]
    outside = [
        str(path.relative_to(ROOT))
        for path in homes
        if not any(path.is_relative_to(ROOT / home) for home in HOME[library])
    ]
    assert outside == []
    assert homes


def test_tests_and_app_are_not_imported_by_the_package() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sources("mfsearch")
        for line, name in imported(path)
        if name.split(".")[0] in ("tests", "app", "benchmarks", "pytest")
    ]
    assert wrong == []


def definitions(folder: str, kind: type[ast.ClassDef] | type[ast.FunctionDef]) -> Iterator[tuple[str, str]]:
    """Name and path of every class or function, nested ones too."""
    for path in sources(folder):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, kind):
                yield node.name, str(path.relative_to(ROOT))


def test_names_of_files_and_classes_are_unique() -> None:
    files = Counter(path.name for path in sources("mfsearch") if path.name != "__init__.py")
    assert [name for name, count in files.items() if count > 1] == []
    classes = [*definitions("mfsearch", ast.ClassDef), *definitions("app", ast.ClassDef)]
    counts = Counter(name for name, _ in classes)
    assert [(name, path) for name, path in classes if counts[name] > 1] == []


def test_dominance_and_hypervolume_are_defined_once() -> None:
    pattern = re.compile(r"dominat|nowhere_worse|hypervolume|pareto_mask|^_?fronts$")
    defined = [each for folder in ("mfsearch", "app", "benchmarks") for each in definitions(folder, ast.FunctionDef)]
    homes = {path for name, path in defined if pattern.search(name)}
    assert homes == {"mfsearch/pareto.py"}


def loaded_by(code: str) -> set[str]:
    report = f"{code}\nimport sys; print(*{{name.split('.')[0] for name in sys.modules}}, file=sys.stderr)"
    run = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    return set(run.stderr.split())


def test_the_command_line_opens_without_the_heavy_libraries() -> None:
    """`mfsearch --help` answers at once: torch alone would take seconds."""
    heavy = {
        "torch",
        "numpy",
        "pandas",
        "optuna",
        "plotly",
        "streamlit",
        "onnx",
        "onnxruntime",
        "sklearn",
        "yaml",
        "rich",
    }
    assert loaded_by("import mfsearch.cli") & heavy == set()
    with_help = (
        "import contextlib, mfsearch.cli\n"
        "for words in (), *([name] for name in mfsearch.cli.COMMANDS):\n"
        "    with contextlib.suppress(SystemExit): mfsearch.cli.main([*words, '--help'])"
    )
    loaded = loaded_by(with_help)
    assert loaded & heavy == set()
    assert "mfsearch" in loaded


def test_the_command_line_alone_reads_arguments_and_environment() -> None:
    """torchrun's variables are read by the command `train`."""
    found = set()
    for path in sources("mfsearch"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("sys.argv", "os.environ", "os.getenv"):
                found.add(str(path.relative_to(ROOT / "mfsearch")))
    assert found == {"cli.py", "commands/train.py"}


def test_configs_costs_and_spaces_need_no_torch() -> None:
    heavy = {"torch", "numpy", "pandas", "optuna", "onnx", "onnxruntime", "sklearn"}
    code = "import mfsearch.presets, mfsearch.units, mfsearch.space.solve, mfsearch.cost.madds, mfsearch.cost.memory"
    assert loaded_by(code) & heavy == set()


def test_data_that_is_not_there_is_told_before_torch_is_loaded() -> None:
    """An answer to a mistyped path that takes eight seconds of two busy cores is a fault of its own."""
    commands = "run --budget 20M", "calibrate --budget 20M", "twins mf-26m", "ablate", "train mf-26m", "evaluate found"
    code = (
        "import mfsearch.cli\n"
        f"for words in {commands}:\n"
        "    assert mfsearch.cli.main([*words.split(), '--data', 'nowhere']) == 2, words"
    )
    assert loaded_by(code) & {"torch", "optuna", "onnxruntime"} == set()
