"""Kernels for NVIDIA GPUs: CUDA C sources and the functions that launch them on CuPy arrays.

There are none yet. The back end "cupy" runs the plain ops of `tinyresnet/ops/` on CuPy arrays.
"""
