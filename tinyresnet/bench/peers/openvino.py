"""OpenVINO on the CPU, in float32: left to itself it takes bfloat16 where the processor has it, which the others do not."""

from __future__ import annotations

from typing import Any

from ...extras import require
from ..compare import Outputs
from ..options import PEERS
from ..rounds import Side
from . import EXTRA
from .onnx_graph import nchw, nhwc


def request(model: bytes | str, threads: int) -> Any:
    """An inference request of the compiled model."""
    core = require("openvino", EXTRA).Core()
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",  # one call at a time, with all threads
    }
    return core.compile_model(core.read_model(model), "CPU", settings).create_infer_request()


def inference(model: bytes | str, threads: int) -> list[Side]:
    """model: as onnx_model gives it, or the path of a file with that."""
    name, asked = PEERS["openvino"], request(model, threads)

    def run(images: Any) -> Any:
        return asked.infer([images], share_inputs=True, share_outputs=True)[0]

    def outputs(logits: Any) -> Outputs:
        return {"logits": nhwc(logits).copy()}

    return [Side(name, nchw, run, outputs, name)]
