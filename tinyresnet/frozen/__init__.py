"""Floor 5: a net with its variables, made into one function for inference. `frozen = freeze(resnet_v2_50, variables, input_shape=...)`

| file | idea |
|---|---|
| `graph.py` | values and nodes |
| `trace.py` | which ops a net consists of |
| `fold.py` | fewer nodes for the same net |
| `buffers.py` | which value lives where |
| `plain.py` | the graph run by the plain ops |
| `stores.py` | where a net finds its variables meanwhile |
| `freeze.py` | from a net function and a store to a frozen net |
| `frozen.py` | what a caller holds: checks, threads, back ends |
| `file.py` | one file, and back |
| `validity.py` | whether what is in a file is a graph |
"""

from .file import load_frozen
from .freeze import freeze
from .frozen import Frozen

__all__ = ["Frozen", "freeze", "load_frozen"]
