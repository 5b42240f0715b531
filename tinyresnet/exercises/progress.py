"""What a learner has done, as a plain JSON file in the folder the work is in. No account, no server.

    {"relu_backward": {"passed": true, "tries": 3, "mistakes": {"mask_from_dy": 1}}}

TINYRESNET_PROGRESS names another file; empty, nothing is kept.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

FILE = "tinyresnet-progress.json"
_writing = threading.Lock()


def progress_file() -> Path | None:
    """Where progress is kept; None if it is not."""
    name = os.environ.get("TINYRESNET_PROGRESS", FILE)
    return Path(name) if name else None


def read_progress(path: Path | None = None) -> dict[str, Any]:
    """name -> {"passed", "tries", "mistakes"}; empty if there is no file. Raises ValueError for a file that is something else."""
    path = progress_file() if path is None else path
    if path is None or not path.exists():
        return {}
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(
            f"{path} is not the JSON that progress is kept in ({error}); move it away to begin anew"
        ) from error
    if not isinstance(read, dict) or not all(_is_entry(entry) for entry in read.values()):
        raise ValueError(f"{path} is JSON, but not a progress file; move it away to begin anew")
    return read


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("passed"), bool)
        and isinstance(entry.get("tries"), int)
        and isinstance(entry.get("mistakes"), dict)
    )


def record(name: str, passed: bool, diagnosis: list[str]) -> None:
    """Adds one try. Raises OSError if it cannot be written and ValueError if the file there is something else, which it leaves alone."""
    path = progress_file()
    if path is None:
        return
    with _writing:  # of this process; two processes at once may lose a try, but never the file
        _add(path, name, passed, diagnosis)


def _add(path: Path, name: str, passed: bool, diagnosis: list[str]) -> None:
    progress = read_progress(path)
    entry = progress.setdefault(name, {"passed": False, "tries": 0, "mistakes": {}})
    entry["tries"] += 1
    entry["passed"] = entry["passed"] or passed
    for mistake in diagnosis:
        entry["mistakes"][mistake] = entry["mistakes"].get(mistake, 0) + 1
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        beside.write_text(json.dumps(progress, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
