"""A case whose sides are timed against each other: compared first, then timed, then made a table's rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .compare import Comparison, Finding, Outputs, check_same
from .options import Options
from .results import OURS, CaseResult, Row
from .rounds import Side, alternate


class Offer(NamedTuple):
    """The sides that can run here, and why the others cannot."""

    sides: list[Side]
    left_out: dict[str, str]


class Timed(NamedTuple):
    """What is measured, and by whom."""

    name: str
    about: str
    unit: str  # "ms/image"
    items: int  # images a call
    flops: float | None  # of a call, by direct convolution
    inputs: Callable[[np.random.Generator], Any]
    offer: Callable[[Options], Offer]
    reference: Callable[[], Side]  # what the outputs are compared with where there is one side only
    compare: Comparison

    def measure(self, options: Options) -> CaseResult:
        """Raises WrongResult before anything is timed."""
        sides, left_out = self.offer(options)
        if not sides:
            return CaseResult(self.name, self.about, self.unit, (), left_out)
        differences = self._compared(sides)
        times = alternate(sides, self.inputs, options)
        rows = tuple(self._row(side, times[side.name], options.peak) for side in sides)
        return CaseResult(self.name, self.about, self.unit, rows, left_out, differences)

    def _compared(self, sides: Sequence[Side]) -> dict[str, Finding]:
        """Ours with each of the others; without ours the first with the others. One alone is compared with the plain functions."""
        first = next((side for side in sides if side.counts_as == OURS), sides[0])
        others = [side for side in sides if side is not first] or [self.reference()]
        fresh = self.inputs(np.random.default_rng(0))
        found = _outputs(first, fresh)
        return {
            side.name: check_same(self.name, first.name, found, side.name, _outputs(side, fresh), self.compare)
            for side in others
        }

    def _row(self, side: Side, seconds: Sequence[float], peak: float | None) -> Row:
        samples = tuple(1e3 * each / self.items for each in seconds)
        row = Row(side.name, samples, side.counts_as)
        if self.flops is None:
            return row
        gflops = self.flops / self.items / row.median / 1e6  # the median is in ms
        return Row(side.name, samples, side.counts_as, gflops, None if peak is None else gflops / peak)


def _outputs(side: Side, fresh: Any) -> Outputs:
    return side.outputs(side.run(side.prepare(fresh)))
