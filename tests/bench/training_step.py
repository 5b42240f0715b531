"""`make bench`: a resnet_v2_50 training step beside PyTorch's: milliseconds an image, and peak memory.

    python tests/bench/training_step.py [--size 224] [--batch 4] [--rounds 5] [--threads 2]

Times are of whole steps (forward, cross-entropy, backward to every variable; not d(images)), alternating in random order in one process
after a warm-up; memory is the growth of the peak resident size over what imports, weights and images take, each side in a
process of its own. Both sides start from the same weights, and their losses are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
BLOCKS = (("block1", 64, 3, 2), ("block2", 128, 4, 2), ("block3", 256, 6, 2), ("block4", 512, 3, 1))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="time a resnet_v2_50 training step and its peak memory, beside PyTorch"
    )
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--memory-of", choices=("ours", "torch"), help=argparse.SUPPRESS)
    return parser.parse_args()


def images_and_labels(batch: int, size: int) -> tuple[Any, Any]:
    import numpy as np

    rng = np.random.default_rng(0)
    return rng.standard_normal((batch, size, size, 3)).astype("float32"), rng.integers(0, 1000, batch)


def our_variables() -> Any:
    import numpy as np

    from tinyresnet import Variables
    from tinyresnet.resnet_v2 import resnet_v2_50

    variables = Variables()
    resnet_v2_50(np.zeros((1, 64, 64, 3), "float32"), 1000, is_training=False, collect=False, variables=variables)
    return variables


def our_step(images: Any, labels: Any) -> Callable[[], float]:
    from tinyresnet import ops, set_backend
    from tinyresnet.resnet_v2 import resnet_v2_50

    set_backend("numpy")
    variables = our_variables()

    def step() -> float:
        logits, _, back = resnet_v2_50(images, 1000, variables=variables, collect=False, input_gradient=False)
        loss, saved = ops.softmax_cross_entropy_forward(logits, labels)
        variables.gradients.clear()
        back(ops.softmax_cross_entropy_backward(1.0, saved))
        return float(loss)

    return step


class TorchStep:
    """The same net in PyTorch, weights [K, C, KH, KW] and activations in channels_last, PyTorch's faster layout on a CPU."""

    def __init__(self, images: Any, labels: Any) -> None:
        import torch

        self.torch, self.f = torch, torch.nn.functional
        last = torch.channels_last
        self.images = torch.tensor(images).permute(0, 3, 1, 2).contiguous(memory_format=last)
        self.labels = torch.tensor(labels)
        self.tensors = {}
        for name, value in our_variables().items():
            tensor = torch.tensor(value)
            if value.ndim == 4:
                tensor = tensor.permute(3, 2, 0, 1).contiguous(memory_format=last)
            self.tensors[name] = tensor.requires_grad_("moving_" not in name)

    def conv(self, x: Any, scope: str, stride: int = 1, padding: int = 0) -> Any:
        return self.f.conv2d(x, self.tensors[f"{scope}/weights"], self.tensors.get(f"{scope}/biases"), stride, padding)

    def norm_relu(self, x: Any, scope: str) -> Any:
        t = self.tensors
        average = t[f"{scope}/moving_mean"], t[f"{scope}/moving_variance"]
        return self.f.relu(self.f.batch_norm(x, *average, t[f"{scope}/gamma"], t[f"{scope}/beta"], True, 0.003, 1e-5))

    def unit(self, x: Any, depth: int, stride: int, scope: str) -> Any:
        preact = self.norm_relu(x, f"{scope}/preact")
        shortcut = (
            x[:, :, ::stride, ::stride] if x.shape[1] == depth else self.conv(preact, f"{scope}/shortcut", stride)
        )
        y = self.norm_relu(self.conv(preact, f"{scope}/conv1"), f"{scope}/conv1/BatchNorm")
        y = self.norm_relu(self.conv(y, f"{scope}/conv2", stride, 1), f"{scope}/conv2/BatchNorm")
        return shortcut + self.conv(y, f"{scope}/conv3")

    def __call__(self) -> float:
        net = "resnet_v2_50"
        x = self.conv(self.images, f"{net}/conv1", 2, 3)
        x = self.f.max_pool2d(self.f.pad(x, (0, 1, 0, 1), value=float("-inf")), 3, 2)
        for block, depth, units, stride in BLOCKS:
            for unit in range(1, units + 1):
                x = self.unit(x, 4 * depth, stride if unit == units else 1, f"{net}/{block}/unit_{unit}/bottleneck_v2")
        x = self.norm_relu(x, f"{net}/postnorm").mean((2, 3), keepdim=True)
        loss = self.f.cross_entropy(self.conv(x, f"{net}/logits").flatten(1), self.labels)
        for tensor in self.tensors.values():
            tensor.grad = None
        loss.backward()
        return float(loss.detach())


def torch_step(images: Any, labels: Any, threads: int) -> Callable[[], float]:
    import torch

    torch.set_num_threads(threads)
    return TorchStep(images, labels)


def peak_mb() -> float:
    """The peak resident size of this process, in units of 10^6 bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # of this program alone; getrusage counts the parent's peak before exec as well
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def print_memory(options: argparse.Namespace) -> None:
    """In a process of its own: one step, and how much the peak grew over weights and images."""
    data = images_and_labels(options.batch, options.size)
    step = our_step(*data) if options.memory_of == "ours" else torch_step(*data, options.threads)
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")  # the peak begins anew, from what is resident now
    before = peak_mb()
    step()
    print(json.dumps({"before": before, "growth": peak_mb() - before}))


def memory(side: str, options: argparse.Namespace) -> dict[str, float]:
    command = [
        sys.executable,
        __file__,
        "--memory-of",
        side,
        "--size",
        str(options.size),
        "--batch",
        str(options.batch),
    ]
    done = subprocess.run([*command, "--threads", str(options.threads)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def machine() -> str:
    import numpy as np
    import torch

    cpu = next(
        (line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")), platform.machine()
    )
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]  # type: ignore[call-overload]
    kernel = "unknown BLAS kernel"
    try:
        from threadpoolctl import threadpool_info

        kernel = ", ".join(
            f"{lib['internal_api']} {lib['version']} kernel {lib.get('architecture')}" for lib in threadpool_info()
        )
    except ImportError:
        pass
    return (
        f"{cpu}, {os.cpu_count()} cores; Python {platform.python_version()}, NumPy {np.__version__} "
        f"({blas['name']} {blas['version']}; {kernel}), PyTorch {torch.__version__}; "
        f"OPENBLAS_CORETYPE={os.environ.get('OPENBLAS_CORETYPE', 'not set')}"
    )


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def main() -> None:
    options = arguments()
    os.environ["OPENBLAS_NUM_THREADS"] = str(options.threads)  # before NumPy is imported
    sys.path.insert(0, str(REPOSITORY))
    if options.memory_of:
        print_memory(options)
        return
    images, labels = images_and_labels(options.batch, options.size)
    sides = {"ours": our_step(images, labels), "torch": torch_step(images, labels, options.threads)}
    losses = {name: step() for name, step in sides.items()}  # also the warm-up
    if abs(losses["ours"] - losses["torch"]) > 1e-3 * abs(losses["torch"]):
        sys.exit(f"the losses differ, so the two sides do not compute the same: {losses}")
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(options.rounds):
        for name in random.sample(sorted(sides), len(sides)):
            time.sleep(0.2)  # a thread pool that still spins would slow whoever comes next
            start = time.perf_counter()
            sides[name]()
            times[name].append((time.perf_counter() - start) * 1e3 / options.batch)
    print(machine())
    print(
        f"resnet_v2_50 training step, {options.size}x{options.size}, batch {options.batch}, {options.threads} threads"
    )
    print("losses " + ", ".join(f"{name} {loss:.6f}" for name, loss in losses.items()))
    for name in sides:
        got = memory(name, options)
        print(
            f"{name:6} {statistics.median(times[name]):8.1f} ms/image (from {min(times[name]):.1f} to {max(times[name]):.1f})"
            f"   peak memory +{got['growth']:.0f} MB over {got['before']:.0f} MB"
        )
    ratio = statistics.median(a / b for a, b in zip(times["ours"], times["torch"], strict=True))
    print(f"ours / torch: {ratio:.2f} (median of {options.rounds} rounds)")


if __name__ == "__main__":
    main()
