"""Prints how close tinyresnet comes to TF-Slim: python -m tests.peers.tf_slim.report, on back end TINYRESNET_BACKEND.

One line a fixture and a kind of array: the largest error, divided by the scale that test_tf_slim.py divides by, and where it was.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import numpy as np

from tests.peers.tf_slim import ours, seeded
from tests.peers.tf_slim.compare import Comparison, compare
from tinyresnet import get_backend

FIXTURES = pathlib.Path(__file__).parent / "fixtures"


def comparisons(fixture: dict[str, np.ndarray]) -> Iterator[tuple[str, Comparison]]:
    """(case, comparison) for every array of every case."""
    for case in (key.removesuffix("/meta") for key in fixture if key.endswith("/meta")):
        meta, recorded = seeded.unpack_json(fixture[f"{case}/meta"]), seeded.unpack(fixture, case)
        if "images" in meta:
            results = [ours.run_net(meta)]
        else:
            results = [ours.run_layer(meta, layer) for layer in ours.LAYERS[meta["function"]]]
        if meta["function"] == "softmax":
            del recorded["gradients"]  # it has no pullback here
        yield from ((case, comparison) for result in results for comparison in compare(result, meta, recorded))


def main() -> None:
    print(f"back end {get_backend()}, NumPy {np.__version__}")
    for name in "layers", "nets", "nets_float64":
        with np.load(FIXTURES / f"{name}.npz") as file:
            fixture = dict(file)
        print(f"{name}  (recorded with {seeded.unpack_json(fixture['versions'])})")
        worst: dict[str, tuple[str, Comparison]] = {}
        for case, comparison in comparisons(fixture):
            if comparison.group not in worst or comparison.error > worst[comparison.group][1].error:
                worst[comparison.group] = case, comparison
        for group, (case, comparison) in worst.items():
            error, allowed = comparison.error, comparison.allowed
            print(f"  {group:20} {error:.1e} of {allowed:.0e} allowed   {case}: {comparison.name}")


if __name__ == "__main__":
    main()
