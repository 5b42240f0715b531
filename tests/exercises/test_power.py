"""The kit can tell right from wrong: every planted mistake is rejected, nearly every one is named, and no right answer is refused."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from tests.exercises.measured import power
from tinyresnet import exercises
from tinyresnet.exercises.calls import cases_of
from tinyresnet.exercises.catalogue import NAMES, load
from tinyresnet.exercises.power import hand_in, planted
from tinyresnet.exercises.refusals import is_ours, is_stub
from tinyresnet.gradcheck_table import op_pairs

pytestmark = pytest.mark.host_only
MANY, FEW = 200, 3


def test_there_are_enough_exercises_and_mistakes() -> None:
    assert len(exercises.all()) >= 24
    assert [exercise.name for exercise in exercises.all()] == list(NAMES)
    assert min(len(exercise.mistakes) for exercise in exercises.all()) >= 5
    assert sum(len(exercise.mistakes) for exercise in exercises.all()) >= 120


def test_every_backward_op_has_the_exercise_of_its_name() -> None:
    assert {f"{name}_backward" for name in op_pairs()} <= set(NAMES)
    for name in op_pairs():
        exercise = load(f"{name}_backward")
        assert exercise.op == exercise.name


@pytest.mark.parametrize("name", NAMES)
def test_a_stub_fails(name: str) -> None:
    exercise = load(name)
    result = exercises.check(name, exercise.stub, progress=False)
    assert not result.passed and result.diagnosis == ["not_written"]
    assert not hand_in(exercise, exercise.stub).passed  # also if nobody looked whether it is the stub
    assert is_stub(exercise, exercise.stub) and not is_stub(exercise, exercise.answer)


@pytest.mark.parametrize("name", NAMES)
def test_our_own_answer_is_refused(name: str) -> None:
    exercise = load(name)
    result = exercises.check(name, exercise.answer, progress=False)
    assert not result.passed and result.diagnosis == ["our_answer"]
    assert is_ours(exercise, exercise.answer) and not any(is_ours(exercise, other) for other in exercise.also_right)


@pytest.mark.parametrize("name", NAMES)
def test_every_planted_mistake_is_rejected_and_named(name: str) -> None:
    exercise, found = load(name), power(name)
    assert found.rejected == found.planted == len(exercise.mistakes)
    assert len({mistake.name for mistake in exercise.mistakes}) == len(exercise.mistakes)
    assert found.named >= found.planted - 1  # all but one at most, here; 95 % over all, below


def test_at_least_95_percent_are_named() -> None:
    table = [power(name) for name in NAMES]
    assert sum(row.named for row in table) >= 0.95 * sum(row.planted for row in table)


def test_an_upstream_gradient_of_ones_misses_mistakes_that_the_checker_names() -> None:
    missed = {name: power(name).accepted_by_ones for name in NAMES}
    assert sum(map(len, missed.values())) >= 10
    assert {"variance_term_forgotten", "gamma_forgotten", "inv_std_forgotten"} <= set(missed["batch_norm_backward"])


@pytest.mark.parametrize("name", NAMES)
def test_right_answers_pass(name: str) -> None:
    _right_answers_pass(name, range(FEW))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_right_answers_pass_on_200_seeds(name: str) -> None:
    _right_answers_pass(name, range(FEW, MANY))


def _right_answers_pass(name: str, seeds: range) -> None:
    exercise = load(name)
    assert len(exercise.also_right) >= 2
    for function in (exercise.answer, *exercise.also_right):
        for seed in seeds:
            result = hand_in(exercise, function, seed)
            assert result.passed, (function.__name__, seed, str(result))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_planted_mistakes_are_rejected_on_other_seeds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    exercise = load(name)
    refused = exercises.CheckResult(name, False)
    monkeypatch.setattr(sys.modules["tinyresnet.exercises.check"], "diagnosed", lambda *a: refused)  # why, takes longer
    for mistake in exercise.mistakes:
        for seed in range(1, 13):
            result = hand_in(exercise, planted(exercise, mistake.name), seed)
            assert not result.passed, (mistake.name, seed)


@pytest.mark.parametrize("name", NAMES)
def test_cases_are_the_same_in_every_process_and_differ_by_seed(name: str) -> None:
    """The child that runs a function makes its own inputs: they must be those that the judge makes."""
    exercise = load(name)
    first, again, other = (_numbers(name, seed) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    if any(case.forward is not None for case, _ in cases_of(exercise, 0)):
        assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=False))


def _numbers(name: str, seed: int) -> list[np.ndarray]:
    from tinyresnet.exercises.calls import arrays_in

    return [array for case, _ in cases_of(load(name), seed) for _, array in arrays_in(case.args, "")]


@pytest.mark.parametrize("name", NAMES)
def test_it_says_everything_in_both_languages(name: str) -> None:
    exercise = load(name)
    texts = [exercise.title, exercise.task]
    texts += [text for output in exercise.outputs for text in (output.concept, output.line)]
    texts += [text for mistake in exercise.mistakes for text in (mistake.why, mistake.line)]
    for text in texts:
        assert text.en.strip() and text.zh.strip()
        assert not any("\u4e00" <= letter <= "\u9fff" for letter in text.en), text.en
    for text in (exercise.title, exercise.task, *(mistake.why for mistake in exercise.mistakes)):
        assert any("\u4e00" <= letter <= "\u9fff" for letter in text.zh), text.zh


@pytest.mark.parametrize("name", NAMES)
def test_it_presupposes_what_comes_before(name: str) -> None:
    assert all(NAMES.index(other) < NAMES.index(name) for other in load(name).presupposes)
