"""Grad-CAM against PyTorch's autograd and against finite differences, with mistakes planted that both must notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.nets.specs import SCOPE, SMALL, NetSpec, random_store
from tinyresnet import Variables, ops, use, watch
from tinyresnet.explain import Field, activations, first_filters, grad_cam, receptive_fields
from tinyresnet.resnet_v2 import resnet_v2

CLASSIFY = NetSpec((1, 33, 29, 2), SMALL)
SEGMENT = NetSpec((1, 33, 29, 2), SMALL, options={"global_pool": False, "output_stride": 8, "spatial_squeeze": False})
SPECS = pytest.mark.parametrize("spec", [CLASSIFY, SEGMENT], ids=["classify", "segment"])
END_POINTS = pytest.mark.parametrize("end_point", [f"{SCOPE}/block1", f"{SCOPE}/block3"])


def net_of(spec: NetSpec) -> Callable[..., Any]:
    def net(
        images: Any, variables: Variables, *, is_training: bool, collect: Any = False, gradients: Any = None
    ) -> Any:
        return resnet_v2(
            images, spec.ours(), spec.num_classes, is_training, scope=SCOPE, variables=variables, collect=collect,
            gradients=gradients, input_gradient=False, **spec.options,
        )  # fmt: skip

    return net


def torch_grad_cams(spec: NetSpec, variables: dict[str, np.ndarray], end_point: str) -> list[np.ndarray]:
    """The same maps by autograd, from the twin net, one for each class. [h, w]"""
    from tests.nets.torch_twin import Twin, torch

    twin = Twin(variables, is_training=False)
    logits = twin.resnet_v2(spec.random_images(), spec.blocks, spec.num_classes, scope=SCOPE, **spec.options)
    a, found = twin.end_points[end_point], []  # a: [1, C, h, w]
    for class_index in range(spec.num_classes or 0):
        y = logits[0, class_index]
        if y.ndim:  # a map: the pixels that were given this class
            y = (y * (logits[0].argmax(0) == class_index)).sum()
        (gradient,) = torch.autograd.grad(y, a, retain_graph=True)
        found.append(torch.relu((gradient.mean((2, 3), keepdim=True) * a).sum(1))[0].detach().numpy())
    return found


def predicted(spec: NetSpec, variables: Any, backend: Any) -> int:
    """A class that occurs among the predictions, so that a net that names pixels has something to sum."""
    logits = net_of(spec)(backend.array(spec.random_images()), variables, is_training=False)[0]
    return int(np.bincount(backend.host(logits).argmax(-1).ravel()).argmax())


# ---- against PyTorch ----------------------------------------------------------------------------------------------------
@SPECS
@END_POINTS
def test_grad_cam_is_what_autograd_finds(spec: NetSpec, end_point: str, backend: Any) -> None:
    pytest.importorskip("torch")
    variables = random_store(backend, spec, seed=3)
    host = {name: backend.host(array) for name, array in variables.items()}
    shown = 0
    for k, right in enumerate(torch_grad_cams(spec, host, end_point)):
        ours = grad_cam(net_of(spec), variables, spec.random_images()[0], k, end_point)
        assert ours.shape == right.shape
        assert ours.dtype == right.dtype == np.float64
        assert isinstance(ours, np.ndarray)
        np.testing.assert_allclose(ours, right, rtol=1e-9, atol=1e-9 * max(right.max(), 1e-9))
        shown += bool((right > 0).any())
    assert shown >= (2 if spec is CLASSIFY else 1), "maps of zeros cannot tell right from wrong"


# ---- against finite differences -----------------------------------------------------------------------------------------
def slope_at(spec: NetSpec, variables: Any, backend: Any, end_point: str, k: int, channel: int) -> float:
    """d(y) / d(A + t everywhere in one channel) by central differences: the sum over the places of d(y) / d(A_channel).

    The shift gets into the net as the bias of the last convolution of the end point's last unit: its output is the end point.
    """
    (name,) = [name for name in variables if name.startswith(end_point) and name.endswith("conv3/biases")][-1:]
    logits = net_of(spec)(backend.array(spec.random_images()), variables, is_training=False)[0]
    counted = backend.host(logits).argmax(-1) == k  # which pixels: fixed, not differentiated

    def y(t: float) -> float:
        moved = Variables({n: backend.host(a) for n, a in variables.items()})
        moved[name] = backend.array(backend.host(variables[name]) + t * (np.arange(len(variables[name])) == channel))
        out = backend.host(net_of(spec)(backend.array(spec.random_images()), moved, is_training=False)[0])
        return float(out[0, k] if out.ndim == 2 else (out[..., k] * counted).sum())

    return (y(1e-6) - y(-1e-6)) / 2e-6


Way = Callable[..., np.ndarray]


def by_finite_differences(spec: NetSpec, variables: Any, backend: Any, end_point: str, k: int) -> np.ndarray:
    images = backend.array(spec.random_images())
    a = backend.host(net_of(spec)(images, variables, is_training=False, collect=[end_point])[1][end_point])[0]
    slopes = [slope_at(spec, variables, backend, end_point, k, channel) for channel in range(a.shape[-1])]
    alpha = np.array(slopes) / (a.shape[0] * a.shape[1])
    return np.asarray(np.maximum((alpha * a).sum(-1), 0))


@SPECS
@pytest.mark.host_only
def test_grad_cam_is_what_finite_differences_find(spec: NetSpec, backend: Any) -> None:
    variables, end_point = random_store(backend, spec, seed=3), f"{SCOPE}/block2"
    k = predicted(spec, variables, backend)
    right = by_finite_differences(spec, variables, backend, end_point, k)
    assert right.max() > 0
    ours = grad_cam(net_of(spec), variables, spec.random_images()[0], k, end_point)
    np.testing.assert_allclose(ours, right, atol=1e-5 * right.max())


# ---- planted mistakes ---------------------------------------------------------------------------------------------------
def cam_with(
    variables: Any, k: int, end_point: str, d_logits: np.ndarray, axes: tuple[int, ...], relu: bool
) -> np.ndarray:
    """grad_cam in three lines, to be spoilt."""
    logits, end_points, back = net_of(CLASSIFY)(
        CLASSIFY.random_images(), variables, is_training=False, collect=[end_point], gradients=True
    )
    with watch(end_point) as at:
        back(d_logits)
    weighted = (at[end_point].mean(axes, keepdims=True) * end_points[end_point]).sum(-1)[0]
    return np.maximum(weighted, 0) if relu else np.asarray(weighted)


@pytest.mark.parametrize("mistake", ["none", "all-ones gradient", "no ReLU", "mean over the channels"])
@pytest.mark.host_only
def test_planted_mistakes_are_caught(mistake: str, backend: Any) -> None:
    pytest.importorskip("torch")
    end_point, variables = f"{SCOPE}/block2", random_store(backend, CLASSIFY, seed=3)
    rights = torch_grad_cams(CLASSIFY, dict(variables), end_point)
    k = int(np.argmax([right.max() for right in rights]))
    one_hot = np.eye(5)[k][None]
    ours = cam_with(
        variables,
        k,
        end_point,
        d_logits=np.ones_like(one_hot) if mistake == "all-ones gradient" else one_hot,
        axes=(3,) if mistake == "mean over the channels" else (1, 2),
        relu=mistake != "no ReLU",
    )
    assert rights[k].max() > 0
    same = np.allclose(ours, rights[k], rtol=1e-9, atol=1e-9 * rights[k].max())
    assert same == (mistake == "none")


# ---- what it leaves alone, what it refuses ------------------------------------------------------------------------------
def test_nothing_of_the_trainers_changes(backend: Any) -> None:
    variables = random_store(backend, CLASSIFY)
    variables.gradients["kept"] = backend.array(np.arange(3.0))
    before = {name: backend.host(array).copy() for name, array in variables.items()}
    grad_cam(net_of(CLASSIFY), variables, CLASSIFY.random_images()[0], 0, f"{SCOPE}/block1")
    activations(net_of(CLASSIFY), variables, CLASSIFY.random_images()[0])
    assert list(variables.gradients) == ["kept"]
    assert all((backend.host(variables[name]) == array).all() for name, array in before.items())


def test_a_class_that_no_pixel_was_given_has_a_map_of_zeros(backend: Any) -> None:
    variables = random_store(backend, SEGMENT, seed=3)
    variables[f"{SCOPE}/logits/biases"] = backend.array([0.0, 0, 0, 0, -1e6])
    assert not grad_cam(net_of(SEGMENT), variables, SEGMENT.random_images()[0], 4, f"{SCOPE}/block3").any()


@pytest.mark.host_only
def test_what_does_not_exist_is_refused(backend: Any) -> None:
    variables, image, net = random_store(backend, CLASSIFY), CLASSIFY.random_images()[0], net_of(CLASSIFY)
    for k in (-1, 5):
        with pytest.raises(ValueError, match=f"class_index must be from 0 to 4, the last class, not {k}"):
            grad_cam(net, variables, image, k, f"{SCOPE}/block1")
    with pytest.raises(ValueError, match=r"no end point named 'resnet/blok1' \(did you mean 'resnet/block1'"):
        grad_cam(net, variables, image, 0, "resnet/blok1")
    with pytest.raises(ValueError, match=r"image must be of rank 3, \[H, W, C\]; its shape is \[1, 33, 29, 2\]"):
        grad_cam(net, variables, image[None], 0, f"{SCOPE}/block1")
    with pytest.raises(TypeError, match=r"image must be an array \[H, W, C\], not list"):
        activations(net, variables, image.tolist())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no variable 'demo/conv1/weights'"):
        first_filters(variables, "demo")


# ---- activations and filters --------------------------------------------------------------------------------------------
def test_activations_are_the_end_points_of_that_picture(backend: Any) -> None:
    variables, images = random_store(backend, CLASSIFY), CLASSIFY.random_images()
    found = activations(net_of(CLASSIFY), variables, images[0])
    _, right, _ = net_of(CLASSIFY)(backend.array(images), variables, is_training=False, collect=True)
    maps = [name for name, array in right.items() if array.ndim == 4]
    assert list(found) == maps
    assert {f"{SCOPE}/block1", f"{SCOPE}/block2", f"{SCOPE}/block3"} <= set(maps)
    assert f"{SCOPE}/spatial_squeeze" not in found
    for name in maps:
        np.testing.assert_array_equal(found[name], backend.host(right[name])[0])


def test_the_first_filters_are_the_weights_that_see_the_picture(backend: Any) -> None:
    variables = random_store(backend, CLASSIFY)
    filters = first_filters(variables, SCOPE)
    assert filters.shape == (7, 7, 2, 64)
    x = backend.array(CLASSIFY.random_images())
    y, _ = ops.conv2d_forward(x, backend.array(filters), stride=2, padding=((3, 3), (3, 3)))
    _, end_points, _ = net_of(CLASSIFY)(x, variables, is_training=False, collect=[f"{SCOPE}/conv1"])
    bias = backend.host(variables[f"{SCOPE}/conv1/biases"])
    np.testing.assert_allclose(backend.host(end_points[f"{SCOPE}/conv1"]), backend.host(y) + bias, rtol=1e-9, atol=1e-9)


# ---- receptive fields ---------------------------------------------------------------------------------------------------
WIDE = (1, 5, 121, 2)  # wide enough for the widest window to lie inside


def columns_seen(spec: NetSpec, variables: Any, backend: Any, end_point: str, place: int) -> tuple[int, int]:
    """The first and the last column of the picture that change what is at `place`, in the middle row of an end point."""
    rng = np.random.default_rng(5)
    image = rng.standard_normal(spec.images)

    def there(images: np.ndarray) -> np.ndarray:
        with use(relu_forward=lambda x: (x, None)):  # a closed ReLU would hide what lies behind it
            _, end_points, _ = net_of(spec)(backend.array(images), variables, is_training=False, collect=[end_point])
        a = backend.host(end_points[end_point])
        return np.asarray(a[:, a.shape[1] // 2, place])  # [N, C]

    changed = np.repeat(image, image.shape[2], 0)
    for x in range(image.shape[2]):
        changed[x, :, x] += 100 * rng.standard_normal(image.shape[1:2] + image.shape[3:])
    seen = np.flatnonzero(np.abs(there(changed) - there(image)).max(-1) > 1e-8)  # else it is rounding
    return int(seen[0]), int(seen[-1])


@SPECS
@pytest.mark.host_only
def test_a_receptive_field_is_what_changes_the_place(spec: NetSpec, backend: Any) -> None:
    wide = spec._replace(images=WIDE)
    variables = random_store(backend, wide, seed=3)
    fields = receptive_fields(net_of(wide), variables, wide.random_images()[0])
    for block in ("block1", "block2"):
        field = fields[f"{SCOPE}/{block}"]
        place = WIDE[2] // field.step // 2
        first, last = columns_seen(wide, variables, backend, f"{SCOPE}/{block}", place)
        following, _ = columns_seen(wide, variables, backend, f"{SCOPE}/{block}", place + 1)
        assert (last - first + 1, following - first) == (field.side, field.step), block


@pytest.mark.host_only
def test_atrous_convolution_keeps_the_field_and_halves_the_step(backend: Any) -> None:
    def last(spec: NetSpec) -> Field:
        variables = random_store(backend, spec)
        return receptive_fields(net_of(spec), variables, spec.random_images()[0])[f"{SCOPE}/block3"]

    nominal, dense = last(CLASSIFY), last(SEGMENT)
    assert nominal.side == dense.side
    assert (nominal.step, nominal.rate) == (16, 1)
    assert (dense.step, dense.rate) == (8, 2)
    # conv1 7x7/2, pool1 3x3/2; block1 of two units 3x3/1, 3x3/2 at step 4; block2 likewise at step 8; block3 3x3 at step 16.
    assert nominal.side == 1 + 6 * 1 + 2 * 2 + 2 * 4 + 2 * 4 + 2 * 8 + 2 * 8 + 2 * 16
