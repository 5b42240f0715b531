"""A stand-in for CuPy on machines without a GPU: NumPy's arithmetic behind CuPy's interface and CuPy's refusals. See README.md.

The `backend` fixture of tests/conftest.py uses it for `--backend strict`. By hand:

    with strict_device.installed() as cupy, strict_device.recording() as seen:
        ...  # `import cupy` gives the stand-in here; the code under test cannot tell
    assert seen.syncs == 0, seen.where
"""

from .errors import UndefinedOnDevice
from .install import installed
from .log import Call, Recording, recording
from .ndarray import DeviceArray

__all__ = ["Call", "DeviceArray", "Recording", "UndefinedOnDevice", "installed", "recording"]
