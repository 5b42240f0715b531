"""What `check` says of answers that are no answers, break, hang, or are wrong before their numbers are looked at."""

from __future__ import annotations

import inspect
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from tinyresnet import exercises, ops
from tinyresnet.exercises import limits
from tinyresnet.exercises.catalogue import load

pytestmark = pytest.mark.host_only
HAS_LIMITS = sys.platform == "linux"


def check(mine: Callable[..., Any], name: str = "relu_backward", **options: Any) -> exercises.CheckResult:
    return exercises.check(name, mine, progress=False, **options)


def right(dy: Any, saved: Any) -> Any:
    gate = np.zeros_like(dy)
    gate[saved.y > 0] = 1
    return gate * dy


def changed(change: Callable[[Any], Any]) -> Callable[..., Any]:
    """A right answer, changed afterwards."""
    return lambda dy, saved: change(right(dy, saved))


# ---- right answers ------------------------------------------------------------------------------------------------------
def test_a_right_answer_is_told_its_error_and_what_to_do_with_it() -> None:
    result = check(right)
    assert result.passed and result and not result.diagnosis and not result.symptom
    assert result.error <= result.tolerance == 1e-5
    assert "use(relu_backward=" in str(result) and "allowed 1e-05" in str(result)
    assert "No hint" in result.hint()


def test_a_wrapper_of_ours_is_judged_by_its_numbers() -> None:
    assert check(lambda dy, saved: ops.relu_backward(dy, saved)).passed
    assert not check(lambda dy, saved: 2 * ops.relu_backward(dy, saved)).passed


def test_habits_of_float32_and_of_float64() -> None:
    """Computing in float32 and giving back the right dtype is right; so is float64 for float32, with a note."""

    def in_float32(dy: Any, saved: Any) -> Any:
        x, gamma, mean, _, inv_std = (np.asarray(a, np.float32) for a in saved)
        xhat, d = (x - mean) * inv_std, dy.astype(np.float32)
        over = tuple(range(dy.ndim - 1))
        dx = gamma * inv_std * (d - d.mean(over) - xhat * (d * xhat).mean(over))
        return tuple(a.astype(dy.dtype) for a in (dx, (d * xhat).sum(over), d.sum(over)))

    def in_float64(dy: Any, saved: Any) -> Any:
        dx = np.zeros(dy.shape)
        dx[saved.y > 0] = dy[saved.y > 0]
        return dx

    for seed in range(20):
        assert check(in_float32, "batch_norm_backward", seed=seed).passed
    result = check(in_float64)
    assert result.passed and "float64" in str(result.notes)


def test_two_values_of_one_shape_may_come_as_one_array() -> None:
    def mine(size: int, kernel: int, stride: int, rate: int) -> Any:
        answer = load("conv2d_same_padding").answer
        return np.array(answer(size, kernel, stride, rate))

    assert check(mine, "conv2d_same_padding").passed


# ---- what is no answer --------------------------------------------------------------------------------------------------
def test_a_copy_of_our_source_is_refused_wherever_it_stands() -> None:
    exercise = load("batch_norm_backward")
    source = inspect.getsource(exercise.answer).replace("def answer", "def mine")
    found: dict[str, Any] = {}
    exec("from __future__ import annotations\n" + source, {}, found)  # no file behind it: compared as compiled code
    assert check(found["mine"], "batch_norm_backward").diagnosis == ["our_answer"]
    assert check(ops.batch_norm_backward, "batch_norm_backward").diagnosis == ["our_answer"]
    assert check(ops.relu_backward).diagnosis == ["our_answer"]


def test_a_one_line_answer_may_be_the_same_as_ours() -> None:
    def mine(dy: Any, saved: Any) -> Any:
        return dy * (saved.y > 0)

    assert check(mine).passed


def test_the_stub_in_another_file_is_the_stub() -> None:
    found: dict[str, Any] = {}
    exec("from __future__ import annotations\n" + load("relu_backward").stub_source(), {}, found)
    assert check(found["relu_backward"]).diagnosis == ["not_written"]


# ---- before the numbers -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("mine", "name", "said"),
    [
        (changed(lambda dx: dx[..., :1]), "wrong_shape", "must have [2, 3, 4, 3]"),
        (changed(lambda dx: dx.astype(np.float32)), "wrong_dtype", "must be float64"),
        (changed(lambda dx: dx.astype(int)), "wrong_dtype", "must be float64"),
        (changed(lambda dx: dx / 0), "not_finite", "NaN or infinite"),
        (changed(lambda dx: None), "wrong_type", "is a `return` missing?"),
        (changed(lambda dx: {"dx": dx}), "wrong_type", "is dict"),
        (changed(lambda dx: "dx"), "wrong_type", "is str"),
        (changed(lambda dx: (dx, dx)), "wrong_number_of_outputs", "must return 1 value, (dx), but returned 2"),
        (lambda dy: dy, "raises", "TypeError"),
        (lambda dy, saved: dy * saved.x, "raises", "'ReluSaved' object has no attribute 'x'"),
        (lambda dy, saved: sys.exit(0), "raises", "SystemExit"),
        (lambda dy, saved: dy, "output_is_an_input", "shares its memory with the input dy"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
def test_a_fault_that_needs_no_numbers_is_named(mine: Callable[..., Any], name: str, said: str) -> None:
    result = check(mine)
    assert not result.passed and name in result.diagnosis
    assert said in str(result), str(result)
    assert len(result.hints) == 3


def test_too_few_values() -> None:
    result = check(lambda dy, saved: (dy, dy), "batch_norm_backward")
    assert result.diagnosis == ["wrong_number_of_outputs"] and "(dx, dgamma, dbeta)" in result.symptom


def test_a_wrong_shape_is_named_beside_what_is_wrong_elsewhere() -> None:
    result = check(lambda dy, saved: (0 * dy, (dy * saved.x)[0], dy.sum(0)), "batch_norm_backward")
    assert result.diagnosis == ["wrong_shape", "all_zero"] and "dgamma has shape" in result.symptom


def test_writing_into_an_input_is_a_fault_even_if_the_numbers_are_right() -> None:
    def in_place(dy: Any, saved: Any) -> Any:
        dx = dy.copy()
        dy *= saved.y > 0
        return dx * (saved.y > 0)

    result = check(in_place)
    assert "input_overwritten" in result.diagnosis and "input dy" in result.symptom

    def of_saved(dy: Any, saved: Any) -> Any:
        dx = right(dy, saved)
        saved.y[...] = 0
        return dx

    assert "saved.y" in check(of_saved).symptom


def test_the_line_that_raised_is_shown() -> None:
    def mine(dy: Any, saved: Any) -> Any:
        return dy @ saved.y  # the line that is shown

    assert "the line that is shown" in str(check(mine))


# ---- limits -------------------------------------------------------------------------------------------------------------
def test_an_endless_loop_is_stopped() -> None:
    def endless(dy: Any, saved: Any) -> Any:
        while True:
            pass

    result = check(endless, seconds=0.5)
    assert result.diagnosis == ["too_slow"] and "0.5 s" in result.symptom


def test_without_a_process_of_its_own_a_timer_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS and Windows: in this process, and whatever the function catches."""
    monkeypatch.setattr(limits, "HAS_LIMITS", False)

    def holds_on(dy: Any, saved: Any) -> Any:
        while True:
            try:
                sum(range(1000))
            except Exception:
                pass

    result = check(holds_on, seconds=0.5)
    assert result.diagnosis == ["too_slow"] and "0.5 s" in result.symptom
    assert check(right).passed
    assert check(lambda dy, saved: dy * (dy > 0)).diagnosis == ["mask_from_dy"]


@pytest.mark.skipif(not HAS_LIMITS, reason="limits of memory are Linux's")
def test_a_function_that_eats_memory_is_stopped() -> None:
    def hungry(dy: Any, saved: Any) -> Any:
        return [np.ones(10**7) for _ in range(100)]

    assert check(hungry, memory=200 << 20).diagnosis == ["too_much_memory"]


@pytest.mark.skipif(not HAS_LIMITS, reason="a process of its own is Linux's")
@pytest.mark.parametrize("end", [lambda: os._exit(0), lambda: os.kill(os.getpid(), 9), lambda: os.abort()])
def test_a_function_that_ends_its_process_ends_no_more_than_that(end: Callable[[], Any]) -> None:
    def mine(dy: Any, saved: Any) -> Any:
        end()

    assert check(mine).diagnosis == ["ended"]


def test_what_it_prints_is_shown_and_cut() -> None:
    def chatty(dy: Any, saved: Any) -> Any:
        print("here is dy", "x" * 10_000)
        return dy * 0.5

    result = check(chatty)
    assert result.printed.startswith("here is dy") and len(result.printed) <= 4000 and "it printed" in str(result)


@pytest.mark.skipif(not HAS_LIMITS, reason="a process of its own is Linux's")
def test_it_cannot_change_the_process_that_checks() -> None:
    def patching(dy: Any, saved: Any) -> Any:
        np.random.default_rng = None  # type: ignore[assignment]
        ops.relu_backward = None  # type: ignore[assignment]
        os.environ["TINYRESNET_LANG"] = "zh"
        return dy * 0.5

    before = os.environ.get("TINYRESNET_LANG")
    assert not check(patching).passed
    assert np.random.default_rng is not None and ops.relu_backward is not None
    assert os.environ.get("TINYRESNET_LANG") == before


# ---- arguments ----------------------------------------------------------------------------------------------------------
def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="no exercise named 'batchnorm_backward'; did you mean batch_norm_backward"):
        exercises.check("batchnorm_backward", right)
    with pytest.raises(TypeError, match="mine must be a function, not int"):
        exercises.check("relu_backward", 3)  # type: ignore[arg-type]
    for bad in (0, -1, float("inf"), float("nan"), "10"):
        with pytest.raises(ValueError, match="seconds must be a number above 0 and at most 86400, not"):
            exercises.check("relu_backward", right, seconds=bad)  # type: ignore[arg-type]
    for bad in (-1, "x", 1.5, None, True):
        with pytest.raises(ValueError, match="seed must be an integer >= 0, not"):
            exercises.check("relu_backward", right, seed=bad)  # type: ignore[arg-type]
    for bad in (1e9, 0, 1 << 10, 1 << 70):
        with pytest.raises(ValueError, match="memory must be an integer, in bytes, from 16 MiB to 1 TiB, not"):
            exercises.check("relu_backward", right, memory=bad)  # type: ignore[arg-type]


def test_checks_in_several_threads_leave_the_process_as_it_was() -> None:
    before = sys.stdout, sys.stderr
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda seed: check(right, seed=seed), range(24)))
    assert all(result.passed for result in results)
    assert (sys.stdout, sys.stderr) == before


def test_an_object_that_can_be_called_is_a_function() -> None:
    class Mine:
        def __call__(self, dy: Any, saved: Any) -> Any:
            return right(dy, saved)

        def method(self, dy: Any, saved: Any) -> Any:
            return right(dy, saved)

    assert check(Mine()).passed and check(Mine().method).passed


# ---- showing itself -----------------------------------------------------------------------------------------------------
def test_a_result_shows_itself_in_a_notebook_without_markup_of_the_learners() -> None:
    def mine(dy: Any, saved: Any) -> Any:
        print("<script>alert(1)</script>")
        return dy * 0.5

    page = check(mine)._repr_html_()
    assert "<script>" not in page and "&lt;script&gt;" in page and "<table" in page


def test_hints_come_one_at_a_time() -> None:
    result = check(lambda dy, saved: dy * (dy > 0))
    assert len(result.hints) == 3 and result.hints[0] == result.symptom
    assert [result.hint(), result.hint(), result.hint()] == [result.hints[1], result.hints[2], result.hints[2]]


def test_in_chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYRESNET_LANG", "zh")
    result = check(lambda dy, saved: dy * (dy > 0))
    assert "还不对" in str(result) and "掩码" in str(result)
    monkeypatch.setenv("TINYRESNET_LANG", "fr")
    with pytest.raises(ValueError, match='TINYRESNET_LANG must be "en" or "zh", not \'fr\''):
        str(check(right))


@pytest.mark.parametrize(("variables", "language"), [({"LANG": "zh_CN.UTF-8"}, "zh"), ({"LANG": "de_DE.UTF-8"}, "en"),
    ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"), ({"TINYRESNET_LANG": "zh-CN", "LANG": "C"}, "zh")])  # fmt: skip
def test_the_language_is_that_of_the_locale(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], language: str
) -> None:
    for name in ("TINYRESNET_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert exercises.language() == language


def test_a_check_is_quick() -> None:
    """Not a matter of milliseconds, but nobody waits: a right answer is judged in the blink of an eye, even on a busy machine."""
    start = time.process_time()
    assert check(right).passed
    assert time.process_time() - start < 30  # of processor time: only a change of its order of magnitude shows here


# ---- training on it -----------------------------------------------------------------------------------------------------
def test_a_whole_net_trains_on_it() -> None:
    trained = exercises.train_on(relu_backward=right, steps=4)
    assert np.allclose(trained.mine, trained.ours, rtol=1e-5) and trained.ours[-1] < trained.ours[0]
    wrong = exercises.train_on(relu_backward=lambda dy, saved: dy * (dy > 0), steps=4)
    assert wrong.mine[0] == wrong.ours[0] and not np.allclose(wrong.mine[1:], wrong.ours[1:], rtol=1e-3)
    with pytest.raises(ValueError, match="give at least one function"):
        exercises.train_on()
    with pytest.raises(ValueError, match="steps must be an integer >= 1"):
        exercises.train_on(relu_backward=right, steps=0)
