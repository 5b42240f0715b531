"""Reports of runs that are odd: names, sizes and counts at their limits, unfinished, diverged, without their data."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.report.checks import anchors, problems, untranslated
from tests.report.html_page import read
from tests.report.reports import compose, report_of
from tests.report.runs import ODD, fake_run, log

pytest.importorskip("matplotlib")


def test_odd_names_are_text_and_nothing_else(tmp_path: Path) -> None:
    run = fake_run(tmp_path / 'a "run" <b>', names=ODD)
    text, files = compose(run)
    assert problems(text, files) == []
    assert len(read(text).all("script")) == 1
    headings = [cell.text() for cell in read(text).all("th", scope="row")]
    for name in ODD:
        assert name in headings
    assert 'a "run" <b>' in read(text).all("h1")[0].text("en")


@pytest.mark.parametrize(
    ("classes", "shape"),
    [
        (100, (8, 8, 3)),
        pytest.param(2, (8, 8, 1), marks=pytest.mark.slow),
        pytest.param(1, (8, 8, 1), marks=pytest.mark.slow),
        pytest.param(130, (8, 8, 1), marks=pytest.mark.slow),
        pytest.param(3, (40, 28, 3), marks=pytest.mark.slow),
    ],
)
def test_few_and_many_classes_small_and_coloured_pictures(
    classes: int, shape: tuple[int, int, int], tmp_path: Path
) -> None:
    run = fake_run(tmp_path / "mine", names=tuple(f"class {i}" for i in range(classes)), shape=shape)
    text, files = compose(run)
    assert problems(text, files) == []
    assert len(text) + sum(map(len, files.values())) < 3e6
    assert len(read(text).all("table", class_="counts")) == (classes <= 128)


@pytest.mark.slow
def test_the_published_nets_have_a_page(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "mine", shape=(32, 32, 3))
    large = dataclasses.replace(run.config, net=dataclasses.replace(run.config.net, name="resnet_v2_50"))
    run = dataclasses.replace(run, config=large, data=OSError("gone"))
    _, page, files = report_of(run)
    assert any("filters" in name for name in files)
    assert "64 filters of 7×7 over 3 channels" in page.text("en")


@pytest.mark.parametrize(
    ("metrics", "says"),
    [
        ([], "No step has been logged yet"),
        (log(5, 0, ended=False), "No epoch has ended yet"),
        (log(1, 1), "after epoch 1"),
        ([*log(5, 0, ended=False), {"kind": "diverged", "epoch": 1, "step": 6, "where": None}], "no longer a number"),
        ([*log(40, 2, ended=False), {"kind": "resume", "step": 40}], "breaks on the way: 1"),
    ],
)
@pytest.mark.parametrize("task", ["classify", pytest.param("segment", marks=pytest.mark.slow)])
def test_a_run_in_any_state(metrics: list[dict[str, Any]], says: str, task: str, tmp_path: Path) -> None:
    shape = (33, 33, 1) if task == "segment" else (8, 8, 1)
    text, files = compose(fake_run(tmp_path / "mine", metrics=metrics, task=task, shape=shape))
    assert problems(text, files) == []
    page = read(text)
    assert says in page.text("en")
    assert untranslated(page) == []


def test_without_its_data_set_the_page_says_what_is_missing_and_has_the_rest(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "mine", missing=FileNotFoundError("no folder <here>"))
    text, files = compose(run)
    assert problems(text, files) == []
    page = read(text)
    assert anchors(page) == ["summary", "curves", "filters", "gradients", "config", "versions"]
    for language in ("en", "zh"):
        assert "no folder <here>" in page.text(language)
    assert any("loss" in name for name in files)


@pytest.mark.slow
def test_a_net_that_is_never_wrong_and_one_that_is_never_right(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "mine")
    images, labels = run.dataset().test
    said = run.predict(images).argmax(-1)
    for truth, words in (
        (said, "Every test picture was named right."),
        ((said + 1) % 3, f"{len(labels)} of {len(labels)}"),
    ):
        run.data = run.data._replace(test=run.data.test._replace(labels=truth))  # type: ignore[union-attr]
        text, files = compose(run)
        assert problems(text, files) == []
        assert words in read(text).text("en")
