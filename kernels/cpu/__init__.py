"""Kernels for the CPU, compiled by Numba.

`KERNELS` maps the name of an op's half, such as `"conv2d_forward"` or `"batch_norm_backward"`, to a function with the
signature and the results of the NumPy reference of that name in `tinyresnet/ops/`. The back end "numba" looks here by
name and falls back, op by op, to the reference for every name that is missing. So an empty table is a complete
back end: it computes what "numpy" computes.

This module must import without Numba: the back end asks for Numba itself and says what to install.
"""

from collections.abc import Callable

KERNELS: dict[str, Callable[..., object]] = {}
