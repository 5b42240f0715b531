"""set_backend, use_backend, the environment variable, threads, and what a back end that cannot run here says."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import numpy as np
import pytest

import tinyresnet
from tests import strict_device
from tinyresnet import backend as backend_module
from tinyresnet import (
    carry,
    get_array_module,
    get_backend,
    ops,
    set_backend,
    slim,
    to_device,
    to_host,
    use,
    use_backend,
)
from tinyresnet.gradcheck_table import CASES

RNG = np.random.default_rng(4)
X = RNG.standard_normal((2, 5, 4, 3))


@pytest.fixture(autouse=True)
def process_default_restored() -> Iterator[None]:
    before = backend_module._process_default
    yield
    backend_module._process_default = before


# ---- choosing ----------------------------------------------------------------------------------------------------------
def test_use_backend_nests_and_ends() -> None:
    pytest.importorskip("numba", reason="Numba is not installed")
    set_backend("numpy")
    assert get_backend() == "numpy"
    with use_backend("numba"):
        assert get_backend() == "numba"
        with use_backend("numpy"):
            assert get_backend() == "numpy"
        assert get_backend() == "numba"
    assert get_backend() == "numpy"


def test_set_backend_is_for_every_thread_and_use_backend_for_one() -> None:
    pytest.importorskip("numba", reason="Numba is not installed")
    set_backend("numpy")
    with use_backend("numba"), ThreadPoolExecutor(1) as pool:
        assert pool.submit(get_backend).result() == "numpy"
        set_backend("numba")
        assert pool.submit(get_backend).result() == "numba"


def test_unknown_back_end() -> None:
    with pytest.raises(ValueError, match="set_backend: 'torch' is no back end; there are 'numpy', 'numba', 'cupy'"):
        set_backend("torch")
    with pytest.raises(ValueError, match="use_backend: 'torch'"), use_backend("torch"):
        pass


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **environment}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["numpy", "numba"])
def test_environment_variable(name: str) -> None:
    if name == "numba":
        pytest.importorskip("numba", reason="Numba is not installed")
    done = run_python("import tinyresnet; print(tinyresnet.get_backend())", TINYRESNET_BACKEND=name)
    assert done.stdout.strip() == name, done.stderr


def test_environment_variable_that_names_no_back_end() -> None:
    done = run_python("import tinyresnet; tinyresnet.get_backend()", TINYRESNET_BACKEND="jax")
    assert done.returncode != 0
    assert "ValueError: environment variable TINYRESNET_BACKEND: 'jax' is no back end" in done.stderr


# ---- a back end that cannot run here -----------------------------------------------------------------------------------
WITHOUT = """
import sys
sys.modules["{module}"] = None          # as if it were not installed
import importlib.util
real = importlib.util.find_spec
import tinyresnet
from tinyresnet import backend as b
b.find_spec = lambda name: None if name == "{module}" else real(name)
try:
    tinyresnet.set_backend("{backend}")
except tinyresnet.BackendUnavailable as error:
    print(error)
print(tinyresnet.get_backend())
"""


@pytest.mark.parametrize(("name", "module", "extra"), [("numba", "numba", "numba"), ("cupy", "cupy", "cuda13")])
def test_a_missing_package_is_named_with_the_command_that_installs_it(name: str, module: str, extra: str) -> None:
    done = run_python(WITHOUT.format(backend=name, module=module), TINYRESNET_BACKEND="numpy")
    message, still = done.stdout.splitlines()
    assert f"back end '{name}' needs" in message and f'pip install "tinyresnet[{extra}]"' in message
    assert still == "numpy"


def test_cupy_without_a_gpu_says_so() -> None:
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    try:
        found = cupy.cuda.runtime.getDeviceCount() > 0
    except cupy.cuda.runtime.CUDARuntimeError:
        found = False
    if found:
        pytest.skip("this test is about a machine without a GPU, and here is one")
    with pytest.raises(
        tinyresnet.BackendUnavailable, match="needs an NVIDIA GPU and its driver.*nvidia-smi.*pip install"
    ):
        set_backend("cupy")


# ---- threads -----------------------------------------------------------------------------------------------------------
def doubled(x: Any) -> Any:
    y, saved = ops.relu_forward(x)
    return 2 * y, saved


def test_a_new_thread_starts_without_the_overrides_and_carry_takes_them_along() -> None:
    plain = ops.relu_forward(X)[0]
    found: dict[str, Any] = {}

    def work(key: str) -> None:
        found[key] = ops.relu_forward(X)[0]

    with use(relu_forward=doubled):
        threads = [
            threading.Thread(target=work, args=("bare",)),
            threading.Thread(target=carry(work), args=("carried",)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    np.testing.assert_array_equal(found["bare"], plain)
    np.testing.assert_array_equal(found["carried"], 2 * plain)


def test_a_pool_with_and_without_carry() -> None:
    """More tasks than threads, all at once: one carried function runs in several threads at a time."""
    plain = ops.relu_forward(X)[0]
    barrier = threading.Barrier(4)

    def work(together: bool) -> Any:
        if together:
            barrier.wait(timeout=60)
        return ops.relu_forward(X)[0]

    with ThreadPoolExecutor(4) as pool:
        with use(relu_forward=doubled):
            carried = list(pool.map(carry(work), [True] * 4 + [False] * 8))
            bare = list(pool.map(work, [False] * 4))
        after = list(pool.map(work, [False] * 4))
    for y in carried:
        np.testing.assert_array_equal(y, 2 * plain)
    for y in bare + after:
        np.testing.assert_array_equal(y, plain)


def test_carry_takes_scopes_and_keeps_results_apart() -> None:
    store = tinyresnet.Variables()
    with slim.variable_scope("outer", variables=store):
        layer = carry(lambda: slim.conv2d(X, 2, 1, scope="inner")[0])
    with ThreadPoolExecutor(1) as pool:
        pool.submit(layer).result()
    assert list(store) == ["outer/inner/weights", "outer/inner/biases"]


# ---- any forward with any backward -------------------------------------------------------------------------------------
def run_forward(name: str, case: Any, arrays: list[Any]) -> tuple[Any, Any]:
    constants = [to_device(a) for a in case.constants]
    return getattr(ops, f"{name}_forward")(*map(to_device, arrays), *constants, **case.arguments)  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    ("forward", "backward"), [pair for pair in product(["numpy", "numba"], repeat=2) if len(set(pair)) == 2]
)
def test_any_forward_with_any_backward(name: str, forward: str, backward: str) -> None:
    pytest.importorskip("numba", reason="Numba is not installed")
    case = CASES[name](np.random.default_rng(5))
    with use_backend("numpy"):
        y, saved = run_forward(name, case, list(case.arrays))
        dy = np.random.default_rng(6).standard_normal(np.shape(y))
        expected = getattr(ops, f"{name}_backward")(dy, saved)
    with use_backend(forward):
        _, saved = run_forward(name, case, list(case.arrays))
    with use_backend(backward):
        found = getattr(ops, f"{name}_backward")(dy, saved)
    for ours, theirs in zip(as_tuple(found), as_tuple(expected), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


@pytest.mark.parametrize("name", CASES)
def test_saved_moves_between_host_and_device(name: str) -> None:
    """forward on the host and backward on a device, and the other way round: `saved` is a NamedTuple of arrays and numbers."""
    case = CASES[name](np.random.default_rng(5))

    def moved(value: Any, move: Any) -> Any:
        if isinstance(value, tuple):
            items = [moved(item, move) for item in value]
            return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
        return move(value) if hasattr(value, "dtype") else value

    with use_backend("numpy"):
        y, saved = run_forward(name, case, list(case.arrays))
        dy = np.random.default_rng(6).standard_normal(np.shape(y))
        expected = as_tuple(getattr(ops, f"{name}_backward")(dy, saved))
    with strict_device.installed(), use_backend("cupy"):
        device_y, device_saved = run_forward(name, case, list(case.arrays))
        on_device = getattr(ops, f"{name}_backward")(moved(np.asarray(dy), to_device), moved(saved, to_device))
        found = [to_host(g) for g in as_tuple(on_device)]
        host_saved = moved(device_saved, to_host)
        np.testing.assert_allclose(to_host(device_y), y, rtol=1e-12)
    with use_backend("numpy"):
        on_host = as_tuple(getattr(ops, f"{name}_backward")(dy, host_saved))
    for ours, theirs, right in zip(found, on_host, expected, strict=True):
        np.testing.assert_allclose(ours, right, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(theirs, right, rtol=1e-12, atol=1e-12)


# ---- host and device ---------------------------------------------------------------------------------------------------
def test_host_and_device_arrays_are_not_mixed() -> None:
    with strict_device.installed(), use_backend("cupy"):
        x, w = to_device(X), np.zeros((1, 1, 3, 2))
        with pytest.raises(TypeError, match=r"conv2d_forward: w is on the host .*'cupy'.*mixed: use to_device"):
            ops.conv2d_forward(x, w)
        with pytest.raises(TypeError, match="get_array_module: host .* device"):
            get_array_module(x, w)
        _, saved = ops.relu_forward(x)
        with pytest.raises(TypeError, match="relu_backward: dy is on the host"):
            ops.relu_backward(X, saved)
        with use_backend("numpy"), pytest.raises(TypeError, match=r"relu_forward: x is on the device.*to_host"):
            ops.relu_forward(x)
        with use_backend("numpy"), pytest.raises(TypeError, match="relu_backward: saved is on the device"):
            ops.relu_backward(X, saved)


def test_to_device_and_to_host() -> None:
    with use_backend("numpy"):
        assert to_device(X) is X and to_host(X) is X and get_array_module(X) is np and get_array_module() is np
        np.testing.assert_array_equal(to_device([1.5, 2]), [1.5, 2])
    with strict_device.installed(), use_backend("cupy"):
        x = to_device(X)
        assert to_device(x) is x and get_array_module(x) is get_array_module() is sys.modules["cupy"]
        back = to_host(x)
        assert isinstance(back, np.ndarray) and back is not X
        np.testing.assert_array_equal(back, X)


def test_variables_are_created_where_the_back_end_works() -> None:
    with strict_device.installed(), use_backend("cupy"):
        cupy, store = sys.modules["cupy"], tinyresnet.Variables(seed=7)
        net, back = _conv(store)
        d_inputs = back(to_device(RNG.standard_normal(net.shape)))
        assert all(isinstance(a, cupy.ndarray) for a in (net, d_inputs, *store.values(), *store.gradients.values()))
        on_device = {name: to_host(a) for name, a in store.items()}
    with use_backend("numpy"):
        host = tinyresnet.Variables(seed=7)
        with slim.variable_scope("net", variables=host):
            slim.conv2d(X, 2, 3)
    assert list(host) == list(on_device)
    for name, value in host.items():
        np.testing.assert_array_equal(value, on_device[name])


def _conv(store: tinyresnet.Variables) -> Any:
    with slim.variable_scope("net", variables=store):
        return slim.conv2d(to_device(X), 2, 3)
