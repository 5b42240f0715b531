"""The report's page: what is in it, that it stands by itself, and that all of it is there in both languages."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest

from tests.report.checks import anchors, problems, untranslated
from tests.report.html_page import read
from tests.report.reports import Report, report_of
from tests.report.runs import fake_run
from tinyresnet.report.elements import contrast
from tinyresnet.report.words import percent

pytest.importorskip("matplotlib")
image_module = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def classify(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return report_of(fake_run(tmp_path_factory.mktemp("runs") / "mine"))


@pytest.fixture(scope="module")
def segment(tmp_path_factory: pytest.TempPathFactory) -> Report:
    run = fake_run(
        tmp_path_factory.mktemp("runs") / "scenes",
        task="segment",
        shape=(33, 33, 1),
        names=("background", "cat", "dog"),
    )
    return report_of(run)


@pytest.fixture(params=["classify", "segment"])
def either(request: pytest.FixtureRequest) -> Report:
    found: Report = request.getfixturevalue(request.param)
    return found


# ---- what is in it ------------------------------------------------------------------------------------------------------
def test_a_classifier_has_every_section(classify: Report) -> None:
    expected = "summary curves confusion mistakes filters activations gradcam gradients config versions".split()
    assert anchors(classify.page) == expected


def test_a_segmenter_has_its_own(segment: Report) -> None:
    _, page, files = segment
    expected = ["summary", "curves", "scenes", "iou", "confusion", "geometry", "filters", "activations", "gradcam"]
    assert anchors(page) == [*expected, "gradients", "config", "versions"]
    assert sum("scene_1" in name for name in files) >= 4
    assert "9×9" in page.text("en"), "33 pixels, one feature for 4"


def test_the_numbers_are_those_of_the_log_and_of_the_predictions(classify: Report, tmp_path: Path) -> None:
    run, page = fake_run(tmp_path / "mine"), classify.page
    epochs = [line for line in run.metrics if line["kind"] == "epoch"]
    best = max(line["test_accuracy"] for line in epochs)
    text = page.text("en")
    assert percent(best, 2) in text
    assert f"{epochs[-1]['test_loss']:.4f}" in text
    assert f"{sum(run.variables[n].size for n in run.variables.trainable):,}" in text
    (table,) = page.all("table", class_="counts")
    counts = np.array([[int(cell.text()) for cell in row.all("td")] for row in table.all("tr")[1:]])
    images, labels = run.dataset().test
    right = np.zeros((3, 3), int)
    np.add.at(right, (labels, run.predict(images).argmax(-1)), 1)
    np.testing.assert_array_equal(counts, right)
    wrong = int(right.sum() - np.trace(right))
    assert 0 < wrong < len(labels)
    assert f"{wrong} of {len(labels)} test pictures" in text


def test_the_surest_mistakes_are_the_surest_and_are_mistakes(classify: Report, tmp_path: Path) -> None:
    run = fake_run(tmp_path / "mine")
    images, labels = run.dataset().test
    p = run.predict(images)
    said = p.argmax(-1)
    surest = max((p[i].max(), i) for i in range(len(labels)) if said[i] != labels[i])[1]
    _, page, files = classify
    first = next(figure for figure in page.all("figure") if "mistake_01" in figure.all("img")[0].attributes["src"])
    assert f"said {run.class_names[said[surest]]}, {percent(float(p[surest].max()))}" in first.text("en")
    assert f"实际：{run.class_names[labels[surest]]}" in first.text("zh")
    with image_module.open(io.BytesIO(files[first.all("img")[0].attributes["src"]])) as drawn:
        pixels = np.asarray(drawn.convert("L"))
    factor = pixels.shape[0] // 8
    np.testing.assert_array_equal(pixels[factor // 2 :: factor, factor // 2 :: factor], images[surest, ..., 0])


def test_config_and_versions_are_there_as_they_are(classify: Report, tmp_path: Path) -> None:
    page = classify.page
    assert page.all("pre")[0].text() == fake_run(tmp_path / "mine").config.to_toml()
    text = page.text("en")
    assert "<blas>" in text
    assert "2.4.6" in text


def test_every_op_is_in_the_gradient_table(classify: Report) -> None:
    from tinyresnet.gradcheck_table import op_pairs

    (section,) = classify.page.all("section", aria_labelledby="en-gradients")
    assert {cell.text() for cell in section.all("th", scope="row")} >= set(op_pairs())


# ---- a page that stands by itself ---------------------------------------------------------------------------------------
def test_the_page_stands_by_itself(either: Report) -> None:
    text, _, files = either
    assert problems(text, files) == []
    assert len(files) > 20
    assert sum(map(len, files.values())) + len(text) < 3e6
    for png in files.values():
        with image_module.open(io.BytesIO(png)) as picture:
            picture.load()
            assert max(picture.size) < 2400


def test_planted_faults_of_a_page_are_noticed(classify: Report) -> None:
    text, _, files = classify
    for good, bad, noticed in (
        ("<main ", '<img src="pictures/none.png" alt="x"><main ', "no such picture"),
        ("<main ", '<img src="https://example.org/x.png" alt="x"><main ', "reaches out"),
        ("<style>", "<style>@import 'x.css';", "reaches out"),
        ("<h1>", "<h3>x</h3><h1>", "headings"),
        (' alt="', ' title="', "no text for"),
        ("#en-curves", "#en-curve", "leads nowhere"),
    ):
        assert text.count(good) >= 1
        assert any(noticed in problem for problem in problems(text.replace(good, bad, 1), files)), noticed


# ---- both languages -----------------------------------------------------------------------------------------------------
def test_both_languages_are_complete(either: Report) -> None:
    page = either.page
    assert untranslated(page) == []
    english, chinese = page.text("en"), page.text("zh")
    assert not re.search("[\u4e00-\u9fff]", english.replace("中文", "")), "Chinese in the English page"
    assert len(re.findall("[\u4e00-\u9fff]", chinese)) > 600
    for word in ("交叉熵", "准确率", "混淆矩阵", "学习率", "卷积核", "特征图", "梯度检验", "感受野"):
        assert word in chinese
    (html,) = page.all("html")
    assert html.attributes["lang"] == "en"


def test_planted_english_in_the_chinese_page_is_noticed(classify: Report) -> None:
    text = classify.text
    for good, bad in (
        ("交叉熵", "cross-entropy"),
        ('data-zh-alt="训练时', 'data-zh-alt="While training '),
        (">混淆矩阵<", ">Confusion matrix<"),
    ):
        assert good in text
        assert untranslated(read(text.replace(good, bad))) != []
    assert untranslated(read(re.sub(r'<span class="zh" lang="zh-CN">混淆矩阵</span>', "", text))) != []


def test_each_alt_says_what_is_seen_in_both_languages(either: Report) -> None:
    images = either.page.all("img")
    assert len(images) > 20
    for image in images:
        en, zh = image.attributes["data-en-alt"], image.attributes["data-zh-alt"]
        assert image.attributes["alt"] == en
        assert re.search("[\u4e00-\u9fff]", zh)
        assert len(en) > 5
        assert re.findall(r"\d+\.\d+", en) == re.findall(r"\d+\.\d+", zh), "other numbers in the other language"


# ---- colours ------------------------------------------------------------------------------------------------------------
def test_every_ink_can_be_read_on_every_paper(classify: Report) -> None:
    css = classify.page.all("style")[0].text()
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", css))
    for paper in ("paper", "panel"):
        for ink in ("ink", "soft", "link", "warn"):
            assert contrast(colours[ink], colours[paper]) >= 4.5, (ink, paper)
    said = re.findall(r"(?<![-\w])color: ([^;]+);", css)
    assert said
    assert all(value.startswith("var(--") for value in said), "a colour outside the table of colours"
