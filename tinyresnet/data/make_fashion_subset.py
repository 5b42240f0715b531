"""Draws the 6000 + 1000 pictures that ship with tinyresnet from the 60000 + 10000 of Fashion-MNIST, and writes them as one file.

    apt-get install dataset-fashion-mnist                          (Debian and Ubuntu)
    python -m tinyresnet.data.make_fashion_subset [FOLDER]         (FOLDER: where the four .gz files are)

The same pictures come out everywhere: the seed is fixed and the source is checked by its SHA-256. The same *bytes* come out
wherever zlib compresses as the original does; zlib-ng packs a little differently.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np

from . import FASHION_MNIST_CLASSES, FASHION_MNIST_FILE, Bytes, check_arrays

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
SEED = 0
TRAIN_PER_CLASS, TEST_PER_CLASS = 600, 100

# Of the decompressed bytes: Debian packs the files anew, so the .gz themselves differ from those of the authors.
SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


def read_idx(data: bytes) -> Bytes:
    """The array in a file of the MNIST family: two zero bytes, 8 for "unsigned byte", the rank, the sizes, the values."""
    if data[:3] != b"\0\0\x08":
        raise ValueError(f"an IDX file of bytes begins with 00 00 08, this one with {data[:3].hex(' ')}")
    rank = data[3]
    sizes = np.frombuffer(data, ">u4", count=rank, offset=4)  # big-endian
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(sizes.tolist())


def read_source(folder: Path, name: str) -> Bytes:
    """One of the four files, unpacked and checked. Raises ValueError for other bytes than the published ones."""
    data = gzip.decompress((folder / f"{name}.gz").read_bytes())
    digest = hashlib.sha256(data).hexdigest()
    if digest != SHA256[name]:
        raise ValueError(
            f"{folder / name}.gz is not Fashion-MNIST's: its SHA-256 is {digest}, but must be {SHA256[name]}"
        )
    return read_idx(data)


def stratified_subset(labels: Bytes, per_class: int, seed: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """`per_class` positions of every class, in random order: what a shuffled pack deals, with the surplus put aside."""
    # RandomState and not default_rng: its stream is the one that NumPy promises never to change (NEP 19).
    order = np.random.RandomState(seed).permutation(len(labels))
    places = [np.flatnonzero(labels[order] == k)[:per_class] for k in range(len(FASHION_MNIST_CLASSES))]
    return order[np.sort(np.concatenate(places))]  # sorted by place in the pack, so still shuffled


def make_subset(folder: Path) -> dict[str, Bytes]:
    """The four arrays of `fashion_mnist`, from the files in `folder`; train from the train files, test from the test files."""
    arrays = {}
    for part, source, per_class in (("train", "train", TRAIN_PER_CLASS), ("test", "t10k", TEST_PER_CLASS)):
        images = read_source(folder, f"{source}-images-idx3-ubyte")
        labels = read_source(folder, f"{source}-labels-idx1-ubyte")
        chosen = stratified_subset(labels, per_class, SEED)
        arrays[f"{part}_images"] = images[chosen][..., None]  # [N, 28, 28, 1]
        arrays[f"{part}_labels"] = labels[chosen]
    check_arrays(arrays)
    return arrays


def pack(arrays: dict[str, Bytes]) -> bytes:
    """An .npz file, as numpy.savez_compressed makes them, whose bytes depend on the arrays and nothing else."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))  # the earliest a zip can say
            member.create_system = 3  # "Unix", on every machine
            content = io.BytesIO()
            np.lib.format.write_array(content, array, version=(1, 0), allow_pickle=False)
            archive.writestr(member, content.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)
    return packed.getvalue()


def main(arguments: list[str] | None = None) -> int:
    """Writes the file into this package's folder, or where --out says; returns the exit code."""
    parser = argparse.ArgumentParser(
        "python -m tinyresnet.data.make_fashion_subset", description="Makes the shipped pictures again."
    )
    parser.add_argument(
        "folder", nargs="?", type=Path, default=DEBIAN_FOLDER, help="where the four .gz files are; %(default)s"
    )
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).with_name(FASHION_MNIST_FILE), help="the file to write"
    )
    given = parser.parse_args(arguments)
    try:
        packed = pack(make_subset(given.folder))
        given.out.write_bytes(packed)
    except (OSError, ValueError, EOFError, zlib.error) as error:
        print(f"make_fashion_subset: {error}", file=sys.stderr)
        if isinstance(error, FileNotFoundError):
            print("The files come with: apt-get install dataset-fashion-mnist", file=sys.stderr)
        return 1
    print(f"{given.out}: {len(packed):,} bytes, SHA-256 {hashlib.sha256(packed).hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
