"""A file that is there whole or not at all."""

from __future__ import annotations

import errno
import itertools
import os
import re
from contextlib import suppress
from pathlib import Path

CANNOT_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}  # a file system that knows no fsync says so
_attempts = itertools.count()
_being_written: set[str] = set()  # temporary files of this process, whichever thread writes them


def write_atomically(path: str | Path, data: bytes) -> None:
    """Writes `data` to a temporary file beside `path`, has it on the disk, and renames it: readers see the old file or the new one.

    If it fails on the way (a full disk, Ctrl-C), the temporary file is removed and the old file stays. What killed processes left of
    their attempts is removed first: a disk that is full of it recovers. Threads and processes of one machine may write to one path at
    a time; the last to rename wins. Raises OSError; if the disk fails at the very end, when the new file is there already.
    """
    path = Path(os.path.realpath(path))  # a link stays a link: what it leads to is replaced
    _remove_leftovers(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{next(_attempts)}.tmp")
    try:
        _being_written.add(temporary.name)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            _sync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is not None:  # the caller knows nothing of temporary files
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        _being_written.discard(temporary.name)
    _sync_folder(path.parent)


def _sync(descriptor: int) -> None:
    """On the disk, where the file system has such a call; without it, a power cut soon after may undo the writing. Raises OSError."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in CANNOT_SYNC:
            raise


def _sync_folder(folder: Path) -> None:
    """The renaming itself, too, is on the disk only once the folder is. Windows has no such call and needs none."""
    if os.name != "posix":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # one may write in it, but not list it
        return
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)


def _remove_leftovers(path: Path) -> None:
    """Of attempts at this very path. One that cannot be removed is in nobody's way."""
    pattern = re.compile(re.escape(f".{path.name}.") + r"(\d{1,9})-\d+\.tmp")
    with suppress(OSError):
        for other in path.parent.iterdir():
            found = pattern.fullmatch(other.name)
            if found and not _is_in_use(other.name, int(found.group(1))):
                other.unlink(missing_ok=True)


def _is_in_use(temporary: str, process: int) -> bool:
    """Whether the process that the name tells of is there. One with our own number may be an earlier one, as in a container."""
    if process == os.getpid():
        return temporary in _being_written
    if os.name != "posix":
        return False  # there is no harmless way to ask; Windows itself refuses to remove a file that somebody has open
    try:
        os.kill(process, 0)  # signal 0 only asks
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it is there, and somebody else's
    return True
