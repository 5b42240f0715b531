"""The tables of docs/exercises.md are those that docs/measure_exercises.py makes now."""

from __future__ import annotations

import pytest

from docs import measure_exercises
from tests.exercises.measured import power
from tinyresnet.exercises.catalogue import NAMES

pytestmark = pytest.mark.host_only


@pytest.mark.parametrize("language", measure_exercises.PAGES)
def test_the_tables_are_those_that_are_made_now(language: str) -> None:
    text = measure_exercises.PAGES[language].read_text(encoding="utf-8")
    table = [power(name) for name in NAMES]
    tables = {"list": measure_exercises.list_table(language), "power": measure_exercises.power_rows(table, language)}
    assert measure_exercises.written(text, tables) == text, "run python docs/measure_exercises.py"


def test_another_number_would_be_found() -> None:
    text = measure_exercises.PAGES["en"].read_text(encoding="utf-8")
    table = [power(NAMES[0])._replace(named=0)]
    tables = {"list": measure_exercises.list_table("en"), "power": measure_exercises.power_rows(table, "en")}
    assert measure_exercises.written(text, tables) != text
