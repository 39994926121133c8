"""Does a damaged or hostile file ever end in a traceback, a hang, a flood of memory, or pass in silence?

    python benchmarks/mutations.py [--count 2000] [--seed 0] [--kind bundle] [--json]

Each mutation changes one file that a user can hand in and gives it to one command, in a process of its own with a limit
of 60 seconds and 2 GB. A traceback is any error that is not a sentence with an exit code of its own; a flood is a peak
of more than 1 GB; silence is exit code 0 for a value of a kind that cannot be right, with no word about it. The
processes are forked from one that has imported torch, so a mutation takes a fraction of a second.

`--count 2000` on 2026-11-28: 0 tracebacks, 0 hangs, a peak of 541 MB, the slowest command 16 s. In two runs of 500 and
2,000 seven values of studies passed in silence: settings in the ledger that differ from the manifest's, a line nested
too deeply, a trial left out of an export without a word. All are said now; one was a journal that is not there yet,
which is no fault. Before the limits, `--count 160`: 4 tracebacks, 2 hangs, 7 in silence, a peak of 2,310 MB.
"""

import argparse
import contextlib
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

TESTS = Path(__file__).resolve().parents[1] / "tests"
SPACE = TESTS / "tiny_space.yaml"
LIMIT_S, LIMIT_BYTES, FLOOD_BYTES = 60.0, 2 << 30, 1 << 30
CODES = (0, 1, 2, 130)
LONGEST = 200  # characters of what was given that a message may repeat

Data = Any  # what JSON holds


class Outcome(NamedTuple):
    """How a command ended. code: 99 for an exception, -9 for a process that was killed."""

    code: int
    said: str
    seconds: float
    peak_bytes: int


class Mutation(NamedTuple):
    """What was changed. wrong: no reader may take it for a file of its kind, so a command must say something."""

    what: str
    wrong: bool


class Fault(NamedTuple):
    """A mutation that did not end as it should. fault: traceback, hang, flood, silence or long message."""

    fault: str
    kind: str
    command: str
    seed: str
    what: str
    said: str


# --- one process a command -----------------------------------------------------------------------------------------


def run(words: list[str], *, limit_s: float = LIMIT_S) -> Outcome:
    """The command line in a forked process, with limits on time and memory."""
    sys.stdout.flush()
    sys.stderr.flush()
    begun = time.monotonic()
    with tempfile.TemporaryFile() as file:
        child = os.fork()
        if child == 0:
            _serve(words, file.fileno())
        while True:
            ended, status, usage = os.wait4(child, os.WNOHANG)
            if ended:
                break
            if time.monotonic() - begun > limit_s:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.002)
        seconds = time.monotonic() - begun
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)  # workers that it left
        file.seek(0)
        said = file.read(1 << 20).decode(errors="replace")
    return Outcome(os.waitstatus_to_exitcode(status), said, seconds, usage.ru_maxrss * 1024)


def _serve(words: list[str], output: int) -> None:
    code = 99
    try:
        os.setsid()
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + LIMIT_BYTES, mapped + LIMIT_BYTES))
        from mfsearch.cli import main

        try:
            code = main(words)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


# --- mutations of plain data ---------------------------------------------------------------------------------------


def places(data: Data, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a tree, without the root's."""
    for key, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield (*path, key)
        yield from places(value, (*path, key))


def inside(data: Data, path: tuple[Any, ...]) -> Data:
    for key in path:
        data = data[key]
    return data


MARKUP = "<img src=x onerror=alert(1)> `x` | [a](http://b)\n# c"
ODD: list[Data] = [
    *(None, True, False, -1, 0, 0.5, 10**30, 1e400, float("nan"), "", "word", "x" * 5000, MARKUP, "\ud800", "1e-5"),
    *([], {}, [[1]], {"a": {"b": []}}, [None], [0] * 500),
]


def kind_of(value: Data) -> str:
    if isinstance(value, bool) or value is None:
        return str(value)
    return "number" if isinstance(value, int | float) else type(value).__name__


def mutate_tree(data: Data, rng: random.Random, *, free: Callable[[str], bool], knobs: bool = False) -> Mutation:
    """Change one or two places of a tree. free: places that a reader need not look at. knobs: a list may stand for a
    single value."""
    path = rng.choice(list(places(data)))
    parent, key = inside(data, path[:-1]), path[-1]
    name = ".".join(map(str, path))
    way = rng.randrange(8)
    if way == 0:
        del parent[key]
        return Mutation(f"{name} removed", wrong=False)
    if way == 1:
        other = rng.choice(list(places(data)))
        if other[: len(path)] != path and path[: len(other)] != other:
            there = inside(data, other[:-1])
            parent[key], there[other[-1]] = there[other[-1]], parent[key]
        return Mutation(f"{name} and {'.'.join(map(str, other))} changed places", wrong=False)
    if way == 2 and isinstance(parent, dict):
        parent[f"{key}x"] = parent.pop(key)
        return Mutation(f"{name} renamed", wrong=False)
    if way == 3 and isinstance(parent[key], int | float):
        before = parent[key]
        parent[key] = rng.choice([before * 1000, -before, before + 1, before / 7, str(before)])
        return Mutation(f"{name} = {parent[key]!r:.60}", wrong=False)
    before, parent[key] = parent[key], rng.choice(ODD)
    is_container = isinstance(parent[key], dict | list)
    wrong = is_container and isinstance(before, str | int | float) and not (knobs and isinstance(parent[key], list))
    return Mutation(f"{name} = {parent[key]!r:.60}", wrong=wrong and not free(name))


# --- mutations of a file -------------------------------------------------------------------------------------------


def bomb(form: str) -> str:
    """YAML that grows to 9 ** 12 values where aliases are expanded."""
    lines = ["a0: &a0 [1]" if form == "[{}]" else "a0: &a0 {k: 1}"]
    for k in range(1, 13):
        each = ", ".join(f"*a{k - 1}" if form != "{{{}}}" else f"k{n}: *a{k - 1}" for n in range(9))
        lines.append(f"a{k}: &a{k} {form.format(each)}")
    return "\n".join(lines) + "\n"


YAML_TEXTS: dict[str, Callable[[], str]] = {
    "a bomb of lists": lambda: bomb("[{}]"),
    "a bomb of mappings": lambda: bomb("{{{}}}"),
    "a bomb of merges": lambda: bomb("{{<<: [{}]}}"),
    "a list that holds itself": lambda: "a: &a [*a]\n",
    "a list of 5 MB": lambda: "a: [" + "1, " * 1_700_000 + "1]\n",
    "100,000 keys": lambda: "".join(f"k{k}: {k}\n" for k in range(100_000)),
    "a scalar of 5 MB": lambda: "name: " + "x" * 5_000_000 + "\n",
    "100,000 levels": lambda: "a: " + "[" * 100_000,
    "a number of 5,000 digits": lambda: "groups: " + "9" * 5000 + "\n",
    "a bool that is none": lambda: "groups: !!bool x\n",
    "a date that is none": lambda: "groups: 2026-13-45\n",
    "infinity": lambda: "groups: .inf\n",
    "an object of Python": lambda: "groups: !!python/object/apply:os.getcwd []\n",
    "a set": lambda: "groups: !!set {a, b}\n",
    "a key that is a list": lambda: "? [a, b]\n: 1\n",
    "a colon": lambda: ":\n",
    "two documents": lambda: "a: 1\n---\na: 2\n",
    "binary": lambda: "groups: !!binary 'x'\n",
}
JSON_TEXTS: dict[str, Callable[[], str]] = {
    "a list of 5 MB": lambda: '{"a": [' + "1, " * 1_700_000 + "1]}\n",
    "100,000 levels": lambda: '{"a": ' + "[" * 100_000,
    "100,000 levels, closed": lambda: '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}\n",
    "a scalar of 5 MB": lambda: '{"name": "' + "x" * 5_000_000 + '"}\n',
    "a number of 5,000 digits": lambda: '{"seed": ' + "9" * 5000 + "}\n",
    "a list": lambda: "[1, 2]\n",
    "a word": lambda: '"word"\n',
    "nothing": lambda: "null\n",
    "a lone surrogate": lambda: '{"study": "\\ud800"}\n',
}
FILES: dict[str, Callable[[Path], None]] = {
    "a link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "a pipe": os.mkfifo,
    "a link to a pipe": lambda path: _pipe_behind_link(path),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a folder": lambda path: path.mkdir(),
    "nothing": lambda path: None,
    "a sparse file of 20 GB": lambda path: _sparse(path),
}


def _pipe_behind_link(path: Path) -> None:
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to("pipe")


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(20 << 30)


def mutate_file(path: Path, rng: random.Random, texts: dict[str, Callable[[], str]]) -> Mutation:
    """Put something else in a file's place, or damage its bytes."""
    way = rng.randrange(6)
    if way == 0:
        what = rng.choice(list(FILES))
        path.unlink()
        FILES[what](path)
        unborn = (path.name, what) == ("journal.log", "nothing")  # a study whose first trial is not there yet
        return Mutation(f"{path.name} is {what}", wrong=not unborn)
    if way in (1, 2):
        what = rng.choice(list(texts))
        path.write_text(texts[what](), encoding="utf-8")
        return Mutation(f"{path.name} is {what}", wrong=True)
    content = path.read_bytes()
    at = rng.randrange(len(content))
    changed = {
        "cut at": lambda: content[:at],
        "byte turned at": lambda: content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :],
        "zeros at": lambda: content[:at] + b"\0" * rng.choice([1, 100]) + content[at + 1 :],
        "bytes put in at": lambda: (
            content[:at] + rng.choice([b"\xff\xfe", b": ", b"\n", b"{", b"]", b"&a *a", b'"']) + content[at:]
        ),
    }
    what = rng.choice(list(changed))
    path.write_bytes(changed[what]())
    return Mutation(f"{path.name} {what} {at}", wrong=False)


# --- the kinds of file ---------------------------------------------------------------------------------------------


def mutate_space(folder: Path, rng: random.Random) -> Mutation:
    path = folder / "space.yaml"
    if rng.random() < 0.4:
        return mutate_file(path, rng, YAML_TEXTS)
    data = yaml.safe_load(path.read_text())
    way = rng.randrange(8)
    if way == 0:
        values = rng.choice([1000, 10_000])
        data["head"]["hidden"] = list(range(4, 4 + values))
        found = Mutation(f"a knob of {values} values", wrong=False)
    elif way == 1:
        rows, repeat = rng.choice([(64, 64), (1000, 1), (4, 64)])
        data["blocks"] = {f"s2_{k}": {"repeat": repeat, "expand": 2, "out": 8} for k in range(rows)}
        found = Mutation(f"{rows} rows of {repeat}", wrong=False)
    else:
        found = mutate_tree(data, rng, free=lambda _: False, knobs=True)
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return found


def mutate_network(folder: Path, rng: random.Random) -> Mutation:
    path = folder / rng.choice(["network.yaml", "network.json"])
    for other in folder.iterdir():
        if other != path:
            other.unlink()
    if rng.random() < 0.3:
        return mutate_file(path, rng, JSON_TEXTS if path.suffix == ".json" else YAML_TEXTS)
    data = json.loads(path.read_text()) if path.suffix == ".json" else yaml.safe_load(path.read_text())
    if rng.random() < 0.1:
        data["blocks"] = data["blocks"] * rng.choice([50, 1000])
        found = Mutation(f"{len(data['blocks'])} blocks", wrong=False)
    else:
        found = mutate_tree(data, rng, free=lambda _: False)
    path.write_text(json.dumps(data) if path.suffix == ".json" else yaml.safe_dump(data, sort_keys=False))
    return found


def _is_free_in_bundle(name: str) -> bool:
    """What a bundle tells of others and no command reads: a recipe, a passport, params."""
    return any(part in name for part in ("recipe.", "rungs.", "passport.", "params.", "full_training.", "schema"))


def mutate_bundle(folder: Path, rng: random.Random) -> Mutation:
    """Change a file of a bundle; the hashes are those of the changed files."""
    place = folder / "bundle"
    manifest = json.loads((place / "manifest.json").read_text())
    name = rng.choice(["metrics.json"] * 4 + ["manifest.json"] * 4 + ["arch.yaml", "train.yaml"] * 2 + ["model.onnx"])
    path, way = place / name, rng.random()
    if name == "model.onnx":
        if way < 0.5:
            path.write_bytes(endless_graph(path))
            found = Mutation("model.onnx has an endless loop", wrong=True)
        else:
            found = mutate_file(path, rng, YAML_TEXTS)
    elif way < 0.25:
        found = mutate_file(path, rng, JSON_TEXTS if path.suffix == ".json" else YAML_TEXTS)
        if name == "manifest.json":
            return found
    elif path.suffix == ".yaml":
        data = yaml.safe_load(path.read_text())
        found = mutate_tree(data, rng, free=lambda name: name in ("model", "channels_last", "seed"))
        path.write_text(yaml.safe_dump(data, sort_keys=False))
    elif name == "metrics.json":
        data = json.loads(path.read_text())
        found = mutate_tree(data, rng, free=_is_free_in_bundle)
        path.write_text(json.dumps(data, indent=1) + "\n")
    else:
        del manifest["sha256"]
        found = mutate_tree(manifest, rng, free=_is_free_in_bundle)
    for file, facts in manifest["files"].items() if isinstance(manifest.get("files"), dict) else ():
        if (
            (place / file).is_file()
            and isinstance(facts, dict)
            and name != "manifest.json"
            and ((place / file).stat().st_size < 1 << 30)
        ):
            content = (place / file).read_bytes()
            facts |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest.pop("sha256", None)
    digest = hashlib.sha256((json.dumps(manifest, indent=1) + "\n").encode()).hexdigest()
    (place / "manifest.json").write_text(json.dumps({**manifest, "sha256": digest}, indent=1) + "\n")
    return found


def endless_graph(path: Path) -> bytes:
    """The graph of an ONNX file with a loop of 2 ** 62 turns before its answer."""
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(str(path))
    graph = model.graph
    last = graph.output[0].name
    for node in graph.node:
        node.output[:] = [f"{name}_before" if name == last else name for name in node.output]
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Sin", ["x"], ["y"])],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
        ],
    )
    graph.initializer.append(helper.make_tensor("turns", TensorProto.INT64, [], [1 << 62]))
    graph.initializer.append(helper.make_tensor("yes", TensorProto.BOOL, [], [True]))
    graph.node.append(helper.make_node("Loop", ["turns", "yes", f"{last}_before"], [last], body=body))
    return bytes(model.SerializeToString())


def _is_free_in_study(name: str) -> bool:
    """What a manifest or a row tells of its making and no command compares or shows."""
    words = ("host", "versions", "created", "git_revision", "command", "schema", "normalisation", "class_names")
    return name.split(".")[0] in (*words, "worker_id", "datetime_start", "datetime_complete", "values", "storage")


def mutate_study(folder: Path, rng: random.Random) -> Mutation:
    """Change a study's manifest, or a line of its journal."""
    path = folder / "s" / rng.choice(["manifest.json", "journal.log"])
    if rng.random() < 0.2:
        return mutate_file(path, rng, JSON_TEXTS)
    if path.name == "manifest.json":
        data = json.loads(path.read_text())
        found = mutate_tree(data, rng, free=_is_free_in_study)
        path.write_text(json.dumps(data, indent=1) + "\n")
        return found
    lines = path.read_text().splitlines()
    at = rng.randrange(len(lines))
    way = rng.randrange(10)
    if way == 0:
        lines.insert(at, rng.choice(["", "{", "[1]", "null", '{"op_code": 99}', lines[at]]))
        found = Mutation("a line put in", wrong=False)
    elif way == 1:
        del lines[at]
        found = Mutation("a line removed", wrong=False)
    else:
        data = json.loads(lines[at])
        found = mutate_tree(data, rng, free=_is_free_in_study)
        lines[at] = json.dumps(data, separators=(",", ":"))
    path.write_text("\n".join(lines) + "\n")
    return Mutation(f"journal.log:{at + 1}: {found.what}", found.wrong)


BUDGET = ("--budget", "0.5M", "--resolution", "32", "--classes", "10")
SEARCH = (
    *("run", *BUDGET, "--space", str(SPACE), "--data", "digits", "--proxy-resolution", "16", "--samples", "64"),
    *("--batch", "16", "--epochs", "1", "--rungs", "1", "--trials", "3", "--study", "s"),
)
TRAINING = (
    "--data",
    "digits",
    "--samples",
    "64",
    "--epochs",
    "1",
    "--batch",
    "32",
    "--micro-batch",
    "32",
    "--size",
    "16",
)


class Kind(NamedTuple):
    """A kind of file: how it is changed, and the commands that take it, with FOLDER for where it lies."""

    mutate: Callable[[Path, random.Random], Mutation]
    commands: list[list[str]]


KINDS = {
    "space": Kind(
        mutate_space,
        [
            ["space", "FOLDER/space.yaml"],
            ["run", "--dry-run", *BUDGET, "--space", "FOLDER/space.yaml", "--trials", "2", "--results", "FOLDER/r"],
        ],
    ),
    "network": Kind(
        mutate_network, [["describe", "FOLDER/NETWORK"], ["export", "FOLDER/NETWORK", "--to", "FOLDER/to"]]
    ),
    "bundle": Kind(
        mutate_bundle,
        [
            ["verify", "FOLDER/bundle", "--no-latency"],
            ["export", "FOLDER/bundle", "--to", "FOLDER/to"],
            ["train", "FOLDER/bundle", "--to", "FOLDER/to", "--replace", *TRAINING],
        ],
    ),
    "study": Kind(
        mutate_study,
        [
            ["show", "FOLDER/s"],
            ["show", "FOLDER/s", "--all"],
            ["show", "FOLDER/s", "--all", "--json"],
            ["describe", "FOLDER/s:1"],
            ["export", "FOLDER/s", "--knee", "--to", "FOLDER/to"],
            [*SEARCH, "--results", "FOLDER"],
        ],
    ),
}


def prepare(place: Path) -> None:
    """One good file of each kind, in folders of their names."""
    from mfsearch.config import load_config

    spaces, networks = place / "space", place / "network"
    for folder in (spaces, networks):
        folder.mkdir(parents=True)
    shutil.copy(SPACE, spaces / "space.yaml")
    commands = [
        [*SEARCH, "--results", str(place / "study")],
        ["export", str(place / "study" / "s"), "--knee", "--to", str(place / "bundle" / "bundle")],
    ]
    for words in commands:
        made = run(words, limit_s=300)
        if made.code != 0:
            raise RuntimeError(f"`mfsearch {' '.join(words)}` ended with {made.code}: {made.said}")
    config = load_config(place / "bundle" / "bundle" / "arch.yaml")
    for name in ("network.yaml", "network.json"):
        config.save(networks / name)


def judge(kind: str, words: list[str], seed: str, found: Mutation, end: Outcome) -> Fault | None:
    """What is wrong with how a command ended, None for nothing."""
    longest = max((len(word) for line in end.said.splitlines() for word in line.split()), default=0)
    if end.code == -signal.SIGKILL and end.seconds > LIMIT_S:
        fault = "hang"
    elif end.code not in CODES or "Traceback" in end.said:
        fault = "traceback"
    elif end.peak_bytes > FLOOD_BYTES:
        fault = f"flood ({end.peak_bytes >> 20} MB)"
    elif (
        (found.wrong and end.code == 0 and "cannot be read" not in end.said)
        and not (found.what.startswith("model.onnx") and words[0] != "verify")  # the others do not read it
        and not (found.what.startswith("journal.log") and words[0] == "describe")  # it reads one trial
    ):
        fault = "silence"
    elif end.code and (longest > LONGEST + 60 or len(end.said) > 5000):
        fault = "long message"
    else:
        return None
    return Fault(fault, kind, words[0], seed, found.what, end.said[-1500:])


def measure(count: int, seed: int, kinds: list[str], *, tell: bool = False) -> tuple[list[Fault], dict[str, Any]]:
    """The faults of `count` mutations, the kinds in turn, and figures on time and memory."""
    import mfsearch.commands.display
    import mfsearch.export.check
    import mfsearch.search.loop
    import mfsearch.train.fit  # all that the commands import, before any fork  # noqa: F401

    faults, seconds, peak, codes = [], [0.0], 0, Counter[str]()
    with tempfile.TemporaryDirectory(prefix="mfsearch-mutations-") as base:
        good = Path(base) / "good"
        prepare(good)
        for k in range(count):
            kind = kinds[k % len(kinds)]
            name = f"{seed}:{kind}:{k}"
            rng = random.Random(name)
            folder = Path(base) / "now"
            shutil.copytree(good / kind, folder)
            found = KINDS[kind].mutate(folder, rng)
            network = next(iter(path.name for path in folder.iterdir() if path.name.startswith("network")), "")
            words = [
                word.replace("FOLDER", str(folder)).replace("NETWORK", network)
                for word in rng.choice(KINDS[kind].commands)
            ]
            end = run(words)
            if (fault := judge(kind, words, name, found, end)) is not None:
                faults.append(fault)
                if tell:
                    print(f"{fault.fault}: {name}: mfsearch {words[0]}: {found.what}\n{fault.said}\n", file=sys.stderr)
            seconds.append(end.seconds)
            peak = max(peak, end.peak_bytes)
            codes[f"{kind} {end.code}"] += 1
            shutil.rmtree(folder)
            if tell and (k + 1) % 100 == 0:
                print(f"{k + 1} mutations, {len(faults)} faults, peak {peak >> 20} MB", file=sys.stderr, flush=True)
    figures = {
        "seconds": sum(seconds),
        "slowest_s": max(seconds),
        "peak_mb": peak >> 20,
        "codes": dict(sorted(codes.items())),
    }
    return faults, figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Change files at random and look how the commands take them.")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=list(KINDS), action="append", help="kinds of files (default: all)")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    faults, figures = measure(given.count, given.seed, given.kind or list(KINDS), tell=not given.json)
    if given.json:
        print(json.dumps({"faults": [fault._asdict() for fault in faults], **figures}, indent=1))
    else:
        by_kind = Counter((fault.fault.partition(" (")[0], fault.kind, fault.command) for fault in faults)
        print(*(f"{n:>4} {what}: {kind} in {command}" for (what, kind, command), n in by_kind.most_common()), sep="\n")
        print(f"{given.count} mutations, {len(faults)} faults; {figures}")
    raise SystemExit(1 if faults else 0)
