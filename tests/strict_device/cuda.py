"""`cupy.cuda`: one device, whose name says what it is. Only what a program asks that does not launch kernels of its own."""

from __future__ import annotations

import types
from typing import Any

from . import log


class CUDARuntimeError(RuntimeError):
    """As CuPy's; the stand-in never raises it, programs catch it."""


class Device:
    """The device; also a context manager, as in CuPy."""

    def __init__(self, device: int = 0) -> None:
        if device:
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        self.id = 0

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def use(self) -> Device:
        return self

    def synchronize(self) -> None:
        log.sync("Device.synchronize()")


class Stream:
    """The only stream: everything runs at once."""

    null: Stream

    def synchronize(self) -> None:
        log.sync("Stream.synchronize()")


Stream.null = Stream()


def _count() -> int:
    return 1


def _properties(device: int) -> dict[str, Any]:
    return {
        "name": b"strict device (NumPy)",
        "major": 9,
        "minor": 0,
        "totalGlobalMem": 80 << 30,
        "multiProcessorCount": 132,
    }


def _current_stream() -> Stream:
    return Stream.null


def _synchronize() -> None:
    log.sync("deviceSynchronize()")


def make_cuda() -> dict[str, types.ModuleType]:
    cuda: Any = types.ModuleType("cupy.cuda")
    runtime: Any = types.ModuleType("cupy.cuda.runtime")
    cuda.Device, cuda.Stream, cuda.get_current_stream = Device, Stream, _current_stream
    cuda.is_available = lambda: True
    runtime.CUDARuntimeError, runtime.getDeviceCount = CUDARuntimeError, _count
    runtime.getDeviceProperties, runtime.deviceSynchronize = _properties, _synchronize
    cuda.__path__ = []
    return {"cupy.cuda": cuda, "cupy.cuda.runtime": runtime}
