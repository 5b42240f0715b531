"""What a command says when a package of an extra is not installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tinyresnet.extras import MissingExtra, require


def test_what_is_installed_is_imported() -> None:
    assert require("xml.dom", "train") is sys.modules["xml.dom"]


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("tqdm", "tqdm"),
        ("matplotlib.figure", "matplotlib"),
        ("PIL.Image", "pillow"),
        ("no_such_module", "no_such_module"),
    ],
)
def test_what_is_missing_is_named_with_its_extra(module: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == module.partition(".")[0]]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module.partition(".")[0], None)
    with pytest.raises(MissingExtra) as caught:
        require(module, "train")
    assert str(caught.value) == f'this needs {package}, which is not installed: pip install "tinyresnet[train]"'
    assert (caught.value.extra, caught.value.package) == ("train", package)
    assert isinstance(caught.value, ImportError)


def test_a_broken_package_raises_its_own_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """pip install would not mend it, so nobody must be told to."""
    (tmp_path / "half_installed_package.py").write_text("import a_module_that_is_nowhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_nowhere") as caught:
        require("half_installed_package", "train")
    assert not isinstance(caught.value, MissingExtra)
