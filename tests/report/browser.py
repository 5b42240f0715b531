"""Headless Chromium, driven over its DevTools protocol through two pipes: no driver program, no websocket, no package.

Messages are JSON, each ended by a zero byte (chromium --remote-debugging-pipe reads descriptor 3 and writes descriptor 4).
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SECONDS = 60.0  # the longest that one command may take: then it hangs
FLAGS = (
    "--headless", "--remote-debugging-pipe", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run",
    "--lang=en-US", "--disable-background-networking", "--disable-component-update", "--disable-extensions", "--disable-sync",
    "--mute-audio",
)  # fmt: skip


def chromium() -> str | None:
    """The program's path, or None."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


class Browser:
    """`with Browser(profile) as browser: page = browser.open(url)`. profile: an empty folder."""

    def __init__(self, profile: Path) -> None:
        program = chromium()
        assert program is not None
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium's sandbox refuses to run as root
        command = [program, *FLAGS, *sandbox, f"--user-data-dir={profile}", "about:blank"]
        try:
            self._process = subprocess.Popen(
                ["bash", "-c", f'exec "$@" 3<&{to_browser} 4>&{from_browser}', "bash", *command],
                pass_fds=(to_browser, from_browser),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        finally:
            os.close(to_browser)
            os.close(from_browser)
        self._rest, self._count = b"", 0
        self._messages: deque[bytes] = deque()
        self.events: list[dict[str, Any]] = []
        self._targets: list[str] = []

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.call("Browser.close")
        except (OSError, EOFError):
            pass  # it is gone already
        finally:
            os.close(self._write)
            os.close(self._read)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    # ---- messages ----------------------------------------------------------------------------------------------------
    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Sends a command and returns its result; events that come meanwhile are kept. Raises RuntimeError if it was refused."""
        self._count += 1
        message = {
            "id": self._count,
            "method": method,
            "params": parameters,
            **({"sessionId": session} if session else {}),
        }
        self._send(json.dumps(message).encode() + b"\0")
        give_up = time.monotonic() + SECONDS
        while True:
            answer = self._next(give_up)
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def wait_for(self, method: str, session: str, since: int) -> None:
        """Reads on until this event of this session has come, among `events` from number `since` on."""
        give_up, seen = time.monotonic() + SECONDS, since
        while True:
            for event in self.events[seen:]:
                if event["method"] == method and event.get("sessionId") == session:
                    return
            seen = len(self.events)
            self.events.append(self._next(give_up))

    def _send(self, message: bytes) -> None:
        while message:
            message = message[os.write(self._write, message) :]

    def _next(self, give_up: float) -> dict[str, Any]:
        while not self._messages:
            if not select.select([self._read], [], [], max(0, give_up - time.monotonic()))[0]:
                raise TimeoutError(f"Chromium has not answered within {SECONDS:.0f} s")
            more = os.read(self._read, 1 << 20)
            if not more:
                raise EOFError("Chromium has ended")
            *whole, self._rest = (self._rest + more).split(b"\0")
            self._messages.extend(whole)
        message: dict[str, Any] = json.loads(self._messages.popleft())
        return message

    # ---- pages -------------------------------------------------------------------------------------------------------
    def open(self, url: str, *, width: int = 1200, height: int = 900) -> Page:
        """A page in a tab of its own, loaded, in a window of this many pixels."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable", session)
        # Not "mobile": such a window grows with its contents, and nothing would ever be too wide for it.
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", session, **metrics)
        self._targets.append(target)
        page = Page(self, session)
        page.go(url)
        return page

    def close_pages(self) -> None:
        """Closes every page and forgets its events."""
        while self._targets:
            self.call("Target.closeTarget", targetId=self._targets.pop())
        self.events.clear()


class Page:
    """A loaded page."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session

    def _happened(self, method: str) -> list[dict[str, Any]]:
        own = (event for event in self._browser.events if event.get("sessionId") == self._session)
        return [event["params"] for event in own if event.get("method") == method]

    def go(self, url: str) -> None:
        """Loads it and waits until everything on it has come, or has failed to."""
        before = len(self._browser.events)
        self._browser.call("Page.navigate", self._session, url=url)
        self._browser.wait_for("Page.loadEventFired", self._session, before)

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression, or of the promise that it is. Raises RuntimeError if it throws."""
        answer = self._browser.call(
            "Runtime.evaluate", self._session, expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def until(self, condition: str) -> None:
        """Waits until a JavaScript expression is true; TimeoutError if it does not become so."""
        look = f"() => ({condition}) ? done() : setTimeout(look, 5)"
        self.evaluate(f"new Promise(done => {{ const look = {look}; look(); }})")

    def press(self, key: str) -> None:
        """A key, "Tab" or "Enter", as from a keyboard."""
        code = {"Tab": 9, "Enter": 13}[key]
        typed = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            event = {
                "type": kind,
                "key": key,
                "code": key,
                "windowsVirtualKeyCode": code,
                **(typed if kind == "keyDown" else {}),
            }
            self._browser.call("Input.dispatchKeyEvent", self._session, **event)

    @property
    def requests(self) -> list[str]:
        """The addresses of everything that it asked for."""
        return [event["request"]["url"] for event in self._happened("Network.requestWillBeSent")]

    @property
    def complaints(self) -> list[str]:
        """What stands in the console as an error or a warning, and exceptions that nobody caught."""
        said = [
            event
            for event in self._happened("Runtime.consoleAPICalled")
            if event["type"] in ("error", "warning", "assert")
        ]
        logged = [event["entry"] for event in self._happened("Log.entryAdded")]
        return [
            *(str(event["args"]) for event in said),
            *(f"{entry['text']} {entry.get('url', '')}" for entry in logged if entry["level"] in ("error", "warning")),
            *(str(event["exceptionDetails"]) for event in self._happened("Runtime.exceptionThrown")),
        ]
