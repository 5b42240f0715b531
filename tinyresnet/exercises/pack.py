"""A zip for a class: the stubs, the notebooks, a page to begin with, an empty progress file. No answers are in it.

The notebooks are not part of the installed package: they are packed where they are, in a checkout, and left out elsewhere.
"""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
from pathlib import Path

from .catalogue import NAMES, load
from .language import Text
from .progress import FILE
from .start import starting_file

ROOT = Path(__file__).resolve().parents[2]
TIME = (1980, 1, 1, 0, 0, 0)  # of every file in it, so that the same contents are the same bytes
LANGUAGES = ("en", "zh", "both")

README = Text(
    en="""\
# Exercises: a ResNet by hand

You need Python 3.11 or newer and tinyresnet; whoever gave you this says how to install it.

- `exercises/` has a file for each exercise: the task, and a function for you to write in the place of `raise NotImplementedError`.
- `tinyresnet exercise list` shows them in their order, with the notebook that explains each and the minutes it takes.
- `tinyresnet exercise check exercises/relu_backward.py` says whether yours is right, and if not, what you did. `--hints 2` and
  `--hints 3` say more. Ask for one at a time.
- `notebooks/` explains everything, with pictures, if it is here: `jupyter lab notebooks`. The same exercises stand at the end of each.
- What you have done is kept in `tinyresnet-progress.json`, in the folder in which you work. Nothing is sent anywhere.
- 中文: set the environment variable `TINYRESNET_LANG` to `zh`.

Hand in the folder `exercises/`, or the notebooks that you wrote in.
""",
    zh="""\
# 练习：亲手写出 ResNet

需要 Python 3.11 或更新的版本，以及 tinyresnet；安装方法请问发给你这份材料的人。

- `exercises/` 中每个练习一个文件：题目，以及一个要你编写的函数，写在 `raise NotImplementedError` 的位置。
- `tinyresnet exercise list` 按顺序列出练习，以及讲解它的笔记本和所需的分钟数。
- `tinyresnet exercise check exercises/relu_backward.py` 告诉你写得对不对；不对的话，告诉你做错了什么。`--hints 2` 和 `--hints 3`
  给出更多提示，请一次只要一条。
- `notebooks/`（如果有）图文并茂地讲解一切：`jupyter lab notebooks`。每本末尾都有同样的练习。
- 做过的练习记在你工作的文件夹里的 `tinyresnet-progress.json` 中，不会发送到任何地方。
- 语言：把环境变量 `TINYRESNET_LANG` 设为 `zh` 或 `en`。

提交 `exercises/` 文件夹，或你写过的笔记本。
""",
)


def notebooks_folder() -> Path | None:
    """notebooks/ of the checkout that this package runs from; None if it is installed."""
    folder = ROOT / "notebooks"
    return folder if (ROOT / "setup.py").is_file() and folder.is_dir() else None


def contents(speaking: str) -> dict[str, bytes]:
    """Path in the zip -> bytes. speaking: "en", "zh" or "both". Raises ValueError."""
    if speaking not in LANGUAGES:
        raise ValueError(f'the language of a pack must be "en", "zh" or "both", not {speaking!r}')
    spoken = ("en", "zh") if speaking == "both" else (speaking,)
    files = {FILE: b"{}\n"}
    for one in spoken:
        second = len(spoken) > 1 and one == "zh"
        files["README.zh-CN.md" if second else "README.md"] = (README.zh if one == "zh" else README.en).encode()
        for name in NAMES:
            path = f"exercises/zh/{name}.py" if second else f"exercises/{name}.py"
            files[path] = starting_file(load(name), one).encode()
    return files | _notebooks(spoken)


def _notebooks(spoken: tuple[str, ...]) -> dict[str, bytes]:
    folder = notebooks_folder()
    if folder is None:
        return {}
    places = [folder] * ("en" in spoken) + [folder / "zh"] * ("zh" in spoken)
    found = [path for place in places for path in place.glob("[0-9][0-9]_*") if path.suffix in (".py", ".ipynb")]
    return {f"notebooks/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in found}


def as_zip(files: dict[str, bytes]) -> bytes:
    """The same bytes for the same files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for path in sorted(files):
            info = zipfile.ZipInfo(path, TIME)
            info.external_attr, info.create_system = 0o644 << 16, 3
            info.compress_type = zipfile.ZIP_STORED  # another zlib would pack the same text into other bytes
            packed.writestr(info, files[path])
    return out.getvalue()


def pack(path: str | Path, speaking: str) -> dict[str, bytes]:
    """Writes the zip, whole or not at all, and returns what is in it. Raises FileExistsError, OSError, ValueError."""
    path = Path(path)
    if os.path.lexists(path):
        raise FileExistsError(f"{path} is there already; give another name by --out")
    files = contents(speaking)
    handle, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(as_zip(files))
        os.chmod(part, 0o644)
        _place(part, path)
    except FileExistsError as error:
        raise FileExistsError(f"{path} is there already; give another name by --out") from error
    finally:
        Path(part).unlink(missing_ok=True)
    return files


def _place(part: str, path: Path) -> None:
    """Gives the whole file its name. Raises FileExistsError if somebody has taken it meanwhile."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        os.rename(part, path)
