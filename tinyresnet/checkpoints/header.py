"""The beginning of a safetensors file, read without the library and with suspicion: a file may be anything."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, BinaryIO

LONGEST_HEADER = 100_000_000  # bytes: safetensors' own limit
TEXTS = "__metadata__"  # safetensors' name for the texts, beside the names of arrays


def read_header(path: Path, file: BinaryIO, what: str = "safetensors file") -> dict[str, Any]:
    """The JSON at the beginning, after 8 bytes of its length; that length is looked at before anything is read.

    path, what: for the error, "PATH is no WHAT". Raises ValueError.
    """
    size, length = os.fstat(file.fileno()).st_size, int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(size - 8, LONGEST_HEADER):
        raise ValueError(
            f"{path} is no safetensors file, or not the whole of one: it has {size} bytes, and announces a header of {length}"
        )
    try:
        header = json.loads(file.read(length))
        if not isinstance(header, dict) or not isinstance(header.get(TEXTS, {}), dict):
            raise ValueError("its header is no table")
        return header
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no {what}: {error}") from error
