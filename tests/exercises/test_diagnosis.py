"""What was done wrong: known mistakes, combinations nobody listed, and mistakes that no library has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinyresnet import exercises, ops
from tinyresnet.exercises.catalogue import load
from tinyresnet.exercises.diagnosis.where import heat_map, patterns
from tinyresnet.exercises.power import hand_in

pytestmark = pytest.mark.host_only
Function = Callable[..., Any]


def said_of(name: str, mine: Function, seed: int = 0) -> exercises.CheckResult:
    result = hand_in(load(name), mine, seed)
    assert not result.passed and result.symptom and len(result.hints) == 3
    assert len(result.explanations) == len(result.diagnosis)
    return result


# ---- batch norm: terms -----------------------------------------------------------------------------------------------------
def batch_norm(
    a: float = 1, b: float = 1, c: float = 1, gamma: bool = True, std: bool = True, factor: float = 1
) -> Function:
    """A dx with these coefficients; written here, not taken from the exercise's own wrong answers."""

    def mine(dy: Any, saved: Any) -> Any:
        x, g, mean, _, inv_std = saved
        over = tuple(range(dy.ndim - 1))
        n = dy.size / dy.shape[-1]
        xhat = (x - mean) * inv_std
        d_beta, d_gamma = np.add.reduce(dy, over), np.add.reduce(dy * xhat, over)
        dx = factor * (a * dy - b * d_beta / n - c * xhat * d_gamma / n)
        return dx * (g if gamma else 1) * (inv_std if std else 1), d_gamma, d_beta

    return mine


@pytest.mark.parametrize(
    ("mine", "names"),
    [
        (batch_norm(b=0), {"mean_term_forgotten"}),
        (batch_norm(c=0), {"variance_term_forgotten"}),
        (batch_norm(b=0, c=0), {"mean_term_forgotten", "variance_term_forgotten"}),
        (batch_norm(c=-1), {"variance_term_sign"}),
        (batch_norm(c=-1, b=0), {"variance_term_sign", "mean_term_forgotten"}),
        (batch_norm(b=-1), {"mean_term_sign"}),
        (batch_norm(gamma=False), {"gamma_forgotten"}),
        (batch_norm(gamma=False, b=0), {"gamma_forgotten", "mean_term_forgotten"}),
        (batch_norm(gamma=False, std=False), {"gamma_forgotten", "inv_std_forgotten"}),
        (batch_norm(gamma=False, c=0, factor=-1), {"gamma_forgotten", "variance_term_forgotten", "sign_flipped"}),
        (batch_norm(c=2), {"variance_term_scaled"}),
        (batch_norm(c=0.5, b=0), {"variance_term_scaled", "mean_term_forgotten"}),
        (batch_norm(factor=1 / 7), {"scaled"}),
        (batch_norm(factor=-1), {"sign_flipped"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("seed", [0, 5])
def test_the_terms_of_batch_norm_are_named_alone_and_together(mine: Function, names: set[str], seed: int) -> None:
    assert set(said_of("batch_norm_backward", mine, seed).diagnosis) == names


def test_mistakes_in_different_outputs_are_named_together() -> None:
    def mine(dy: Any, saved: Any) -> Any:
        dx, dgamma, dbeta = batch_norm(b=0)(dy, saved)
        return dx, dgamma, dbeta * dy.shape[-1] / dy.size

    result = said_of("batch_norm_backward", mine)
    assert set(result.diagnosis) == {"mean_term_forgotten", "averaged_not_summed"}
    assert "dx and dbeta are wrong (dgamma right)" in result.symptom


# ---- convolution: transformations -----------------------------------------------------------------------------------------
def scattered(
    kernel: Function = lambda w: w, crop: Function = lambda start: start, rate: Function = lambda r: r, dw: Function = lambda dw: dw
) -> Function:  # fmt: skip
    """dx by scattering, with one thing or another done wrong; dw by ours, changed."""

    def mine(dy: Any, saved: Any) -> Any:
        w, (sh, sw), (rh, rw) = kernel(saved.w), saved.stride, rate(saved.rate)
        (top, bottom), (left, right) = saved.pads
        n, h, wide, c = saved.x.shape
        padded = np.zeros((n, top + h + bottom, left + wide + right, c), dy.dtype)
        for p, q in np.ndindex(*dy.shape[1:3]):
            for i, j in np.ndindex(*w.shape[:2]):
                padded[:, p * sh + i * rh, q * sw + j * rw] += dy[:, p, q] @ w[i, j].T
        up, across = crop(top), crop(left)
        return padded[:, up : up + h, across : across + wide].copy(), dw(ops.conv2d_backward(dy, saved)[1])

    return mine


def start_at_zero(start: int) -> int:
    return 0


def flipped(w: Any) -> Any:
    return w[::-1, ::-1]


@pytest.mark.parametrize(
    ("mine", "names"),
    [
        (scattered(kernel=flipped), {"kernel_flipped"}),
        (scattered(crop=start_at_zero), {"crop_off_by_one"}),
        (scattered(kernel=flipped, crop=start_at_zero), {"kernel_flipped", "crop_off_by_one"}),
        (scattered(kernel=lambda w: w.swapaxes(0, 1)), {"kh_kw_swapped"}),
        (scattered(rate=lambda r: (1, 1)), {"rate_ignored"}),
        (scattered(rate=lambda r: (1, 1), kernel=flipped), {"rate_ignored", "kernel_flipped"}),
        (scattered(dw=lambda dw: dw / 2), {"dw_batch_mean"}),
        (scattered(kernel=flipped, dw=lambda dw: dw / 2), {"kernel_flipped", "dw_batch_mean"}),
    ],
)  # fmt: skip
def test_the_mistakes_of_a_convolution_are_named_alone_and_together(mine: Function, names: set[str]) -> None:
    assert set(said_of("conv2d_backward", mine).diagnosis) == names


def test_the_tools_of_this_file_are_right_without_a_mistake() -> None:
    assert hand_in(load("conv2d_backward"), scattered()).passed
    assert hand_in(load("batch_norm_backward"), batch_norm()).passed


@pytest.mark.parametrize(
    ("kernel", "crop"), [(lambda w: w[::-1], start_at_zero), (lambda w: w[:, ::-1] * -1, lambda start: start)]
)
def test_a_transformation_that_no_library_lists_is_found(kernel: Function, crop: Function) -> None:
    result = said_of("conv2d_backward", scattered(kernel=kernel, crop=crop))
    assert {"kernel_flipped_vertically", "kernel_flipped_horizontally"} & set(result.diagnosis)
    assert "dx is the right answer for a kernel flipped" in str(result)


def test_a_wrong_answer_that_breaks_on_a_later_call_is_named_by_the_calls_before() -> None:
    def mine(dy: Any, saved: Any) -> Any:  # `@ w`, not `@ w.T`: possible only while C == K
        if saved.w.shape[2] != saved.w.shape[3]:
            raise ValueError("matmul: mismatch in its core dimension")
        return ops.conv2d_backward(dy, saved._replace(w=saved.w.swapaxes(2, 3)))[0], ops.conv2d_backward(dy, saved)[1]

    result = said_of("conv2d_backward", mine)
    assert result.diagnosis == ["raises", "weights_not_transposed"] and "mismatch" in result.symptom


def test_outputs_in_another_order_are_named() -> None:
    def mine(dy: Any, saved: Any) -> Any:
        dx, dgamma, dbeta = batch_norm()(dy, saved)
        return dx, dbeta, dgamma

    assert said_of("batch_norm_backward", mine).diagnosis == ["outputs_swapped"]
    result = said_of("find_the_bug_batch_norm", lambda dy, saved: (*ops.batch_norm_backward(dy, saved), "a_name"))
    assert result.diagnosis == ["wrong_type"]  # the name comes first


# ---- what no library has --------------------------------------------------------------------------------------------------
def spoilt(change: Callable[[Any], Any], output: int = 0) -> Function:
    """A right conv2d_backward, one output of which is changed."""

    def mine(dy: Any, saved: Any) -> Any:
        outputs = [a.copy() for a in ops.conv2d_backward(dy, saved)]
        outputs[output] = change(outputs[output])
        return tuple(outputs)

    return mine


def zero_at(*index: Any) -> Callable[[Any], Any]:
    def change(a: Any) -> Any:
        a[index] = 0
        return a

    return change


def times(*index: Any, factor: float) -> Callable[[Any], Any]:
    def change(a: Any) -> Any:
        a[index] *= factor
        return a

    return change


ALL = slice(None)


@pytest.mark.parametrize(
    ("mine", "words"),
    [
        (spoilt(zero_at(ALL, -1)), ["dx is wrong (dw right)", "got nothing at all", "(the last)", "row"]),
        (spoilt(zero_at(0)), ["image 0 (the first)", "got nothing at all"]),
        (spoilt(times(ALL, ALL, 0, factor=3)), ["in each column (over N, H, C) yours / right is one number: 3, 1", "column 0 (the first)"]),
        (spoilt(times(..., 0, factor=1.5), 1), ["dw is wrong (dx right)", "in each output channel", "1.5, 1"]),
        (spoilt(lambda a: a + 1), ["everywhere the error (yours - right) is one number"]),
        (spoilt(lambda a: a + a.mean((0, 1, 2))), ["in each channel (over N, H, W) the error (yours - right) is one number"]),
        (spoilt(lambda a: np.abs(a)), ["the sizes are right, but", "signs are not"]),
        (spoilt(lambda a: a * 3.7), ["dx is the right answer times 3.7, in every entry"]),
        (spoilt(lambda a: a[::-1].copy()), ["dx is the right answer, reversed along N"]),
        (spoilt(lambda a: np.roll(a, 1, 0)), ["the sum over all entries is right"]),
        (spoilt(lambda a: 0 * a), ["every entry of dx is zero"]),
        (spoilt(lambda a: np.sin(a)), ["entries are wrong", "worst at dx["]),
    ],
)  # fmt: skip
def test_a_mistake_that_no_library_lists_gets_a_useful_symptom(mine: Function, words: list[str]) -> None:
    text = str(said_of("conv2d_backward", mine))
    for word in words:
        assert word in text, text


def test_the_worst_entry_stands_beside_a_finite_difference_that_can_be_trusted() -> None:
    result = said_of("conv2d_backward", spoilt(times(1, 2, 2, 0, factor=2)))
    assert any("worst at dx[1, 2, 2, 0]" in line and "ratio 2;" in line for line in result.details)
    assert any("a finite difference there gives" in line and "no noise" in line for line in result.details)


def test_what_is_wrong_only_in_float32_is_said_so() -> None:
    def mine(dy: Any, saved: Any) -> Any:
        dx, dgamma, dbeta = batch_norm()(dy, saved)
        return dx * (1.01 if dy.dtype == np.float32 else 1), dgamma, dbeta

    result = said_of("batch_norm_backward", mine)
    assert result.diagnosis == ["loses_digits_in_float32"] and "right in float64" in result.symptom


@pytest.mark.parametrize(
    ("name", "mine", "named"),
    [
        ("conv2d_backward", lambda dy, s: (
            ops.conv2d_backward(dy, s._replace(w=abs(s.w)))[0], ops.conv2d_backward(dy, s)[1]), "w_made_positive"),
        ("conv2d_weights_gradient", lambda dy, s: ops.conv2d_backward(dy * (dy > 0), s)[1], "dy_cut_at_0"),
        ("batch_norm_inference_backward", lambda dy, s: (
            dy * s.gamma / s.inv_std, *ops.batch_norm_inference_backward(dy, s)[1:]), "inv_std_inverted"),
    ],
)  # fmt: skip
def test_the_right_answer_to_another_question_is_recognised(name: str, mine: Function, named: str) -> None:
    result = said_of(name, mine)
    assert named in result.diagnosis, str(result)
    assert named in {m.name for m in load(name).mistakes} or "is the right answer for another input" in str(result)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda dx, dy, s: dx + 3 * s.x, "the error (yours - right) is 3 * saved.x"),
        (lambda dx, dy, s: 0.5 * s.x, "what you return is 0.5 * saved.x"),
        (lambda dx, dy, s: np.where(s.x < 0, 7 * dx + 1, dx), "it is wrong just where saved.x is negative"),
        (lambda dx, dy, s: np.broadcast_to(dx.mean(0), dx.shape).copy(), "yours does not change along axis 0"),
    ],
)
def test_what_it_has_to_do_with_the_inputs_is_said(change: Function, words: str) -> None:
    def mine(dy: Any, saved: Any) -> Any:
        dx, dw = ops.conv2d_backward(dy, saved)
        return change(dx, dy, saved).astype(dy.dtype), dw

    assert words in said_of("conv2d_backward", mine).symptom


# ---- the pieces -----------------------------------------------------------------------------------------------------------
def test_a_heat_map_shows_where() -> None:
    right = np.random.default_rng(0).standard_normal((2, 4, 5, 3))
    came = right.copy()
    came[1, 2, 3, 0] += 10
    error, rows, columns = heat_map(came, right, "NHWC")
    assert (rows, columns) == ("H", "W") and np.argwhere(error > 0).tolist() == [[2, 3]]


def test_patterns_are_silent_about_what_is_right() -> None:
    right = np.random.default_rng(0).standard_normal((3, 4))
    assert patterns(right + 1e-9, right, "NC", 1e-5) == []


def test_nothing_in_a_result_is_half_a_sentence() -> None:
    """The text of each planted mistake of two exercises, read for holes."""
    from tinyresnet.exercises.power import planted

    for name in ("batch_norm_backward", "conv2d_backward"):
        exercise = load(name)
        for mistake in exercise.mistakes:
            text = str(hand_in(exercise, planted(exercise, mistake.name)))
            assert "None" not in text and "nan" not in text and "{" not in text and "\n\n" not in text, text
