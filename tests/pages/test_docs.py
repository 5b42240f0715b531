"""The documentation: its code runs, its links lead somewhere, its twins agree, its tables miss no argument.

The checkers are in docs/pages.py. For each there is a planted mistake that it must find.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tinyresnet
from docs import pages
from docs.pages import Page
from tinyresnet import resnet_utils, resnet_v2, slim

PAGES = pages.all_pages()
BY_PATH = {page.path: page for page in PAGES}
WITH_CODE = [page for page in PAGES if pages.has_running_code(page) and pages.snippets(page)]
ENGLISH = [page for page in WITH_CODE if "zh" not in page.path]
TWINS = {page.path: twin for page in PAGES if (twin := pages.twin_of(page)) is not None}


def path_of(page: Page) -> str:
    return page.path


def page(text: str, path: str = "docs/page.md") -> Page:
    return Page(path, text)


def code(body: str, output: str | None = None) -> str:
    return f"```python\n{body}\n```\n" + (f"\n```text\n{output}\n```\n" if output is not None else "")


# ---- the pages themselves ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("page", ENGLISH, ids=path_of)
def test_the_code_of_a_page_runs_and_prints_what_it_says(page: Page) -> None:
    assert pages.run_snippets(page) == []  # a Chinese page has its twin's code, see below: it need not run twice


@pytest.mark.parametrize("page", PAGES, ids=path_of)
def test_links_and_pictures_exist_and_pictures_have_alt_texts(page: Page) -> None:
    assert pages.check_links(page) == []


@pytest.mark.parametrize("page", PAGES, ids=path_of)
def test_quoted_code_stands_in_our_code_and_terms_are_ours(page: Page) -> None:
    assert pages.check_quotes(page) + pages.check_words(page) == []


@pytest.mark.parametrize("path", TWINS)
def test_every_page_has_a_chinese_twin_that_differs_in_words_only(path: str) -> None:
    assert pages.check_twins(BY_PATH[path], BY_PATH[TWINS[path]]) == []


def test_no_chinese_page_is_without_an_english_twin() -> None:
    assert {path for path in BY_PATH if "zh" in path} == set(TWINS.values())


# ---- TF-Slim's functions and arguments -----------------------------------------------------------------------------------
NET = ("inputs", "num_classes", "is_training", "global_pool", "output_stride", "spatial_squeeze", "reuse", "scope")
TF_SLIM: dict[str, tuple[str, ...]] = {  # as its two files have them, and the layers and helpers they call
    "Block": ("scope", "unit_fn", "args"),
    "subsample": ("inputs", "factor", "scope"),
    "conv2d_same": ("inputs", "num_outputs", "kernel_size", "stride", "rate", "scope"),
    "stack_blocks_dense": ("net", "blocks", "output_stride", "store_non_strided_activations", "outputs_collections"),
    "resnet_arg_scope": (
        *(
            "weight_decay",
            "batch_norm_decay",
            "batch_norm_epsilon",
            "batch_norm_scale",
            "activation_fn",
            "use_batch_norm",
        ),
        "batch_norm_updates_collections",
    ),
    "bottleneck": ("inputs", "depth", "depth_bottleneck", "stride", "rate", "outputs_collections", "scope"),
    "resnet_v2": (*NET, "blocks", "include_root_block"),
    "resnet_v2.default_image_size": ("default_image_size",),
    "resnet_v2_block": ("scope", "base_depth", "num_units", "stride"),
    "resnet_v2_50": NET,
    "resnet_v2_101": NET,
    "resnet_v2_152": NET,
    "resnet_v2_200": NET,
    "conv2d": (
        *("inputs", "num_outputs", "kernel_size", "stride", "padding", "data_format", "rate", "activation_fn"),
        *("normalizer_fn", "normalizer_params", "weights_initializer", "weights_regularizer", "biases_initializer"),
        *("biases_regularizer", "reuse", "variables_collections", "outputs_collections", "trainable", "scope"),
    ),
    "batch_norm": (
        *("inputs", "decay", "center", "scale", "epsilon", "activation_fn", "param_initializers", "param_regularizers"),
        *("updates_collections", "is_training", "reuse", "variables_collections", "outputs_collections", "trainable"),
        *("batch_weights", "fused", "data_format", "zero_debias_moving_mean", "scope", "renorm", "renorm_clipping"),
        *("renorm_decay", "adjustment"),
    ),
    "max_pool2d": ("inputs", "kernel_size", "stride", "padding", "data_format", "outputs_collections", "scope"),
    "bias_add": (
        *("inputs", "activation_fn", "initializer", "regularizer", "reuse", "variables_collections"),
        *("outputs_collections", "trainable", "data_format", "scope"),
    ),
    "softmax": ("logits", "scope"),
    "l2_regularizer": ("scale", "scope"),
    "variance_scaling_initializer": ("factor", "mode", "uniform", "seed", "dtype"),
    "xavier_initializer": ("uniform", "seed", "dtype"),
    "arg_scope": ("list_ops_or_scope", "kwargs"),
    "add_arg_scope": ("func",),
    "collect_named_outputs": ("collections", "alias", "outputs"),
    "convert_collection_to_dict": ("collection", "clear_collection"),
    "last_dimension": ("shape", "min_rank"),
    "variable_scope": ("name_or_scope", "default_name", "values", "reuse"),
}
IN_THE_TWO_FILES = [name for name in TF_SLIM if hasattr(resnet_utils, name) or hasattr(resnet_v2, name)]
MAPS = {"docs/tf_slim_map.md": "the function's name", "docs/zh/tf_slim_map.md": "函数自己的名字"}


def ours(name: str) -> Callable[..., Any] | None:
    """Our function of this name, if there is one."""
    found = [getattr(module, name) for module in (resnet_utils, resnet_v2, slim) if hasattr(module, name)]
    return found[0] if found else None


def as_written(parameter: inspect.Parameter) -> str:
    """A default as the table has it."""
    default = parameter.default
    if default is parameter.empty:
        return ""
    if parameter.name == "weights_initializer":
        return "xavier_initializer()"  # which gives a function without a telling name
    return str(default.__name__) if callable(default) else repr(default)


def our_arguments(its_own_name: str) -> dict[str, dict[str, str]]:
    """function -> argument -> default, read off our signatures."""
    wanted: dict[str, dict[str, str]] = {}
    for name in TF_SLIM:
        function = ours(name)
        if function is None:
            continue
        parameters = inspect.signature(function).parameters.values()
        wanted[name] = {p.name: as_written(p) for p in parameters if p.kind is not p.VAR_KEYWORD}
        if wanted[name].get("scope") == repr(name):
            wanted[name]["scope"] = its_own_name
    return wanted


@pytest.mark.parametrize("path", MAPS)
def test_the_table_has_every_argument_of_ours_with_its_default(path: str) -> None:
    wanted = our_arguments(MAPS[path])
    assert len(wanted) > 20 and wanted["resnet_v2_50"]["scope"] == MAPS[path]
    assert pages.check_arguments(BY_PATH[path], wanted) == []


@pytest.mark.parametrize("path", MAPS)
def test_the_table_has_every_argument_of_tf_slim(path: str) -> None:
    rows = pages.argument_rows(BY_PATH[path])
    assert {name: set(arguments) - set(rows.get(name, {})) for name, arguments in TF_SLIM.items()} == {
        name: set() for name in TF_SLIM
    }


@pytest.mark.parametrize("path", ["docs/resnet_utils.md", "docs/resnet_v2.md"])
def test_the_source_notes_explain_every_function_and_argument(path: str) -> None:
    module = {"docs/resnet_utils.md": resnet_utils, "docs/resnet_v2.md": resnet_v2}[path]
    names = [
        name for name in IN_THE_TWO_FILES if getattr(getattr(module, name, None), "__module__", "") == module.__name__
    ]
    assert len(names) in (5, 7)
    for name in names:
        section = section_of(BY_PATH[path], name)
        missing = [] if name[10:] in ("101", "152", "200") else missing_arguments(section, getattr(module, name))
        assert section and not missing, f"{path}: {name} does not explain {missing}"


def section_of(page: Page, name: str) -> str:
    """What stands between the heading that names this function and the next of its level."""
    parts = page.text.split("\n## ")
    return next((part for part in parts if f"`{name}`" in part.partition("\n")[0]), "")


def missing_arguments(section: str, function: Callable[..., Any]) -> list[str]:
    return [
        name
        for name in inspect.signature(function).parameters
        if f"| `{name}`" not in section and f", `{name}`" not in section
    ]


# ---- figures -------------------------------------------------------------------------------------------------------------
FIGURES = pages.ROOT / "docs" / "figures"
SCRIPTS = sorted(path.stem for path in FIGURES.glob("*.py") if path.stem != "drawing")


@pytest.fixture
def figure_scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Imports a script of docs/figures by name, and forgets it afterwards."""
    pytest.importorskip("matplotlib")
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(FIGURES))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield importlib.import_module
    for name in {*SCRIPTS, "drawing"} - before:
        sys.modules.pop(name, None)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_figure_is_drawn_the_same_each_time(name: str, figure_scripts: Callable[[str], Any], tmp_path: Path) -> None:
    drawing, script = figure_scripts("drawing"), figure_scripts(name)
    (tmp_path / "again").mkdir()
    first = drawing.save(script.draw(), name, tmp_path).read_text(encoding="utf-8")
    assert drawing.save(script.draw(), name, tmp_path / "again").read_text(encoding="utf-8") == first
    committed = (FIGURES / f"{name}.svg").read_text(encoding="utf-8")
    by = f"Matplotlib v{importlib.import_module('matplotlib').__version__},"
    if by in committed:  # another version of Matplotlib draws the same lines with other bytes
        assert committed == first, f"docs/figures/{name}.svg is not what its script draws: run `make docs`"


def test_every_figure_is_shown_by_a_page() -> None:
    shown = {pages.resolve(page, target) for page in PAGES for _, target in pages.images(page)}
    assert {f"docs/figures/{name}.svg" for name in SCRIPTS} <= shown


# ---- the site ------------------------------------------------------------------------------------------------------------
@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """docs/build.py as a module."""
    pytest.importorskip("markdown_it", reason="markdown-it-py is not installed: pip install -e '.[docs]'")
    monkeypatch.syspath_prepend(str(pages.ROOT / "docs"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield importlib.import_module("build")
    for name in ("build", "pages"):
        sys.modules.pop(name, None)


def test_a_page_becomes_html_with_anchors_colours_and_links_into_the_site(build: Any) -> None:
    text = (
        "# The `page`\n\n[up](../README.md#installing) [code](../tinyresnet/backend.py) [out](https://example.org/a.md)\n\n"
        + code("x = 1 < 2")
    )
    html = build.page_as_html(page(text))
    assert '<h1 id="the-page">' in html and "<title>The page</title>" in html
    assert 'href="../README.html#installing"' in html and 'href="../tinyresnet/backend.py.html"' in html
    assert 'href="https://example.org/a.md"' in html
    assert "&lt;" in html and '<span class="n">x</span>' in html


def test_the_site_is_written_whole_and_a_dead_link_in_it_is_found(
    build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "SITE", tmp_path)
    monkeypatch.setattr(build, "ROOT", tmp_path)
    build.write("a.html", '<a href="b.html">b</a> <img src="missing.svg"> <a href="https://example.org">out</a>')
    build.write("b.html", "")
    assert build.dead_links() == ["a.html: missing.svg is not in the site"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[dead](missing.md)", "does not exist"),
        (code("1 / 0"), "ZeroDivisionError"),
        ("", "no Chinese twin"),
        ("剩余", "剩余"),
    ],
)
def test_the_build_names_a_planted_problem(text: str, problem: str, build: Any) -> None:
    assert any(problem in found for found in build.problems_of(build.Page("docs/planted.md", text)))


# ---- planted mistakes ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text",
    [
        code("1 / 0"),
        code("print(2 + 2)  # -> 5"),
        code("print(2 + 2)", "5"),
        code("for i in range(2):\n    print(i)", "0"),
        code("print(1e-3)  # -> 2e-3"),
        code("import warnings\nwarnings.warn('unannounced')"),
        code("x = 1  # warns UserWarning, but does not"),
        code("x = 1") + code("print(y)"),
        code("def f():\n    return 1 +"),
    ],
)
def test_planted_code_that_does_not_do_what_it_says(text: str) -> None:
    assert len(pages.run_snippets(page(text))) == 1


@pytest.mark.parametrize(
    "text",
    [
        code("print(2 + 2)  # -> 4"),
        code("print(1.5e-12, 'took 3.2 ms')", "9.9e-11 took 0.1 ms"),
        code("print('one long line')", "one ... line"),
        code("import warnings\nwarnings.warn('so')  # warns UserWarning"),
        code("x = 2") + code("def f():\n    return x\nprint(f())  # -> 2"),
        "```sh\nnot python\n```\n",
    ],
)
def test_right_code_passes(text: str) -> None:
    assert pages.run_snippets(page(text)) == []


def test_a_problem_names_the_line_of_the_page() -> None:
    assert pages.run_snippets(page("# Title\n\n" + code("x = 1\n1 / 0"))) == [
        "docs/page.md:5: ZeroDivisionError: division by zero"
    ]


def test_a_snippet_leaves_the_back_end_and_the_default_store_as_they_were() -> None:
    before, store = tinyresnet.get_backend(), dict(slim.default_variables())
    other = "numpy" if before != "numpy" else "numba"
    body = f"import tinyresnet\ntinyresnet.set_backend({other!r})\ntinyresnet.slim.default_variables()['x'] = __import__('numpy').ones(1)"
    assert pages.run_snippets(page(code(body))) == []
    assert tinyresnet.get_backend() == before
    assert dict(slim.default_variables()) == store


@pytest.fixture
def small_site(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "other.md").write_text("# The `other` page\n\n## Twice\n\n## Twice\n", encoding="utf-8")
    (tmp_path / "docs" / "picture.svg").write_text("<svg/>", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    "text",
    [
        "[link](missing.md)",
        "[link](../../outside.md)",
        "[link](other.md#no-such-heading)",
        "[link](#no-such-heading)",
        "[link](other.md#twice-2)",
        "![a picture of something](missing.svg)",
        "![](picture.svg)",
        "![picture](picture.svg)",
        "[`code` in it](missing.md)",
    ],
)
def test_planted_dead_links_and_missing_alt_texts(text: str, small_site: Path) -> None:
    assert len(pages.check_links(page(text), small_site)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "[link](other.md), [link](other.md#the-other-page), [link](other.md#twice-1)",
        "# Here\n\n[link](#here), [out](https://example.org/missing)",
        "![a picture of something](picture.svg)",
        "`[no link](missing.md)`\n\n```\n[nor here](missing.md)\n```\n",
    ],
)
def test_right_links_pass(text: str, small_site: Path) -> None:
    assert pages.check_links(page(text), small_site) == []


TWIN = (
    "# Title\n\nSome words that are to be translated.\n\n"
    + code("x = 1  # a comment\nprint(x)  # -> 1")
    + "\n| a | b |\n|---|---|\n| 1 | `x|y` |\n"
)
RIGHT_TWIN = (
    TWIN.replace("# Title", "# 标题")
    .replace("Some words that are to be translated.", "一些字。")
    .replace("a comment", "注释")
)


def test_a_right_twin_passes() -> None:
    assert pages.check_twins(page(TWIN), page(RIGHT_TWIN, "docs/zh/page.md")) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# 标题", "## 标题"),
        ("x = 1", "x = 2"),
        ("# -> 1", "# -> 2"),
        ("| 1 | `x|y` |\n", ""),
        ("| 1 | `x|y` |", "| 1 |"),
        ("一些字。", "一些字。 ![图片说明文字](figure.svg)"),
        ("一些字。", "Some words that are to be translated."),
    ],
)
def test_planted_differences_between_twins(old: str, new: str) -> None:
    assert RIGHT_TWIN.count(old) == 1
    assert len(pages.check_twins(page(TWIN), page(RIGHT_TWIN.replace(old, new), "docs/zh/page.md"))) == 1


@pytest.mark.parametrize("word", ["剩余", "快捷键", "全球平均汇集"])
def test_planted_machine_translations(word: str) -> None:
    assert len(pages.check_words(page(f"这里有{word}。"))) == 1


def test_planted_change_of_quoted_code(tmp_path: Path) -> None:
    (tmp_path / "tinyresnet").mkdir()
    (tmp_path / "tinyresnet" / "a.py").write_text("def f(x):\n    return x + 1\n", encoding="utf-8")
    assert pages.check_quotes(page("```py\ndef f(x):\n  return x + 1\n```\n"), tmp_path) == []
    assert len(pages.check_quotes(page("```py\ndef f(x):\n  return x + 2\n```\n"), tmp_path)) == 1


TABLE = "### `f`, `g`\n\n| argument | default | here |\n|---|---|---|\n| `a` | | the same |\n| `b` | `1` | the same |\n"


@pytest.mark.parametrize(
    "wanted",
    [{"f": {"a": "", "b": "1", "c": "2"}}, {"f": {"a": "", "b": "2"}}, {"g": {"a": "None"}}, {"h": {"a": ""}}],
)
def test_planted_holes_in_the_table_of_arguments(wanted: dict[str, dict[str, str]]) -> None:
    assert pages.check_arguments(page(TABLE), {"f": {"a": "", "b": "1"}, "g": {"b": "1"}}) == []
    assert len(pages.check_arguments(page(TABLE), wanted)) == 1


def test_planted_hole_in_the_source_notes() -> None:
    text = BY_PATH["docs/resnet_v2.md"].text.replace("| `depth_bottleneck` |", "| |")
    assert missing_arguments(section_of(page(text), "bottleneck"), resnet_v2.bottleneck) == ["depth_bottleneck"]
    assert section_of(page(text), "no_such_function") == ""
