"""How to measure."""

from __future__ import annotations

from typing import NamedTuple

PEERS = {  # as they are chosen -> as they are called
    "pytorch": "PyTorch",
    "torch.compile": "torch.compile",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
}


class Options(NamedTuple):
    """For all cases of a run."""

    threads: int  # of each side
    rounds: int
    peers: tuple[str, ...] = tuple(PEERS)
    peak: float | None = None  # GFLOP/s of the largest matrix product, where it was measured
    gap: float = 0.1  # seconds of nothing before a side's turn: the threads of the side before may spin for as long, and would slow it
    turn: float = 0.15  # seconds a turn should last at least; a call that takes less is repeated
    processes: int = 3  # of each side where memory is measured, which varies little

    def quick(self) -> Options:
        """For small cases, whose times do not matter much."""
        return self._replace(gap=0.005, turn=0.005, processes=1)
