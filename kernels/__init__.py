"""Machine code for the operations that need it: `cpu/` is Numba, `cuda/` is CUDA C and its launcher.

The folder stands at the top level of the repository and is imported as `tinyresnet.kernels`. Kernels know arrays and
integers only, nothing of layers, scopes or variables; `tinyresnet/backend.py` is the one place that looks them up.
"""
