"""ONNX Runtime, its CPU provider with every optimisation of graphs."""

from __future__ import annotations

from typing import Any

from ...extras import require
from ..options import PEERS
from ..rounds import Side
from . import EXTRA
from .onnx_graph import nchw, nhwc


def session(model: bytes | str, threads: int) -> Any:
    """An InferenceSession with so many threads."""
    onnxruntime = require("onnxruntime", EXTRA)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def inference(model: bytes | str, threads: int) -> list[Side]:
    """model: as onnx_model gives it, or the path of a file with that."""
    name, opened = PEERS["onnxruntime"], session(model, threads)
    return [
        Side(
            name,
            nchw,
            lambda images: opened.run(None, {"images": images})[0],
            lambda logits: {"logits": nhwc(logits)},
            name,
        )
    ]
