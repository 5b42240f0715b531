"""Steps that are written once, and run with other arrays at each call.

To write a plan takes Python longer than many a kernel takes to run. But the plans of two calls of an op differ in addresses only, if sizes,
type and number of threads are the same. So an op's plan is written once for each of these, with operands in the place of arrays, and
kept; a call copies its Steps, a few hundred bytes, and fills in where its arrays are. A template is never changed once it is closed, and
keeps no array of a caller: any number of threads may run it at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from . import threads
from .plan import PLACE_OF, Plan, address, workspace
from .steps import FIELDS

ROOMS = -1  # as the number of an operand: the thread's workspace, which comes after all arrays


@dataclass(frozen=True, slots=True)
class Operand:
    """The address of array number `number` of a call, and `offset` bytes further: a field of a Step that is filled in later."""

    number: int
    offset: int = 0

    def __add__(self, offset: int) -> Operand:
        return Operand(self.number, self.offset + offset)


class Template(Plan):
    """A plan whose fields may be operands. Written as a plan is, then closed, then run any number of times."""

    def room(self, count: int, size: int | None = None) -> Operand:
        """As of a plan, but `count` elements (of `size` bytes, if they are others) of whichever thread runs the template."""
        start = self._used
        self._used += -(-count * (size or self.dtype.itemsize) // 64) * 64
        return Operand(ROOMS, start)

    def close(self) -> Template:
        """Nothing more is added. Compiles the kernels that it has not met yet."""
        found = [
            (i * len(FIELDS) + PLACE_OF[name], value.number, value.offset)
            for i, (_, fields) in enumerate(self._steps)
            for name, value in fields.items()
            if isinstance(value, Operand)
        ]
        for _, fields in self._steps:
            fields.update({name: 0 for name, value in fields.items() if isinstance(value, Operand)})
        self._written = self.steps().view(np.int64).reshape(-1, len(FIELDS))
        self._where, self._which, self._offsets = np.array(found, np.int64).reshape(-1, 3).T.copy()
        return self

    def run(self, *arrays: Any) -> None:
        """Runs it once, with these arrays as operands 0, 1, ...; they must be as `arrays.dense` gives them."""
        places = [address(array) for array in arrays]
        places.append(workspace(self._used))
        steps = self._written.copy()
        steps.put(self._where, np.array(places, np.int64)[self._which] + self._offsets)
        threads.pool().run(steps, self.scratch)
