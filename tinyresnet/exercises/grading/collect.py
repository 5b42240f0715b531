"""Whose work is where: a folder, a file or a zip for each student, copied with care to where it is looked at.

What is copied: plain files, not too many and not too large. Not: links, hidden files, environments, and what a zip has under a path
that leads out of it.
"""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from ..catalogue import NAMES
from ..language import Text

MOST_FILES, MOST_BYTES, MOST_OF_ONE = 2000, 64 << 20, 16 << 20
MOST_DEPTH, MOST_OF_A_ZIP = 12, 32 << 20
LEFT_OUT = {"__pycache__", "__MACOSX", "node_modules", "site-packages", "venv", "env"}


def students_in(folder: Path) -> dict[str, Path]:
    """Name -> folder, file or zip of a student. Raises ValueError where there are none, OSError."""
    if not folder.is_dir():
        raise NotADirectoryError(
            f"FOLDER must be a folder with a folder, a file or a zip for each student, not {folder}"
        )
    entries = sorted(folder.iterdir(), key=lambda path: path.name.casefold())
    found = [path for path in entries if _is_submission(path)]
    loose = [path.name for path in found if path.is_file() and path.stem in NAMES]
    if loose:
        raise ValueError(
            f"{folder} holds {loose[0]} itself; give the folder above it, which has a folder for each student"
        )
    if not found:
        raise ValueError(f"{folder} has no folder, .py, .ipynb or .zip in it: a student's work would be one of these")
    stems = [path.stem for path in found]
    return {path.stem if path.is_file() and stems.count(path.stem) == 1 else path.name: path for path in found}


def _is_submission(path: Path) -> bool:
    if path.name.startswith(".") or path.name in LEFT_OUT or path.is_symlink():
        return False
    return path.is_dir() or (path.is_file() and path.suffix.lower() in (".py", ".ipynb", ".zip"))


class Stage:
    """The folder that one student's work is copied into, and how much may still come."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.files, self.bytes = folder, MOST_FILES, MOST_BYTES
        self.left_out: list[Text] = []
        folder.mkdir(parents=True)

    def put(self, name: str, file: IO[bytes]) -> None:
        """A file of the submission; what is too much is left out, and said."""
        target = self.folder.joinpath(*PurePosixPath(name).parts)
        room = min(self.bytes, MOST_OF_ONE)
        if self.files < 1 or room < 1:
            self._leave(name, Text("there is too much already", "内容过多"))
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "xb") as out:
            left = room
            while left >= 0 and (part := file.read(min(1 << 16, left + 1))):
                left -= len(part)
                out.write(part)
        if left < 0:
            target.unlink()
            self.bytes -= room
            self._leave(name, Text("too large", "过大"))
        else:
            self.bytes, self.files = self.bytes - (room - left), self.files - 1

    def _leave(self, name: str, why: Text) -> None:
        if len(self.left_out) < 5:
            self.left_out.append(Text(f"{name} was left out: {why.en}", f"略去 {name}：{why.zh}"))

    # ---- where it comes from -----------------------------------------------------------------------------------------------
    def take(self, path: Path) -> None:
        """A student's folder, file or zip."""
        if path.is_dir():
            for file in _files_below(path, path, self._leave):
                self._take_file(file, file.relative_to(path).as_posix())
        else:
            self._take_file(path, path.name)

    def _take_file(self, path: Path, name: str) -> None:
        try:
            with _opened(path) as file:
                if path.suffix.lower() != ".zip":
                    self.put(name, file)
                elif os.fstat(file.fileno()).st_size > MOST_OF_A_ZIP:
                    self._leave(name, Text("too large", "过大"))
                else:
                    parent = PurePosixPath(name).parent
                    self._unpack(file, name, parent)
        except (OSError, ValueError) as error:
            self._leave(name, Text(f"it cannot be read ({error})", f"无法读取（{error}）"))

    def _unpack(self, file: IO[bytes], name: str, into: PurePosixPath) -> None:
        try:
            with zipfile.ZipFile(file) as packed:
                for info in packed.infolist()[: 10 * MOST_FILES]:
                    if not info.is_dir():
                        self._unpack_one(packed, info, into)
        except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError) as error:
            self._leave(name, Text(f"it is no zip that can be read ({error})", f"不是可读取的 zip（{error}）"))

    def _unpack_one(self, packed: zipfile.ZipFile, info: zipfile.ZipInfo, into: PurePosixPath) -> None:
        parts = info.filename.replace("\\", "/").split("/")
        if info.filename.startswith(("/", "\\")) or ".." in parts or any(":" in part for part in parts):
            self._leave(info.filename, Text("its path leads out of the zip", "路径指向 zip 之外"))
            return
        parts = [part for part in parts if part not in ("", ".")]
        if not parts or len(parts) > MOST_DEPTH or any(_is_left_out(part) for part in parts):
            return
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG) or info.flag_bits & 1:
            self._leave(info.filename, Text("it is a link, or encrypted", "是链接或已加密"))
            return
        try:
            with packed.open(info) as file:
                self.put("/".join([*into.parts, *parts]), file)
        except Exception as error:  # OSError, BadZipFile, zlib.error and what else a damaged stream raises
            self._leave(info.filename, Text(f"it cannot be unpacked ({error})", f"无法解压（{error}）"))


def _is_left_out(name: str) -> bool:
    return name.startswith(".") or name in LEFT_OUT or len(os.fsencode(name)) > 200


def _files_below(folder: Path, top: Path, leave: Callable[[str, Text], None]) -> Iterator[Path]:
    """Plain files, in order, not through links."""
    if len(folder.relative_to(top).parts) > MOST_DEPTH:
        return
    with os.scandir(folder) as entries:
        every = sorted(entries, key=lambda entry: entry.name)
    for entry in every:
        if _is_left_out(entry.name):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _files_below(Path(entry.path), top, leave)
        elif entry.is_file(follow_symlinks=False):
            yield Path(entry.path)
        else:
            leave(entry.name, Text("it is a link, or no plain file", "是链接或不是普通文件"))


def _opened(path: Path) -> IO[bytes]:
    """A plain file. Raises OSError for a link, ValueError for a pipe or a device; waits for none."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = os.fdopen(os.open(path, flags), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ValueError("it is no plain file")
    return file
