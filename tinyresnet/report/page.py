"""The whole page: which sections a run has, and what stands around them."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any

from ..explain import receptive_fields
from ..gradcheck_table import gradient_table
from . import classes, inside, progress, record, scenes
from .elements import Album, Section, paragraph
from .findings import Findings, find_or_why_not
from .words import Words, attribute, both, plain

HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="tinyresnet {version}">
<meta name="description" {description}>
<link rel="icon" href="data:,">
<title>{title_en}</title>
<style>
{style}</style>
</head>
"""

BODY = """<body data-title-en="{title_en}" data-title-zh="{title_zh}">
<a class="skip en" lang="en" href="#en-main">Skip to the contents</a><a class="skip zh" lang="zh-CN" href="#zh-main">跳到正文</a>
<header>
<div class="top"><span>tinyresnet</span>
<nav class="languages" {nav_label}>
<a href="#en" lang="en" hreflang="en" aria-current="true">English</a><a href="#zh" lang="zh-CN" hreflang="zh-CN">中文</a>
</nav></div>
<h1>{heading}</h1>
<p class="lead">{lead}</p>
{numbers}
<nav class="contents" {contents_label}><ul>{contents}</ul></nav>
</header>
<main id="en-main" tabindex="-1"><div id="zh-main" tabindex="-1"></div>
{sections}
</main>
<footer>{footer}</footer>
<script>
{script}</script>
</body>
</html>
"""


def compose(run: Any, noticed: Callable[[str], None] | None = None) -> tuple[str, dict[str, bytes]]:
    """A run -> the HTML of its report, and its pictures by their paths beside it. `noticed` is told what the report has to do without."""
    album = Album()
    found, missing = find_or_why_not(run)
    if found is None and noticed is not None:
        noticed(f"the report has only what needs no pictures: {missing}")
    return page(run, _sections(run, album, found, missing)), album.files


def _sections(run: Any, album: Album, found: Findings | None, missing: str) -> list[Section]:
    names = run.class_names
    counts = None if found is None else (len(found.dataset.train.images), len(found.dataset.test.images))
    about = record.what(run, counts) + ("" if found is not None else paragraph(_gone(missing), kind="missing"))
    sections = [Section("summary", Words("What was trained", "训练概况"), about), progress.curves(album, run.metrics)]
    if found is not None:
        sections += _of_pixels(run, album, found) if run.config.task == "segment" else _of_pictures(run, album, found)
    sections.append(inside.filters(album, run))
    if found is not None:
        sections.append(inside.features(album, run, found, names))
        look = scenes.where_it_looked if run.config.task == "segment" else inside.where_it_looked
        sections.append(look(album, run, found, names))
    sections += [record.gradients(gradient_table()), record.configuration(run.config.to_toml()), record.versions(run)]
    return sections


def _of_pictures(run: Any, album: Album, found: Findings) -> list[Section]:
    names = run.class_names
    return [classes.confusion(album, found, names, pixels=False), classes.mistakes(album, found, names)]


def _of_pixels(run: Any, album: Album, found: Findings) -> list[Section]:
    names, image = run.class_names, found.images[0]
    fields = receptive_fields(run.net, run.variables, run.normalised(image[None])[0])
    return [
        scenes.beside_the_truth(album, found, names),
        scenes.ious(found, names),
        classes.confusion(album, found, names, pixels=True),
        scenes.geometry(album, image.shape[1], fields),
    ]


def _gone(why: str) -> Words:
    return Words(
        "The data set could not be read again, so the confusion matrix, the mistakes, the activations and Grad-CAM are missing "
        "here: {why}",
        "无法重新读取数据集，因此缺少混淆矩阵、错误样例、特征图和 Grad-CAM：{why}",
    ).format(why=why)


# ---- around them ---------------------------------------------------------------------------------------------------------
def page(run: Any, sections: list[Section]) -> str:
    """The HTML."""
    from .. import __version__

    name = Words("Training run: {name}", "训练报告：{name}").format(name=run.folder.resolve().name)
    title = Words("{name} · tinyresnet", "{name} · tinyresnet").format(name=name)
    titles = {"title_en": plain(title.en), "title_zh": plain(title.zh)}
    head = HEAD.format(
        version=__version__, description=attribute("content", record.lead(run)), style=_asset("style.css"), **titles
    )
    made = Words(
        "Made by tinyresnet {version}. This page needs no network: it and the folder `pictures` beside it are all there is to share.",
        "由 tinyresnet {version} 生成。本页不需要网络：分享时带上它和旁边的 `pictures` 文件夹即可。",
    ).format(version=__version__)
    return head + BODY.format(
        nav_label=attribute("aria-label", Words("Language", "语言")),
        contents_label=attribute("aria-label", Words("Contents", "目录")),
        heading=both(name),
        lead=both(record.lead(run)),
        numbers=record.numbers(run),
        contents="".join(map(_entry, sections)),
        sections="\n".join(map(_section, sections)),
        footer=paragraph(made),
        script=_asset("switch.js"),
        **titles,
    )


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _entry(section: Section) -> str:
    """A link for each language: its target says the language to a page that is loaded there."""
    en, zh = plain(section.title.en), plain(section.title.zh)
    return (
        f'<li><a class="en" lang="en" href="#en-{section.anchor}">{en}</a>'
        f'<a class="zh" lang="zh-CN" href="#zh-{section.anchor}">{zh}</a></li>'
    )


def _section(section: Section) -> str:
    anchor = section.anchor
    return (
        f'<section aria-labelledby="en-{anchor}"><h2 id="en-{anchor}"><span id="zh-{anchor}"></span>'
        f"{both(section.title)}</h2>\n{section.body}\n</section>"
    )
