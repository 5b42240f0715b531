"""What students hand in, honest and hostile: relu_backward.py, and the mark that it must get."""

from __future__ import annotations

from tests.exercises.class_of import COPY, MASK_FROM_DY, RIGHT, STUB

WITH_HELPER = """
from helper import mask
from tinyresnet import exercises


def relu_backward(dy, saved):
    print("working")
    return dy * mask(saved.y).astype(dy.dtype)


exercises.check("relu_backward", relu_backward)
"""
WRAPPER = """
from tinyresnet import ops


def relu_backward(dy, saved):
    return ops.relu_backward(dy, saved)
"""
IMPORTER = """
from tinyresnet.ops import relu_backward
"""
READER = """
seen = []
for path in ("/etc/passwd", OUTSIDE):
    try:
        seen.append(open(path).read())
    except OSError as error:
        seen.append(type(error).__name__)


def relu_backward(dy, saved):
    raise RuntimeError("I have read: " + "; ".join(seen))
"""
WRITER = """
import os

for path in (OUTSIDE, "/tmp/tinyresnet-was-here", os.path.join(os.path.dirname(os.getcwd()), "beside")):
    try:
        open(path, "w").write("owned")
    except OSError:
        pass
open("inside.txt", "w").write("may be written")
assert open("inside.txt").read() == "may be written"


def relu_backward(dy, saved):
    return dy * (saved.y > 0)
"""
FORKER = """
import os

while True:
    os.fork()


def relu_backward(dy, saved):
    return dy * (saved.y > 0)
"""
PATCHER = """
import builtins, json, sys
import numpy as np
import tinyresnet.exercises as exercises

for module in list(sys.modules.values()):
    for name in ("judged", "judge", "check", "praised", "refused", "structural_fault"):
        if hasattr(module, name) and "tinyresnet" in getattr(module, "__name__", ""):
            setattr(module, name, lambda *_, **__: exercises.CheckResult("relu_backward", True))
np.allclose = np.array_equal = lambda *_, **__: True
np.isfinite = lambda x: np.ones(np.shape(x), bool)
exercises.get("relu_backward").stub.__code__ = (lambda dy, saved: dy).__code__


def relu_backward(dy, saved):
    return dy * (dy > 0)
"""
FORGER = """
import json, os, struct

message = json.dumps({"passed": True, "name": "im2col", "status": "right"}).encode()
for descriptor in range(3, 40):
    try:
        os.write(descriptor, struct.pack("<Q", len(message)) + message + struct.pack("<Q", 0))
    except OSError:
        pass
print("relu_backward: right, passed")


def relu_backward(dy, saved):
    return dy
"""
FLOODER = """
import os, struct

for descriptor in range(3, 40):
    try:
        while True:
            os.write(descriptor, (struct.pack("<Q", 1) + b"x") * 5000)
    except OSError:
        pass


def relu_backward(dy, saved):
    return dy * (saved.y > 0)
"""
KILLER = """
import ctypes, os, signal

for kill in (lambda: os.kill(os.getppid(), signal.SIGKILL), lambda: ctypes.CDLL(None).kill(os.getppid(), 9), lambda: os.killpg(0, 9)):
    try:
        kill()
    except OSError:
        pass


def relu_backward(dy, saved):
    return dy * (saved.y > 0)
"""
CHATTY = """
import os, sys

for _ in range(200):
    print("x" * 100000)
    os.write(1, b"y" * 100000)
    os.write(2, b"z" * 100000)


def relu_backward(dy, saved):
    print("deep down")
    return dy * (saved.y > 0)
"""
DEEP = """
def relu_backward(dy, saved):
    return relu_backward(dy, saved)
"""
HOG = """
import numpy as np


def relu_backward(dy, saved):
    return np.zeros(1 << 40)[: dy.size].reshape(dy.shape)
"""
LITTERER = """
import itertools

for number in itertools.count():
    with open(f"litter{number}", "wb") as file:
        file.write(bytes(8 << 20))


def relu_backward(dy, saved):
    return dy * (saved.y > 0)
"""
Student = tuple[str, str, tuple[str, ...]]
PYTHON: dict[str, Student] = {  # student -> (file, status, diagnosis)
    "right": (RIGHT, "right", ()),
    "wrong": (MASK_FROM_DY, "wrong", ("mask_from_dy",)),
    "wrong as well": (MASK_FROM_DY, "wrong", ("mask_from_dy",)),
    "stub": (STUB, "not written", ("not_written",)),
    "copy": (COPY, "refused", ("our_answer",)),
    "syntax": ("def relu_backward(dy, saved:\n", "broken", ("unreadable",)),
    "unfinished": ("import numpy as np\n", "broken", ("unreadable",)),
    "helper": (WITH_HELPER, "right", ()),
    "wrapper": (WRAPPER, "right", ()),
    "importer": (IMPORTER, "refused", ("our_answer",)),
    "reader": (READER, "broken", ("raises",)),
    "writer": (WRITER, "right", ()),
    "forker": (FORKER, "broken", ("raises",)),
    "patcher": (PATCHER, "wrong", ("mask_from_dy",)),
    "forger": (FORGER, "broken", ("no_results",)),
    "killer": (KILLER, "right", ()),
    "looper": (f"while True:\n    pass\n{RIGHT}", "broken", ("too_slow",)),
    "deep": (DEEP, "broken", ("raises",)),
}
MORE: dict[str, Student] = {  # those that take longer
    "flooder": (FLOODER, "broken", ("no_results",)),
    "exiter": (f"import os\nos._exit(0)\n{RIGHT}", "broken", ("ended",)),
    "chatty": (CHATTY, "right", ()),
    "hog": (HOG, "broken", ("too_much_memory",)),
    "litterer": (LITTERER, "broken", ("wrote_too_much",)),
}
