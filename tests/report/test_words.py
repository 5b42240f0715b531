"""The words of the report, its numbers, and the colours behind them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.report.html_page import read
from tinyresnet.report.elements import contrast, shade
from tinyresnet.report.words import Words, both, duration, number, percent, scientific


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0, "0.0"), (0.90641, "90.6"), (0.99999, "99.9"), (1, "100.0"), (0.9995, "99.9"), (0.9994, "99.9")],
)
def test_only_all_of_it_is_100_percent(share: float, shown: str) -> None:
    assert percent(share) == f"{shown}\u00a0%"


def test_numbers_and_times() -> None:
    assert [number(n) for n in (7, 25_557_032, 0.123456, 3.0)] == ["7", "25,557,032", "0.1235", "3"]
    assert [duration(s).en for s in (3.14159, 61, 3600, 7384)] == ["3.1 s", "1 min 1 s", "1 h 0 min", "2 h 3 min"]
    assert [scientific(x) for x in (0, 1.44e-11, 25.0)] == ["0", "1.4\u00a0×\u00a010⁻¹¹", "2.5\u00a0×\u00a010¹"]
    assert duration(7384).zh == "2 小时 3 分"


def test_what_a_user_wrote_is_never_markup() -> None:
    words = Words("`fixed` {name}", "`固定` {name}").format(name="`x` <b> {y}")
    assert read(both(words)).all("b") == []
    assert [e.text() for e in read(both(words)).all("code")] == ["fixed", "固定"]
    assert read(both(words)).text("en") == "fixed `x` <b> {y}"


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)  # the well-known grey that just fails
    assert contrast("#ff0000", "#ffffff") == pytest.approx(4.0, abs=0.005)


def test_every_shade_has_an_ink_that_can_be_read_on_it() -> None:
    for share in np.linspace(0, 1, 101):
        assert contrast(*shade(float(share))) >= 4.5, share
