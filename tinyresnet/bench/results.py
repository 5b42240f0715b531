"""What was measured: numbers of each side, and ours over theirs."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .compare import Finding

OURS = "tinyresnet"


@dataclass(frozen=True)
class Row:
    """One side's numbers in one case."""

    side: str
    samples: tuple[float, ...]  # in the unit of the case; one a round
    counts_as: str  # OURS, or the peer: of the rows that count as the same, the smallest counts. "tinyresnet, ..." counts for nobody
    gflops: float | None = None  # 10^9 operations of a direct convolution in a second
    share: float | None = None  # gflops over the GEMM peak of the same run

    @property
    def median(self) -> float:
        """Of the samples."""
        return statistics.median(self.samples)

    def quartiles(self) -> tuple[float, float]:
        """What half of the samples lie between."""
        if len(self.samples) < 2:
            return self.samples[0], self.samples[0]
        first, _, third = statistics.quantiles(self.samples, n=4, method="inclusive")
        return first, third


class Ratio(NamedTuple):
    """Ours over theirs."""

    value: float  # the median of the rounds' ratios; of the medians where the numbers are not of common rounds
    low: float  # half of the rounds' ratios lie between low and high
    high: float

    @classmethod
    def of(cls, mine: Row, other: Row) -> Ratio:
        """mine, other: rows of one case."""
        if len(mine.samples) != len(other.samples):
            value = mine.median / other.median
            return cls(value, value, value)
        each = Row(mine.side, tuple(a / b for a, b in zip(mine.samples, other.samples, strict=True)), mine.counts_as)
        return cls(each.median, *each.quartiles())


@dataclass(frozen=True)
class CaseResult:
    """One case; smaller is better, but for a unit that says GFLOP/s."""

    name: str
    about: str
    unit: str
    rows: tuple[Row, ...]
    left_out: dict[str, str] = field(default_factory=dict)  # side -> why
    compared: dict[str, Finding] = field(default_factory=dict)  # side -> the output in which ours and its differ most
    notes: tuple[str, ...] = ()

    def ratios(self) -> dict[str, Ratio]:
        """Ours over each peer's row of the smallest median; empty where there is nothing to divide."""
        ours = [row for row in self.rows if row.counts_as == OURS]
        if not ours or "GFLOP" in self.unit:
            return {}
        mine = min(ours, key=lambda row: row.median)
        best: dict[str, Row] = {}
        for row in self.rows:
            peer = row.counts_as
            if not peer.startswith(OURS) and row.median > 0 and (peer not in best or row.median < best[peer].median):
                best[peer] = row
        return {peer: Ratio.of(mine, row) for peer, row in best.items()}

    def as_json(self) -> dict[str, Any]:
        """For a file; every sample is in it."""
        return {
            "case": self.name,
            "about": self.about,
            "unit": self.unit,
            "sides": [_row_as_json(row) for row in self.rows],
            "ratios": {peer: ratio._asdict() for peer, ratio in self.ratios().items()},
            "left_out": self.left_out,
            "compared": {side: finding._asdict() for side, finding in self.compared.items()},
            "notes": list(self.notes),
        }


def _row_as_json(row: Row) -> dict[str, Any]:
    first, third = row.quartiles()
    return {
        "side": row.side,
        "counts_as": row.counts_as,
        "median": row.median,
        "quartiles": [first, third],
        "smallest": min(row.samples),
        "largest": max(row.samples),
        "gflops": row.gflops,
        "share_of_peak": row.share,
        "samples": list(row.samples),
    }
