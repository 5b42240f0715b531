"""Calling a frozen net: what it takes, what it gives, from one thread and from many."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import tinyresnet
from tests.conftest import BackendUnderTest
from tests.frozen.nets import OWN_NETS, pictures, relative_error, small_resnet, store_for
from tinyresnet import Variables, freeze
from tinyresnet.frozen import Frozen
from tinyresnet.slim import relu

pytestmark = pytest.mark.host_only

SHAPE = (4, 33, 33, 3)


@pytest.fixture(scope="module")
def variables() -> Variables:
    return store_for(small_resnet, SHAPE)


@pytest.fixture
def frozen(variables: Variables, backend: BackendUnderTest) -> Frozen:
    return freeze(small_resnet, variables, input_shape=SHAPE)


def test_what_it_says_of_itself(frozen: Frozen) -> None:
    assert (frozen.input_shape, frozen.output_shape, frozen.dtype) == (SHAPE, (4, 5), np.float32)
    assert repr(frozen).startswith(
        "<Frozen small_resnet: [4, 33, 33, 3] float32 -> [4, 5]; 26 steps, 22 of them convolutions"
    )


def test_each_image_is_on_its_own(frozen: Frozen) -> None:
    images = pictures(SHAPE)
    whole = frozen(images)
    for n in (1, 2, 3):
        assert relative_error(frozen(images[:n]), whole[:n]) <= 1e-5
    assert relative_error(frozen(images[::-1]), whole[::-1]) <= 1e-5


def test_no_images_give_an_empty_result(frozen: Frozen) -> None:
    assert frozen(np.empty((0, 33, 33, 3), np.float32)).shape == (0, 5)


def test_results_are_new_arrays_and_never_remembered(frozen: Frozen, variables: Variables) -> None:
    images = pictures(SHAPE)
    first = frozen(images)
    kept = first.copy()
    images += 1  # the same array with other numbers in it
    second = frozen(images)
    assert not np.shares_memory(first, second)
    assert np.array_equal(first, kept)
    assert relative_error(second, small_resnet(images, is_training=False, variables=variables)[0]) <= 1e-4


def test_the_same_images_give_the_same_bits(frozen: Frozen) -> None:
    images = pictures(SHAPE)
    first = frozen(images)
    frozen(pictures(SHAPE, seed=9))
    assert np.array_equal(frozen(images), first)


def test_images_that_do_not_lie_in_order_are_not_written_to(frozen: Frozen) -> None:
    images = np.asfortranarray(pictures(SHAPE))
    images.flags.writeable = False
    kept = images.copy()
    assert relative_error(frozen(images), frozen(np.ascontiguousarray(images))) <= 1e-6
    assert np.array_equal(images, kept)


def test_images_at_an_odd_address(frozen: Frozen) -> None:
    images = pictures((1, *SHAPE[1:]))
    odd = np.empty(images.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(images.shape)
    odd[...] = images
    assert not odd.flags.aligned
    assert np.array_equal(frozen(odd), frozen(images))


def test_out_is_filled_and_given_back(frozen: Frozen) -> None:
    images = pictures(SHAPE)
    out = np.full((3, 5), np.nan, np.float32)
    assert frozen(images[:3], out=out) is out
    assert np.array_equal(out, frozen(images[:3]))


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((5, 33, 33, 3), np.float32), r"with n from 0 to 4, .*their shape is \[5, 33, 33, 3\]"),
        (np.zeros((1, 32, 33, 3), np.float32), r"images must be \[n, 33, 33, 3\]"),
        (np.zeros((33, 33, 3), np.float32), r"their shape is \[33, 33, 3\]"),
        (np.zeros((1, 33, 33, 1), np.float32), r"their shape is \[1, 33, 33, 1\]"),
        (np.zeros((1, 33, 33, 3)), "images must be float32, as this net was frozen for it, not float64"),
        (np.zeros((1, 33, 33, 3), np.uint8), "not uint8"),
        (np.zeros((1, 33, 33, 3), ">f4"), "images must be float32"),
    ],
)
def test_images_that_do_not_fit(frozen: Frozen, images: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        frozen(images)


@pytest.mark.parametrize(
    ("out", "words"),
    [
        (np.zeros((4, 5)), "out must be float32"),
        (np.zeros((3, 5), np.float32), r"out must be float32 \[4, 5\] for 4 images"),
        (np.zeros((4, 10), np.float32)[:, ::2], "C-contiguous"),
        (np.broadcast_to(np.float32(0), (4, 5)), "C-contiguous, aligned and writeable"),
    ],
)
def test_an_out_that_does_not_fit(frozen: Frozen, out: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        frozen(pictures(SHAPE), out=out)


def test_what_is_no_array(frozen: Frozen) -> None:
    with pytest.raises(TypeError, match="images must be a NumPy array, not builtins.list"):
        frozen([[1.0]])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="out must be a NumPy array"):
        frozen(pictures(SHAPE), out=[])  # type: ignore[arg-type]


def test_out_in_the_images_place() -> None:
    same = freeze(relu, Variables(), input_shape=SHAPE)
    images = pictures(SHAPE)
    with pytest.raises(ValueError, match="out must not share memory with images"):
        same(images, out=images)


def test_eight_threads_at_once(frozen: Frozen) -> None:
    """Each with other images and another batch size, all at the same moment, again and again."""
    batches = [pictures((1 + i % 4, *SHAPE[1:]), seed=i) for i in range(8)]
    wanted = [frozen(batch) for batch in batches]
    together = threading.Barrier(8)

    def call(i: int) -> bool:
        together.wait()
        return all(np.array_equal(frozen(batches[i]), wanted[i]) for _ in range(10))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(tinyresnet.carry(call), range(8)))


def test_overrides_do_not_reach_inside(backend: BackendUnderTest) -> None:
    shape = (1, 17, 17, 3)
    frozen = freeze(OWN_NETS["segmentation"], store_for(OWN_NETS["segmentation"], shape), input_shape=shape)
    images = pictures(shape)
    wanted = frozen(images)

    def wrong(x: Any, *_: Any, **__: Any) -> Any:
        raise AssertionError("the caller's override was called")

    with tinyresnet.use(softmax=wrong, relu_forward=wrong, conv2d_forward=wrong, resize_bilinear_forward=wrong):
        assert np.array_equal(frozen(images), wanted)


def test_it_runs_on_the_back_end_in_force(variables: Variables, backend: BackendUnderTest) -> None:
    images = pictures(SHAPE)
    here = freeze(small_resnet, variables, input_shape=SHAPE)
    with tinyresnet.use_backend("numpy"):
        assert relative_error(here(images), small_resnet(images, is_training=False, variables=variables)[0]) <= 1e-4
