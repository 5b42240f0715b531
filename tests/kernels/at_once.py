"""Python threads that begin together."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

AT_ONCE = 8


def at_once(work: Callable[[int], Any], count: int = AT_ONCE) -> list[Any]:
    """What `work(i)` gives on `count` threads that start together. A thread that hangs fails the test, and does not hold it up."""
    barrier, found = threading.Barrier(count), dict[int, Any]()

    def body(i: int) -> None:
        barrier.wait(60)
        found[i] = work(i)

    threads = [threading.Thread(target=body, args=(i,), daemon=True) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    assert len(found) == count, "a thread failed"
    return [found[i] for i in range(count)]
