"""JupyterLab on loopback, for one test: a folder of its own for everything it writes, and it ends with the test."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import TracebackType

ADDRESS = re.compile(r"(http://127\.0\.0\.1:\d+/)lab")


class Lab:
    """`with Lab(folder, home) as lab: browser.open(lab.url("notebook.ipynb"))`. folder: what it shows; home: an empty one."""

    def __init__(self, folder: Path, home: Path, language: str = "en") -> None:
        places = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "MPLCONFIGDIR")
        environment = {
            **os.environ,
            **{name: str(home / name.lower()) for name in places},
            "JUPYTER_PATH": str(Path(sys.prefix) / "share" / "jupyter"),  # the kernel of this environment
            "JUPYTER_PLATFORM_DIRS": "1",
            "TINYRESNET_LANG": language,
        }
        command = [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--expose-app-in-browser", "--allow-root",
            "--ServerApp.ip=127.0.0.1", "--ServerApp.port=0", "--IdentityProvider.token=", "--ServerApp.password=",
            f"--ServerApp.root_dir={folder}", f"--LabApp.workspaces_dir={home / 'workspaces'}",
            f"--LabApp.user_settings_dir={home / 'settings'}", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            "--LabApp.news_url=None",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._process.stdout is not None
        said = []
        for line in self._process.stdout:  # ends when the server does
            said.append(line)
            if found := ADDRESS.search(line):
                self._address = found[1]
                return
        raise RuntimeError("JupyterLab has ended:\n" + "".join(said))

    def url(self, notebook: str) -> str:
        """The page that shows this notebook."""
        return f"{self._address}lab/tree/{notebook}?reset"

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
