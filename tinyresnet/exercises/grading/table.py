"""results.csv: a line for each exercise that a student has handed in."""

from __future__ import annotations

import csv
import io

from ..language import Text
from .grade import Graded, Mark

COLUMNS = ("student", "exercise", "passed", "status", "diagnosis", "symptom", "seconds", "note")
FORMULA = tuple("=+-@\t\r＝＋－＠")  # a spreadsheet would compute a cell that begins so


def as_csv(graded: Graded) -> str:
    """The whole table. A student of whom there is nothing to mark has a line all the same."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for student, notes in graded.students.items():
        marks = [mark for mark in graded.marks if mark.student == student]
        for mark in marks:
            writer.writerow([harmless(cell) for cell in _row(mark)])
        if notes or not marks:
            writer.writerow([harmless(cell) for cell in (student, "", "", "", "", "", "", "; ".join(notes))])
    return out.getvalue()


def _row(mark: Mark) -> tuple[str, ...]:
    seconds = f"{mark.seconds:.2f}" if mark.seconds == mark.seconds else ""
    diagnosis, notes = " ".join(mark.diagnosis), str(Text("; ", "；")).join(mark.notes)
    return (
        mark.student,
        mark.exercise,
        str(int(mark.passed)),
        mark.status,
        diagnosis,
        mark.symptom,
        seconds,
        notes,
    )


def harmless(cell: str) -> str:
    """A text that a spreadsheet takes for a text."""
    cell = cell.encode("utf-8", "replace").decode()
    return f"'{cell}" if cell.lstrip(" ").startswith(FORMULA) else cell
