"""Writes tiny CIFAR releases, byte by byte as the official ones are laid out; shares no code with the reader."""

import struct
from pathlib import Path

import numpy as np

NAMES = {
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    "cifar100": tuple(f"fine_{i}" for i in range(100)),
}
FOLDERS = {
    ("cifar10", "binary"): "cifar-10-batches-bin",
    ("cifar10", "python"): "cifar-10-batches-py",
    ("cifar100", "binary"): "cifar-100-binary",
    ("cifar100", "python"): "cifar-100-python",
}
BATCHES = {"cifar10": [f"data_batch_{i}" for i in range(1, 6)], "cifar100": ["train"]}
TESTS = {"cifar10": "test_batch", "cifar100": "test"}


def tiny_images(name: str, per_class: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [N,3072] and labels 0, 1, 2, ..., 0, 1, 2, ...; no two images are alike."""
    labels = np.tile(np.arange(len(NAMES[name])), per_class)
    return np.random.default_rng(5).integers(0, 256, (len(labels), 3072), dtype=np.uint8), labels


def write_cifar(root: Path, name: str, layout: str, per_class: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """A release below root with garbage as its test part; returns its training images [N,3,32,32] and their labels."""
    folder = root / FOLDERS[name, layout]
    folder.mkdir(parents=True)
    data, labels = tiny_images(name, per_class)
    parts = np.array_split(np.arange(len(labels)), len(BATCHES[name]))
    for file, part in zip(BATCHES[name], parts, strict=True):
        if layout == "binary":
            coarse = [b""] * len(part) if name == "cifar10" else [bytes([label % 20]) for label in labels[part]]
            records = [
                c + bytes([label]) + row.tobytes()
                for c, label, row in zip(coarse, labels[part], data[part], strict=True)
            ]
            (folder / f"{file}.bin").write_bytes(b"".join(records))
        else:
            key = "labels" if name == "cifar10" else "fine_labels"
            (folder / file).write_bytes(python2_batch(data[part], labels[part].tolist(), key))
    if layout == "binary":
        names_file = "batches.meta.txt" if name == "cifar10" else "fine_label_names.txt"
        (folder / names_file).write_text("\n".join(NAMES[name]) + "\n\n")  # the official file ends with an empty line
        (folder / f"{TESTS[name]}.bin").write_bytes(b"garbage")
    else:
        key, names_file = ("label_names", "batches.meta") if name == "cifar10" else ("fine_label_names", "meta")
        (folder / names_file).write_bytes(python2_dict({key: python2_list([text(n) for n in NAMES[name]])}))
        (folder / TESTS[name]).write_bytes(b"garbage")
    return data.reshape(-1, 3, 32, 32), labels


# Pickle protocol 2 as Python 2 with numpy 1 wrote it: text and bytes are both SHORT_BINSTRING or BINSTRING.


def text(value: str) -> bytes:
    return b"U" + bytes([len(value)]) + value.encode("ascii")


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def python2_list(items: list[bytes]) -> bytes:
    return b"](" + b"".join(items) + b"e"


def python2_dict(items: dict[str, bytes]) -> bytes:
    return b"\x80\x02}(" + b"".join(text(key) + value for key, value in items.items()) + b"u."


def python2_array(data: np.ndarray, code: str = "u1") -> bytes:
    """An array of one byte an element, in C order."""
    rows, columns = data.shape
    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    shape = number(rows) + number(columns) + b"\x86"
    dtype = b"cnumpy\ndtype\n" + text(code) + b"K\x00K\x01\x87R(K\x03U\x01|NNN" + number(-1) + number(-1) + b"K\x00tb"
    content = b"T" + struct.pack("<i", data.size) + data.tobytes()
    return empty + b"(K\x01" + shape + dtype + b"\x89" + content + b"tb"


def python2_batch(data: np.ndarray, labels: list[int], key: str) -> bytes:
    return python2_dict(
        {
            "batch_label": text("training batch 1 of 5"),
            key: python2_list([number(label) for label in labels]),
            "data": python2_array(data),
            "filenames": python2_list([text(f"image_s_{i:06}.png") for i in range(len(labels))]),
        }
    )
