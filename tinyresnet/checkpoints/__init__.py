"""Variables in a file and back: safetensors under TF-Slim's names, written so that a kill at any moment leaves a whole file."""

from .checkpoint import Checkpoint, load, read_metadata, save
from .files import write_atomically
from .fit import CheckpointMismatch, check_fit, restore
from .slots import join_slots, split_slots

__all__ = [
    "Checkpoint",
    "CheckpointMismatch",
    "check_fit",
    "join_slots",
    "load",
    "read_metadata",
    "restore",
    "save",
    "split_slots",
    "write_atomically",
]
