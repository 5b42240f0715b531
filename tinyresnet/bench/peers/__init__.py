"""Who tinyresnet is measured against: the same net and the same weights in other libraries, each where it is installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...extras import MissingExtra
from ..options import PEERS, Options
from ..rounds import Side
from ..timed import Offer

Builder = Callable[[], list[Side]]
EXTRA = "bench"


def offered(builders: Mapping[str, Builder], options: Options) -> Offer:
    """The sides of the peers that were chosen, by PEERS' names; of one that cannot run here, why."""
    sides: list[Side] = []
    left_out: dict[str, str] = {}
    for peer, build in builders.items():
        if peer not in options.peers:
            continue
        try:
            sides += build()
        except MissingExtra as missing:
            left_out[PEERS[peer]] = str(missing)
        except Exception as error:
            if peer != "torch.compile":
                raise
            # Without a C++ compiler, or on a Python that it does not know yet, it raises whatever it happens to meet.
            left_out[PEERS[peer]] = f"it does not work here ({type(error).__name__}: {_first_line(error)})"
    return Offer(sides, left_out)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else "no reason given"
