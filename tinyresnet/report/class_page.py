"""The page of a class: who has done which exercises, and which mistakes the class makes. One file, in the teacher's language."""

from __future__ import annotations

import html
from collections.abc import Sequence
from importlib.resources import files
from typing import NamedTuple

from ..exercises.catalogue import NAMES
from ..exercises.grading.grade import BROKEN, NOT_GRADED, NOT_WRITTEN, REFUSED, RIGHT, WRONG, Graded, Mark
from ..exercises.language import Text, language
from .elements import big_numbers, scrolled
from .words import Words

SIGNS = {RIGHT: "✓", WRONG: "✗", NOT_WRITTEN: "–", REFUSED: "=", BROKEN: "!", NOT_GRADED: "?"}
NO_ATTEMPT = {"not_written", "our_answer"}  # in a diagnosis, but no mistakes

PAGE = """<!doctype html>
<html lang="{lang}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<header>
<div class="top"><span>tinyresnet</span></div>
<h1>{title}</h1>
<p class="lead">{lead}</p>
<div class="numbers">{numbers}</div>
</header>
<main>
{sections}
</main>
<footer><p>{footer}</p></footer>
</body>
</html>
"""


class MistakeOfClass(NamedTuple):
    """A mistake, and who made it in which exercises."""

    name: str
    why: str
    who: dict[str, list[str]]  # student -> exercises

    @property
    def exercises(self) -> list[str]:
        """In the catalogue's order."""
        made = {exercise for its in self.who.values() for exercise in its}
        return [name for name in NAMES if name in made]


def class_page(graded: Graded) -> str:
    """The HTML. Every word that a student wrote is escaped, no script runs, and nothing is loaded."""
    from .. import __version__

    parts = [
        _section(Text("Who has done what", "每人完成的情况"), _signs(graded)),
        _section(Text("The class's mistakes", "全班的错误"), _mistakes(graded)),
        _section(Text("One by one", "逐个学生"), "\n".join(_student(graded, name) for name in graded.students)),
        _section(Text("How it was graded", "评分方式"), _how(graded)),
    ]
    made = Text(
        f"Made by tinyresnet {__version__}. This page needs no network.",
        f"由 tinyresnet {__version__} 生成。本页不需要网络。",
    )
    return PAGE.format(
        lang="zh-CN" if language() == "zh" else "en",
        title=_escaped(Text(f"Class: {graded.name}", f"班级：{graded.name}")),
        lead=_escaped(_lead(graded)),
        numbers=_numbers(graded),
        style=_asset("style.css") + _asset("class.css"),
        sections="\n".join(parts),
        footer=_escaped(made),
    )


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _escaped(text: Text | str) -> str:
    return html.escape(str(text))


def _same(text: Text | str) -> Words:
    """In the one language of this page, for the pieces that know two."""
    return Words(str(text), str(text))


def _section(title: Text, body: str) -> str:
    return f"<section><h2>{_escaped(title)}</h2>\n{body}\n</section>"


# ---- numbers -----------------------------------------------------------------------------------------------------------
def _lead(graded: Graded) -> Text:
    names = {mark.exercise for mark in graded.marks}
    return Text(
        f"{len(graded.students)} students, {len(names)} different exercises, {len(graded.marks)} answers.",
        f"{len(graded.students)} 名学生，{len(names)} 个不同的练习，{len(graded.marks)} 份答案。",
    )


def _numbers(graded: Graded) -> str:
    tried = [mark for mark in graded.marks if mark.status != NOT_WRITTEN]
    right = sum(mark.passed for mark in graded.marks)
    broken = sum(mark.status == BROKEN for mark in graded.marks)
    rows = [
        (Text("Right", "正确"), f"{right}", Text(f"of {len(tried)} that were tried", f"共 {len(tried)} 份作答")),
        (
            Text("Students with all right", "全部正确的学生"),
            f"{_all_right(graded)}",
            Text(f"of {len(graded.students)}", f"共 {len(graded.students)} 名"),
        ),
        (
            Text("Did not run to the end", "未能运行到底"),
            f"{broken}",
            Text("errors, endless loops, unreadable files", "报错、死循环、无法读取的文件"),
        ),
    ]
    return big_numbers([(_same(name), _same(value), _same(remark)) for name, value, remark in rows])


def _all_right(graded: Graded) -> int:
    by_student = {name: [mark for mark in graded.marks if mark.student == name] for name in graded.students}
    return sum(bool(marks) and all(mark.passed for mark in marks) for marks in by_student.values())


# ---- mistakes ----------------------------------------------------------------------------------------------------------
def mistakes_of(graded: Graded) -> list[MistakeOfClass]:
    """Those that most students made first."""
    found: dict[str, MistakeOfClass] = {}
    for mark in graded.marks:
        for name, why in zip(mark.diagnosis, mark.explanations, strict=False):
            if name not in NO_ATTEMPT:
                its = found.setdefault(name, MistakeOfClass(name, why, {}))
                its.who.setdefault(mark.student, []).append(mark.exercise)
        if mark.status == WRONG and not mark.diagnosis:
            why = str(
                Text("Wrong in a way that has no name; see each student's line.", "错误类型未知，见各学生的说明。")
            )
            name = str(Text("not recognised", "未识别"))
            found.setdefault(name, MistakeOfClass(name, why, {})).who.setdefault(mark.student, []).append(mark.exercise)
    return sorted(found.values(), key=lambda mistake: (-len(mistake.who), mistake.name))


def _mistakes(graded: Graded) -> str:
    every = mistakes_of(graded)
    if not every:
        return f"<p>{_escaped(Text('None was made.', '没有错误。'))}</p>"
    shared = [mistake for mistake in every if len(mistake.who) > 1]
    single = every[len(shared) :]
    text = _bars(shared, len(graded.students))
    if single:
        head = Text(f"Made by one student each: {len(single)}", f"只有一名学生犯的错误：{len(single)} 种")
        shown = "" if shared else " open"
        text += f"<details{shown}><summary>{_escaped(head)}</summary>{_bars(single, len(graded.students))}</details>"
    return text


def _bars(mistakes: Sequence[MistakeOfClass], students: int) -> str:
    return '<ul class="bars">\n' + "\n".join(_bar(mistake, students) for mistake in mistakes) + "\n</ul>"


def _bar(mistake: MistakeOfClass, students: int) -> str:
    n = len(mistake.who)
    count = Text(f"{n} of {students} students", f"{students} 名学生中有 {n} 名")
    where = ", ".join(f"<code>{_escaped(name)}</code>" for name in mistake.exercises)
    who = _escaped(str(Text(", ", "、")).join(mistake.who))
    return (
        f'<li><strong><code>{_escaped(mistake.name)}</code></strong> <span class="count">{_escaped(count)}</span>'
        f'<span class="bar" aria-hidden="true" style="width:{100 * n / students:.0f}%"></span>{_escaped(mistake.why)}'
        f'<div class="note">{where} · {who}</div></li>'
    )


# ---- students x exercises ----------------------------------------------------------------------------------------------
MEANING = {
    RIGHT: Text("right", "正确"),
    WRONG: Text("wrong", "错误"),
    NOT_WRITTEN: Text("not written", "未编写"),
    REFUSED: Text("our own answer", "我们的答案"),
    BROKEN: Text("did not run to the end", "未能运行到底"),
    NOT_GRADED: Text("could not be graded", "无法评分"),
}


def _kind(status: str) -> str:
    return "right-answer" if status == RIGHT else status.replace(" ", "-")


def _signs(graded: Graded) -> str:
    names = [name for name in NAMES if any(mark.exercise == name for mark in graded.marks)]
    student, total = _escaped(Text("student", "学生")), _escaped(Text("right", "正确"))
    head = "".join(f'<th scope="col" class="exercise"><span>{_escaped(name)}</span></th>' for name in names)
    rows = "\n".join(_row(graded, name, names) for name in graded.students)
    sums = "".join(f"<td>{_right(graded.marks, exercise=name)}</td>" for name in names)
    foot = f'<tr><th scope="row"><span>{total}</span></th>{sums}<td class="total">{_right(graded.marks)}</td></tr>'
    table = (
        f'<table class="signs"><thead><tr><th scope="col">{student}</th>{head}<th scope="col">{total}</th></tr></thead>'
        f"<tbody>\n{rows}\n</tbody><tfoot>{foot}</tfoot></table>"
    )
    keys = "".join(f"<li>{SIGNS[status]} {_escaped(meaning)}</li>" for status, meaning in MEANING.items())
    keys += f"<li>{_escaped(Text('blank: not handed in', '空白：未提交'))}</li>"
    return (
        scrolled(table, _same(Text("Students and exercises", "学生与练习")))
        + f'<ul class="legend-of-signs">{keys}</ul>'
    )


def _right(marks: Sequence[Mark], **where: str) -> int:
    return sum(mark.passed and all(getattr(mark, k) == v for k, v in where.items()) for mark in marks)


def _row(graded: Graded, student: str, names: Sequence[str]) -> str:
    marks = {mark.exercise: mark for mark in graded.marks if mark.student == student}
    cells = "".join(_sign(marks.get(name)) for name in names)
    total = f"{sum(mark.passed for mark in marks.values())}/{len(names)}"
    name = _escaped(student)
    return f'<tr><th scope="row" title="{name}"><span>{name}</span></th>{cells}<td class="total">{total}</td></tr>'


def _sign(mark: Mark | None) -> str:
    if mark is None:
        return "<td></td>"
    told = _escaped(", ".join(mark.diagnosis) or MEANING[mark.status])
    sign = f'<span role="img" aria-label="{_escaped(MEANING[mark.status])}">{SIGNS[mark.status]}</span>'
    return f'<td class="{_kind(mark.status)}" title="{told}">{sign}</td>'


# ---- one student -------------------------------------------------------------------------------------------------------
def _student(graded: Graded, student: str) -> str:
    marks = [mark for mark in graded.marks if mark.student == student]
    right = sum(mark.passed for mark in marks)
    head = Text(f"{student}: {right} of {len(marks)} right", f"{student}：{right}/{len(marks)} 正确")
    rows = "".join(
        f'<tr><td class="{_kind(mark.status)}">{SIGNS[mark.status]}</td><th scope="row"><code>{_escaped(mark.exercise)}</code></th>'
        f"<td>{_said(mark)}</td></tr>"
        for mark in marks
    )
    notes = "".join(f'<p class="missing">{_escaped(note)}</p>' for note in graded.students[student])
    table = scrolled(f"<table><tbody>{rows}</tbody></table>", _same(student)) if rows else ""
    return f"<details><summary>{_escaped(head)}</summary>{notes}{table}</details>"


def _said(mark: Mark) -> str:
    """What was seen, what it was, and what its text shows."""
    named = [f"→ {name}: {why}" for name, why in zip(mark.diagnosis, mark.explanations, strict=False)]
    lines = [mark.symptom, *(line for line in named if mark.status not in (NOT_WRITTEN, REFUSED))]
    notes = [f'<span class="note">{_escaped(note)}</span>' for note in mark.notes]
    return "<br>".join([*(_escaped(line) for line in lines if line), *notes])


# ---- how it was graded ---------------------------------------------------------------------------------------------------
def _how(graded: Graded) -> str:
    said = Text(
        f"Every answer was called on the inputs of seed {graded.seed}, in a process of its own with a copy of the student's files; "
        "only numbers came out of it, and they were judged outside. A note says where a file calls our answer or does what a "
        "teacher may want to look at; it changes no mark.",
        f"每份答案都在独立的进程中、用该学生文件的副本、以种子 {graded.seed} 的输入运行；传出来的只有数值，由外部判定。"
        "若某个文件调用了我们的答案，或做了值得教师留意的事，会有备注；备注不影响成绩。",
    )
    weak = "".join(f'<p class="missing">{_escaped(text)}</p>' for text in graded.weaknesses)
    return f"<p>{_escaped(said)}</p>{weak}"
