"""Messages forged by a submission: the judge outside neither believes them nor breaks on them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.exercises.class_of import graded_of
from tinyresnet import exercises
from tinyresnet.exercises.calls import Outcome, cases_of, encode
from tinyresnet.exercises.grading.grade import Limits, Mark, mark_of
from tinyresnet.exercises.grading.sandbox import Ran
from tinyresnet.exercises.grading.table import as_csv
from tinyresnet.exercises.grading.work import TRY, Work
from tinyresnet.report.class_page import class_page

pytestmark = pytest.mark.host_only
LIMITS = Limits(seconds=4, memory=256 << 20)


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYRESNET_LANG", "en")


def honest_messages(exercise_name: str = "relu_backward") -> list[bytes]:
    exercise = exercises.get(exercise_name)
    outcomes = [Outcome((exercise.answer(*case.args),)) for case, _ in cases_of(exercise, 1)]
    return [encode(outcome) for outcome in [*outcomes, Outcome((), seconds=1e-5)]]


def judged(messages: list[bytes], exercise: str = "relu_backward") -> Mark:
    return mark_of("student", Work(exercise, f"{exercise}.py", TRY), Ran(messages, "", {}), 1, LIMITS)


def test_honest_messages_pass_and_those_for_another_exercise_do_not() -> None:
    assert judged(honest_messages()).passed
    assert not judged(honest_messages(), "bias_add_backward").passed
    assert not judged(honest_messages()[:3]).passed and not judged([]).passed


def forged(**changes: Any) -> bytes:
    return json.dumps({**json.loads(honest_messages()[0]), **changes}).encode()


def array(dtype: str, shape: list[Any], data: str = "") -> list[dict[str, Any]]:
    return [{"dtype": dtype, "shape": shape, "data": data}]


FORGED = {
    "no JSON": b"\xff\xfe",
    "a number": b"1",
    "a list": b"[]",
    "null": b"null",
    "deep": b"[" * 100_000,
    "a long number": b"9" * 10_000,
    "passed": b'{"passed": true}',
    "infinity": forged(shared=[[float("inf"), "x"]]),
    "shared with nothing": forged(shared=[[-99, "x"]]),
    "shapes": forged(outputs=array("<f8", [-1, 4])),
    "many axes": forged(outputs=array("<f8", [1] * 99, "AAAAAAAAAAA=")),
    "a huge shape": forged(outputs=array("<f8", [1 << 62, 1 << 62])),
    "objects": forged(outputs=array("|O", [1], "AAAAAAAAAAA=")),
    "a record": forged(outputs=array("f8,f8", [0])),
    "no dtype": forged(outputs=array("x" * 999, [0])),
    "no base64": forged(outputs=array("<f8", [1], "????")),
    "nothing": forged(outputs=array("<f8", [0])),
    "complex": forged(outputs=array("<c16", [1], "A" * 22 + "==")),
    "times": forged(outputs=array("<M8[s]", [1], "AAAAAAAAAAA=")),
    "a text": forged(outputs=[{"text": "right"}]),
    "surrogates": forged(raised="\ud800" * 9, error="\udfff"),
    "a wall": forged(raised="x" * 100_000 + "\n\x00\x1b[31m", error="E"),
    "too many": forged(outputs=array("<f8", [0]) * 1000),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_message_neither_passes_nor_breaks_the_grader(name: str) -> None:
    mark = judged([FORGED[name], *honest_messages()[1:]])
    assert not mark.passed and mark.diagnosis and len(mark.symptom) <= 600 and mark.symptom.isprintable()
    as_csv(graded_of(mark)).encode()
    class_page(graded_of(mark)).encode()


def test_a_forged_time_is_no_trouble() -> None:
    for seconds in (float("nan"), float("inf"), -1.0, 0.0, 1e300):
        assert judged([*honest_messages()[:-1], encode(Outcome((), seconds=seconds))]).passed


def test_what_could_not_be_started_is_not_the_students_mark() -> None:
    ran = Ran([], "start", {}, "OSError: no more processes")
    mark = mark_of("student", Work("relu_backward", "relu_backward.py", TRY), ran, 1, LIMITS)
    assert mark.status == "not graded" and "no more processes" in mark.symptom and not mark.diagnosis
