"""resnet_v2 once more, in PyTorch's functions, written from TF-Slim's source and the papers: the oracle of the net tests.

It imports nothing of tinyresnet and takes the variables by their TF-Slim names, so that one store feeds both nets. Inside,
everything is NCHW; `nhwc` hands a tensor back as NumPy [N, H, W, C].
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from tests.nets.block_spec import BlockSpec

torch = pytest.importorskip("torch", reason="PyTorch, the oracle of the net tests, is not installed")
F = torch.nn.functional


def nhwc(tensor: Any) -> np.ndarray:
    """[N, C, H, W] -> NumPy [N, H, W, C]; other ranks as they are."""
    tensor = tensor.detach()
    return (tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor).numpy()


def pad_like_tf(x: Any, kernel: int, stride: int, value: float = 0.0) -> Any:
    """TensorFlow's SAME: ceil(size / stride) places, the odd pixel of padding below and at the right."""
    pads = []
    for size in (x.shape[3], x.shape[2]):  # F.pad counts axes from the last
        total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads, value=value)


class Twin:
    """One store of variables; each forward pass of a training-mode twin replaces its moving averages."""

    def __init__(
        self,
        variables: Mapping[str, np.ndarray],
        *,
        is_training: bool = True,
        decay: float = 0.997,
        epsilon: float = 1e-5,
    ) -> None:
        self.is_training, self.decay, self.epsilon = is_training, decay, epsilon
        self.tensors = {
            name: torch.tensor(np.array(value), requires_grad="moving_" not in name)
            for name, value in variables.items()
        }
        self.end_points: dict[str, Any] = {}

    # ---- layers ------------------------------------------------------------------------------------------------------
    def convolution(self, x: Any, scope: str, stride: int = 1, rate: int = 1, pads: tuple[int, int] = (0, 0)) -> Any:
        """Weights [KH, KW, C, K] as TF stores them; `pads` before and after, the same on both axes."""
        weights = self.tensors[f"{scope}/weights"].permute(3, 2, 0, 1)  # [K, C, KH, KW]
        x = F.pad(x, (*pads, *pads))
        return F.conv2d(x, weights, self.tensors.get(f"{scope}/biases"), stride=stride, dilation=rate)

    def batch_norm(self, x: Any, scope: str) -> Any:
        gamma, beta = self.tensors[f"{scope}/gamma"], self.tensors[f"{scope}/beta"]
        names = f"{scope}/moving_mean", f"{scope}/moving_variance"
        if not self.is_training:
            return F.batch_norm(
                x, self.tensors[names[0]], self.tensors[names[1]], gamma, beta, False, 0.0, self.epsilon
            )
        with torch.no_grad():
            m = x.numel() // x.shape[1]
            unbiased = x.var((0, 2, 3), unbiased=m > 1)
            for name, now in zip(names, (x.mean((0, 2, 3)), unbiased), strict=True):
                self.tensors[name] = self.decay * self.tensors[name] + (1 - self.decay) * now
        if m == 1:  # PyTorch refuses it: x is its own mean, so that beta alone is left
            return (x - x) * gamma[:, None, None] + beta[:, None, None]
        return F.batch_norm(x, None, None, gamma, beta, True, 0.0, self.epsilon)

    def end_point(self, name: str, x: Any) -> Any:
        if x.requires_grad:
            x.retain_grad()
        self.end_points[name] = x
        return x

    # ---- the net -----------------------------------------------------------------------------------------------------
    def bottleneck(self, x: Any, depth: int, stride: int, rate: int, scope: str) -> Any:
        """He et al. 2016, figure 4(e), with TF-Slim's strided 1x1 shortcut."""
        preact = F.relu(self.batch_norm(x, f"{scope}/preact"))
        if x.shape[1] == depth:
            shortcut = x[:, :, ::stride, ::stride]
        else:
            shortcut = self.convolution(preact, f"{scope}/shortcut", stride)
            self.end_point(f"{scope}/shortcut", shortcut)
        y = F.relu(self.batch_norm(self.convolution(preact, f"{scope}/conv1"), f"{scope}/conv1/BatchNorm"))
        y = self.end_point(f"{scope}/conv1", y)
        y = self.convolution(
            y, f"{scope}/conv2", stride, rate, (rate, rate)
        )  # 3x3 at this rate reaches `rate` pixels out
        y = self.end_point(f"{scope}/conv2", F.relu(self.batch_norm(y, f"{scope}/conv2/BatchNorm")))
        y = self.end_point(f"{scope}/conv3", self.convolution(y, f"{scope}/conv3"))
        return self.end_point(scope, shortcut + y)

    def blocks(self, x: Any, blocks: Sequence[BlockSpec], output_stride: int | None, scope: str) -> Any:
        """A unit that the nominal net would run at stride `so_far` runs at min(so_far, output_stride), dilated by the quotient."""
        so_far = 1
        for block in blocks:
            for number, stride in enumerate(block.strides(), start=1):
                dense = output_stride is not None and so_far >= output_stride
                rate = so_far // output_stride if dense else 1
                name = f"{scope}/{block.scope}/unit_{number}/bottleneck_v2"
                x = self.bottleneck(x, 4 * block.base_depth, 1 if dense else stride, rate, name)
                so_far *= stride
            x = self.end_point(f"{scope}/{block.scope}", x)
        return x

    def resnet_v2(
        self,
        images: np.ndarray | Any,
        blocks: Sequence[BlockSpec],
        num_classes: int | None = None,
        *,
        scope: str,
        global_pool: bool = True,
        output_stride: int | None = None,
        include_root_block: bool = True,
        spatial_squeeze: bool = True,
    ) -> Any:
        """images [N, H, W, C] -> the net's output, NCHW or [N, K]."""
        x = torch.as_tensor(images).permute(0, 3, 1, 2)
        if include_root_block:
            x = self.end_point(f"{scope}/conv1", self.convolution(x, f"{scope}/conv1", 2, 1, (3, 3)))
            x = F.max_pool2d(pad_like_tf(x, 3, 2, value=-math.inf), 3, 2)
            output_stride = None if output_stride is None else output_stride // 4
        x = self.blocks(x, blocks, output_stride, scope)
        x = F.relu(self.batch_norm(x, f"{scope}/postnorm"))
        if global_pool:
            x = self.end_point("global_pool", x.mean((2, 3), keepdim=True))
        if num_classes:
            x = self.end_point(f"{scope}/logits", self.convolution(x, f"{scope}/logits"))
            if spatial_squeeze:
                x = self.end_point(f"{scope}/spatial_squeeze", x[:, :, 0, 0])
            self.end_point("predictions", torch.softmax(x, 1))
        return x

    def gradients(self) -> dict[str, np.ndarray]:
        """What backward() left at the variables, by name."""
        return {name: t.grad.numpy() for name, t in self.tensors.items() if t.grad is not None}

    def arrays(self) -> dict[str, np.ndarray]:
        """All variables as they are now."""
        return {name: t.detach().numpy() for name, t in self.tensors.items()}
