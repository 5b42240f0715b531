"""Fixed calls of every hot op, each with a name: small, odd, and with more than one tile, panel and block.

For what hypothesis cannot reach: other processes (other vector widths, other numbers of threads, altered kernels) and several threads
at once. `numbered(case, i)` is the same call with other numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.ops.cases import Case, rng_for

CONVOLUTIONS: list[tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    # 3x3, stride 1: Winograd
    ("3x3-one-tile", (1, 4, 4, 16), (3, 3, 16, 16), {}),
    ("3x3-tiles", (2, 8, 12, 32), (3, 3, 32, 48), {}),
    ("3x3-odd", (2, 7, 13, 17), (3, 3, 17, 33), {}),
    ("3x3-one-pixel", (3, 1, 1, 8), (3, 3, 8, 5), {}),
    ("3x3-one-channel", (2, 9, 5, 1), (3, 3, 1, 1), {}),
    ("3x3-valid", (1, 10, 11, 31), (3, 3, 31, 24), {"padding": "VALID"}),
    ("3x3-uneven-padding", (2, 14, 13, 17), (3, 3, 17, 40), {"padding": ((0, 2), (3, 1))}),
    ("3x3-wide-padding", (1, 3, 4, 4), (3, 3, 4, 20), {"padding": ((5, 4), (4, 5))}),
    ("3x3-many-tiles", (2, 25, 27, 16), (3, 3, 16, 24), {}),
    ("3x3-many-channels", (1, 7, 7, 130), (3, 3, 130, 70), {}),
    ("3x3-few-channels", (2, 12, 11, 7), (3, 3, 7, 9), {}),
    # 1x1: a matrix product
    ("1x1", (2, 7, 6, 32), (1, 1, 32, 64), {}),
    ("1x1-odd", (1, 5, 5, 31), (1, 1, 31, 65), {}),
    ("1x1-one-channel", (2, 3, 5, 1), (1, 1, 1, 1), {}),
    ("1x1-one-pixel", (1, 1, 1, 40), (1, 1, 40, 17), {}),
    ("1x1-deep", (1, 5, 4, 600), (1, 1, 600, 20), {}),
    ("1x1-many-pixels", (2, 31, 23, 12), (1, 1, 12, 24), {}),
    ("1x1-stride", (2, 9, 8, 16), (1, 1, 16, 24), {"stride": 2}),
    ("1x1-uneven-stride", (2, 9, 8, 5), (1, 1, 5, 7), {"stride": (3, 2)}),
    ("1x1-padding", (2, 4, 5, 6), (1, 1, 6, 8), {"padding": ((1, 2), (0, 3)), "stride": 2}),
    # the others: tiles of columns
    ("root", (2, 21, 19, 3), (7, 7, 3, 64), {"stride": 2, "padding": ((3, 3), (3, 3))}),
    ("3x3-stride", (2, 11, 9, 16), (3, 3, 16, 24), {"stride": 2, "padding": ((1, 1), (1, 1))}),
    ("3x3-stride-same", (1, 12, 10, 9), (3, 3, 9, 16), {"stride": 2}),
    ("3x3-atrous", (2, 11, 10, 16), (3, 3, 16, 16), {"rate": 2}),
    ("3x3-atrous-4", (1, 13, 9, 24), (3, 3, 24, 17), {"rate": 4}),
    ("3x3-rate-beyond-the-image", (1, 5, 6, 8), (3, 3, 8, 8), {"rate": 9}),
    ("3x3-stride-beyond-the-image", (2, 5, 6, 8), (3, 3, 8, 8), {"stride": 30}),
    ("5x5", (1, 9, 10, 7), (5, 5, 7, 15), {}),
    ("2x2", (2, 6, 7, 4), (2, 2, 4, 9), {"stride": (2, 1), "padding": "VALID"}),
    ("1x3", (2, 6, 9, 5), (1, 3, 5, 33), {}),
    ("3x1-everything", (2, 14, 9, 6), (3, 1, 6, 10), {"stride": (2, 3), "rate": (2, 1), "padding": ((1, 4), (0, 2))}),
    ("3x3-stride-deep", (1, 6, 6, 140), (3, 3, 140, 40), {"stride": 2}),
    ("3x3-empty", (0, 6, 6, 8), (3, 3, 8, 8), {}),
    ("1x1-empty", (0, 6, 6, 8), (1, 1, 8, 8), {}),
    ("3x3-stride-empty", (0, 6, 6, 8), (3, 3, 8, 8), {"stride": 2}),
]
IMAGES = {"tiles": (2, 8, 6, 32), "odd": (3, 7, 5, 17), "one-channel": (2, 9, 11, 1), "one-pixel": (4, 1, 1, 65)}
MAPS = {**IMAGES, "blocks": (2, 61, 67, 9), "wide": (1, 3, 2, 520), "empty": (0, 5, 4, 8)}
ROWS = {"rank2": (37, 33), "rank3": (3, 5, 7)}
POOLS: list[tuple[str, tuple[int, ...], dict[str, Any]]] = [
    ("pool1", (2, 14, 13, 32), {"kernel_size": 3, "stride": 2, "padding": "SAME"}),
    ("pool1-explicit", (2, 13, 12, 33), {"kernel_size": 3, "stride": 2, "padding": ((1, 1), (1, 1))}),
    ("overlapping", (1, 9, 10, 7), {"kernel_size": (3, 5), "stride": 1, "padding": "SAME"}),
    ("gaps", (2, 11, 12, 17), {"kernel_size": 2, "stride": (3, 5)}),
    ("all-padding", (1, 4, 3, 9), {"kernel_size": 2, "stride": 2, "padding": ((4, 3), (2, 5))}),
    ("one-pixel", (3, 1, 1, 40), {"kernel_size": 3, "stride": 2, "padding": "SAME"}),
    ("256-taps", (1, 19, 18, 5), {"kernel_size": 16, "stride": 3}),  # the winner still fits into a byte
    ("289-taps", (1, 19, 18, 5), {"kernel_size": 17, "stride": 1}),
    ("empty", (0, 6, 6, 8), {"kernel_size": 3, "stride": 2, "padding": "SAME"}),
]


def normal(name: str, shape: tuple[int, ...]) -> np.ndarray:
    return rng_for(f"{name}{shape}").standard_normal(shape)


def convolutions() -> list[Case]:
    return [
        Case(f"conv2d-{name}", "conv2d", (normal(name, x), normal(name + "w", w)), (), options)
        for name, x, w, options in CONVOLUTIONS
    ]


def convolutions_with_biases() -> list[Case]:
    return [
        Case(
            f"conv2d_bias_add-{name}",
            "conv2d_bias_add",
            (normal(name, x), normal(name + "w", w), normal(name + "b", w[3:])),
            (),
            options,
        )
        for name, x, w, options in CONVOLUTIONS
    ]


def batch_norms() -> list[Case]:
    cases = []
    for op in ("batch_norm", "batch_norm_relu", "batch_norm_inference", "batch_norm_inference_relu"):
        for name, shape in {**MAPS, **ROWS}.items():
            c = shape[-1]
            gamma, beta = 1.5 + 0.5 * normal(name + "gamma", (c,)), normal(name + "beta", (c,))
            moving = normal(name + "mean", (c,)), 0.5 + normal(name + "var", (c,)) ** 2
            constants = moving if "inference" in op else ()
            x = 2 * normal(name, shape) + 3
            cases.append(Case(f"{op}-{name}", op, (x, gamma, beta), constants, {"epsilon": 0.001}))
    return cases


def elementwise() -> list[Case]:
    cases = []
    for name, shape in {**MAPS, **ROWS}.items():
        x = normal(name, shape)
        cases += [
            Case(f"relu-{name}", "relu", (x,), (), {}),
            Case(f"bias_add-{name}", "bias_add", (x, normal(name + "b", shape[-1:])), (), {}),
            Case(f"add-{name}", "add", (x, normal(name + "b", shape)), (), {}),
        ]
    return cases


def pools() -> list[Case]:
    cases = []
    for name, shape, options in POOLS:
        cases.append(Case(f"max_pool2d-{name}", "max_pool2d", (normal(name, shape) - 3,), (), options))
        ties = np.round(normal(name + "ties", shape))
        cases.append(Case(f"max_pool2d-{name}-ties", "max_pool2d", (ties,), (), options))
    for name, shape in MAPS.items():
        x = normal(name, shape) + 1
        cases += [
            Case(f"subsample-{factor}-{name}", "subsample", (x,), (), {"factor": factor}) for factor in (1, 2, 3, 90)
        ]
        cases.append(Case(f"global_avg_pool-{name}", "global_avg_pool", (x,), (), {}))
    return cases


EXAMPLES: dict[str, Case] = {
    case.name: case for case in (*convolutions(), *convolutions_with_biases(), *batch_norms(), *elementwise(), *pools())
}


def numbered(case: Case, i: int) -> Case:
    """The same call with other numbers: the entries of each array in another order."""
    arrays = tuple(rng_for(f"{case.name}{i}").permuted(a.ravel()).reshape(a.shape) for a in case.arrays)
    return case._replace(arrays=arrays)
