"""Memory for the results of ops: what one array gives back, the next one gets.

A feature map has megabytes. The system hands out such memory in pages that it first fills with zeros, and takes them away again when
the map is dropped: in the inference of a ResNet that is a tenth of the time. So memory is kept here, in blocks that came from the
system, each a row of pieces in order of their addresses. A request takes the smallest free piece that is large enough and cuts off
what it does not need; a piece that comes back is joined with free neighbours (Knuth, The Art of Computer Programming 1, section 2.5).

Only what is larger than `SMALLEST` comes from here. If no piece is large enough, blocks that are free as a whole go back to the system
first: so a program that turns to other sizes does not hold the memory of both.
"""

from __future__ import annotations

import math
import os
import sys
import threading
from collections import deque
from typing import Any

import numpy as np

from .plan import address

SMALLEST = 1 << 18  # bytes; below, the system's own allocator keeps memory as well, and is quicker
LINE = 64  # bytes of a cache line: every piece begins on one


class Piece:
    """Bytes [start, start + size) of a block, and its neighbours there."""

    __slots__ = ("after", "before", "block", "size", "start")

    def __init__(self, block: Any, start: int, size: int, before: Piece | None = None) -> None:
        self.block, self.start, self.size = block, start, size  # block: the array whose memory this is
        self.before: Piece | None = before
        self.after: Piece | None = before.after if before else None
        for piece, neighbour in ((self.before, "after"), (self.after, "before")):
            if piece is not None:
                setattr(piece, neighbour, self)

    def is_whole(self) -> bool:
        """Whether nothing else is in the block."""
        return self.before is None and self.after is None


class Lease:
    """What an array says whose memory it has (its `base`): it lives as long as the array and all its views. Then the piece is returned."""

    def __init__(self, piece: Piece, shape: tuple[int, ...], dtype: Any, returned: deque[Piece]) -> None:
        self.__array_interface__ = dict(shape=shape, typestr=dtype.str, data=(piece.start, False), version=3)
        self._piece, self._returned = piece, returned

    def __del__(self) -> None:
        # The interpreter may come here at any time, even while this thread holds the lock below: append takes none.
        self._returned.append(self._piece)


class Memory:
    """Blocks from the system, and which of their pieces are free. Any number of threads may ask."""

    def __init__(self, smallest: int = SMALLEST) -> None:
        self._smallest = smallest
        self._free: set[Piece] = set()
        self._returned: deque[Piece] = deque()  # given back, but not yet joined with its neighbours
        self.forget_lock()

    def forget_lock(self) -> None:
        """In a child made by fork the lock may be held, by a thread that is not there."""
        self._lock = threading.Lock()

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """As np.empty."""
        size = math.prod(shape) * dtype.itemsize
        if size < self._smallest:
            return np.empty(shape, dtype)
        with self._lock:
            piece = self._take(-(-size // LINE) * LINE)
        return np.asarray(Lease(piece, shape, dtype, self._returned))

    def give_back(self) -> None:
        """Blocks that no array has a piece of go back to the system."""
        with self._lock:
            self._join_returned()
            self._drop_whole_blocks()

    def _take(self, size: int) -> Piece:
        self._join_returned()
        fitting = [piece for piece in self._free if piece.size >= size]
        if not fitting:
            self._drop_whole_blocks()
            return _new_block(size)
        piece = min(fitting, key=lambda piece: (piece.size, piece.start))
        self._free.remove(piece)
        rest = piece.size - size
        if rest >= max(self._smallest, LINE):
            piece.size = size
            self._free.add(Piece(piece.block, piece.start + size, rest, before=piece))
        return piece

    def _join_returned(self) -> None:
        while self._returned:
            piece = self._returned.popleft()
            if piece.after in self._free:
                self._swallow(piece, piece.after)
            if piece.before in self._free:
                self._swallow(piece.before, piece)
            else:
                self._free.add(piece)

    def _swallow(self, piece: Any, after: Any) -> None:
        """Two neighbours become one."""
        self._free.discard(after)
        piece.size, piece.after = piece.size + after.size, after.after
        if after.after is not None:
            after.after.before = piece

    def _drop_whole_blocks(self) -> None:
        self._free = {piece for piece in self._free if not piece.is_whole()}


def _new_block(size: int) -> Piece:
    block = np.empty(size + LINE, np.uint8)
    start = address(block)
    return Piece(block, start + -start % LINE, size)


MEMORY = Memory()
if sys.platform != "win32":
    os.register_at_fork(after_in_child=MEMORY.forget_lock)
