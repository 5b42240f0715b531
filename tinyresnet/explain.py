"""Looking inside a net: which pixels spoke for a class (Grad-CAM), what each layer put out, what the first filters look for.

Grad-CAM is Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization". It needs the
gradient at one layer inside the net, which the hand-written backward passes anyway: `watch` picks it up on the way.
"""

from __future__ import annotations

import operator
from typing import Any, NamedTuple, Protocol

from . import ops
from .backend import Array, get_array_module, to_device, to_host, use
from .ops.checks import check_array
from .slim import Variables, watch


class Net(Protocol):
    """What can be looked into: images [N, H, W, C] -> (logits [N, K] or [N, H, W, K], end points by name, back)."""

    def __call__(
        self,
        images: Array,
        variables: Variables,
        *,
        is_training: bool,
        collect: Any = False,
        gradients: bool | None = None,
    ) -> tuple[Array, dict[str, Array], Any]: ...


def grad_cam(net: Net, variables: Variables, image: Array, class_index: int, end_point: str) -> Array:
    """Which places of an end point A [h, w, C] speak for a class: a map [h, w], >= 0, on the host.

    alpha_c = mean over the places of d(y) / d(A_c)        Selvaraju et al. 2017, equation 1
    map     = ReLU(sum over c of alpha_c A_c)              equation 2

    y is the class's logit; of a net that names each pixel, the sum of the class's logits over the pixels that were given that
    class (none: the map is zero). The weights are those of inference, and neither they nor `variables.gradients` change.

    image        [H, W, C], normalised as the net was trained on, float32 or float64
    class_index  0 to K - 1;  end_point  a name such as "resnet_v2_50/block4"
    Raises ValueError.
    """
    images = _one(image)
    logits, end_points, back = net(images, variables, is_training=False, collect=[end_point], gradients=True)
    d_logits = _of_class(logits, class_index)
    before, variables.gradients = variables.gradients, {}  # `back` adds to these: they are the trainer's, not ours
    try:
        with watch(end_point) as at:
            back(d_logits)
    finally:
        variables.gradients = before
    alpha = at[end_point].mean((1, 2), keepdims=True)  # [1, 1, 1, C]
    weighted = (alpha * end_points[end_point]).sum(-1)[0]  # [h, w]
    return to_host(weighted * (weighted > 0))


def _of_class(logits: Array, class_index: int) -> Array:
    """d(y) / d(logits): one where the class's logit counts, zero elsewhere."""
    k = operator.index(class_index)
    if not 0 <= k < logits.shape[-1]:
        raise ValueError(f"class_index must be from 0 to {logits.shape[-1] - 1}, the last class, not {k}")
    d_logits: Array = get_array_module(logits).zeros_like(logits)
    d_logits[..., k] = 1 if logits.ndim == 2 else logits.argmax(-1) == k
    return d_logits


def activations(net: Net, variables: Variables, image: Array) -> dict[str, Array]:
    """What the net's layers put out for one normalised image [H, W, C]: end point -> [h, w, C], in order, on the host.

    End points that are no map over the picture (a vector of logits) are left out. Raises ValueError.
    """
    _, end_points, _ = net(_one(image), variables, is_training=False, collect=True, gradients=False)
    return {name: to_host(array[0]) for name, array in end_points.items() if array.ndim == 4}


def first_filters(variables: Variables, scope: str) -> Array:
    """The weights of the convolution that sees the picture itself, `<scope>/conv1/weights`: [KH, KW, C, F], on the host.

    Raises ValueError if there is none.
    """
    name = f"{scope}/conv1/weights"
    if name not in variables:
        raise ValueError(f"scope must be a net's that begins with conv1, but there is no variable {name!r}")
    return to_host(variables[name])


def _one(image: Array) -> Array:
    """[H, W, C] -> [1, H, W, C], where the back end works."""
    check_array("image", image, ("H", "W", "C"))
    return to_device(image)[None]


class Field(NamedTuple):
    """What a place of an end point sees of the picture, along one axis, in pixels."""

    side: int  # of the window that it sees: the receptive field, were the picture large enough
    step: int  # from the window of one place to the next
    rate: int  # of the last 3x3 convolution on the way: how far apart its taps are, in places


def receptive_fields(net: Net, variables: Variables, image: Array) -> dict[str, Field]:
    """For each end point of a unit or a block what its places see, found by watching the windows that the net uses.

    A window of k places, `rate` apart, over places that step `step` pixels sees (k - 1) * rate * step pixels more, and its own
    step is `stride` times as long (Dumoulin and Visin 2016). A shortcut's 1x1 window adds nothing to that.
    image [H, W, C], normalised. Raises ValueError.
    """
    images, windows = _one(image), list[tuple[int, int, int]]()

    def convolution(x: Array, w: Array, *arguments: Any, **options: Any) -> Any:
        y, saved = ops.conv2d_forward(x, w, *arguments, **options)
        if w.shape[0] > 1:
            windows.append((w.shape[0], saved.stride[0], saved.rate[0]))
        return y, saved

    def pool(x: Array, *arguments: Any, **options: Any) -> Any:
        y, saved = ops.max_pool2d_forward(x, *arguments, **options)
        windows.append((saved.windows.kernel[0], saved.windows.stride[0], 1))
        return y, saved

    with use(conv2d_forward=convolution, max_pool2d_forward=pool):
        _, end_points, _ = net(images, variables, is_training=False, collect=True, gradients=False)
    units = [
        name for name in end_points if name.endswith("/conv2")
    ]  # each has one window; those before them are the root's
    field, found = Field(1, 1, 1), {}
    for window in windows[: len(windows) - len(units)]:
        field = _through(field, *window)
    rest = iter(windows[len(windows) - len(units) :])
    for name in end_points:
        field = _through(field, *next(rest)) if name.endswith("/conv2") else field
        found[name] = field
    return {name: field for name, field in found.items() if "/block" in name}


def _through(field: Field, k: int, stride: int, rate: int) -> Field:
    return Field(field.side + (k - 1) * rate * field.step, field.step * stride, rate)
