"""Floor 6: how fast and how large tinyresnet is, beside the frameworks it is checked against. What `tinyresnet bench` runs.

| file | idea |
|---|---|
| `architecture.py`, `weights.py` | a net as its peers build it; random weights that show a mistake |
| `ours.py`, `peers/` | the sides: tinyresnet's, PyTorch's, ONNX Runtime's, OpenVINO's |
| `compare.py` | do all sides compute the same? Before anything is timed |
| `rounds.py`, `timed.py` | taking turns, in random order, with new inputs |
| `nets.py`, `layers.py`, `demo.py`, `memory.py`, `first_call.py`, `peak.py` | the kinds of cases; `cases.py` lists all |
| `ladder.py`, `rungs.py`, `roofline.py`, `shares.py` | what docs/speed.md shows |
| `results.py`, `table.py`, `chart.py`, `run.py` | medians and ratios; as text, as a picture, as a run |
"""

from .cases import all_cases, chosen, quick_cases
from .compare import WrongResult
from .options import PEERS, Options
from .results import CaseResult
from .run import draw, run_cases

__all__ = ["PEERS", "CaseResult", "Options", "WrongResult", "all_cases", "chosen", "draw", "quick_cases", "run_cases"]
