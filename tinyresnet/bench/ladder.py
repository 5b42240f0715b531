"""What each technique bought: the same work done step by step, from the loops on paper to the fused kernels.

Every rung computes the same from the same numbers. `loops`: one small layer, since Python's loops take minutes for a large one.
`unit`: a bottleneck unit without stride, as in inference. `3x3`: the four kinds of 3x3 layers of resnet_v2_50. See docs/speed.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..backend import REFERENCE, Array
from ..extras import MissingExtra, require
from ..ops import naive
from .compare import by_largest
from .options import Options
from .results import OURS, CaseResult
from .rounds import Side
from .rungs import COLUMNS, METHODS, UNIT_RUNGS, ConvolutionPlan, Unit, unit_rung
from .timed import Offer, Timed

LAYERS = ((56, 64), (28, 128), (14, 256), (7, 512))  # 3x3 of resnet_v2_50 at 224: side of the map, channels
SMALL = 8, 32  # for the loops
TOLERANCE = 1e-4
PADDING = ((1, 1), (1, 1))


class Short(NamedTuple):
    """A case with short turns: nobody here has threads that spin after their turn for long."""

    timed: Timed

    @property
    def name(self) -> str:
        """Of the case."""
        return self.timed.name

    @property
    def about(self) -> str:
        """What it is."""
        return self.timed.about

    @property
    def flops(self) -> float | None:
        """Of a call, by direct convolution."""
        return self.timed.flops

    def measure(self, options: Options) -> CaseResult:
        """Raises WrongResult before anything is timed."""
        return self.timed.measure(options._replace(gap=min(options.gap, 0.03), turn=min(options.turn, 0.06)))


def ladder_cases(batch: int = 8) -> list[Short]:
    """All rungs that are timed against each other."""
    unit = Unit(batch, 56, 256, 64)
    return [loops_case(*SMALL), unit_case(unit), *(layer_case(batch, *layer) for layer in LAYERS)]


def loops_case(size: int, channels: int) -> Short:
    """3x3 convolution of one small image by the loops, interpreted and compiled, and by columns and BLAS."""

    def sides(x: Array, w: Array) -> dict[str, Callable[[], Array]]:
        compiled = compiled_loops()
        return {
            "loops on paper": lambda: naive.conv2d_forward(x, w, padding=PADDING),
            "the loops, compiled": lambda: compiled(x, w),
            COLUMNS: lambda: _by_columns(x, w),
        }

    return _case(f"loops/{size}-{channels}", f"3x3 convolution of {channels} channels", 1, size, channels, sides)


def layer_case(batch: int, size: int, channels: int) -> Short:
    """3x3 convolution by columns and BLAS, and by our three ways; weights are prepared beforehand."""

    def sides(x: Array, w: Array) -> dict[str, Callable[[], Array]]:
        found: dict[str, Callable[[], Array]] = {COLUMNS: lambda: _by_columns(x, w)}
        return found | {rung: ConvolutionPlan(x, w, method) for rung, method in METHODS.items()}

    return _case(f"3x3/{size}-{channels}", f"3x3 convolution of {channels} channels", batch, size, channels, sides)


def unit_case(unit: Unit) -> Short:
    """A bottleneck unit: preactivation, 1x1, 3x3, 1x1, shortcut."""

    def offer(_: Options) -> Offer:
        weights = unit.draw_weights(np.random.default_rng(1))
        return Offer([_unit_side(rung, unit_rung(rung, unit, weights)) for rung in UNIT_RUNGS], {})

    name = f"ladder/unit/{unit.size}-{unit.depth}/b{unit.n}"
    about = f"a bottleneck unit, {unit.size}x{unit.size}, {unit.depth} channels, batch {unit.n}"
    return _short(name, about, unit.n, unit.flops(), unit.draw_images, offer)


def _unit_side(rung: str, plan: Any) -> Side:
    return Side(rung, plan.take, lambda _: plan(), lambda y: {"y": y.copy()}, f"{OURS}, {rung}")


def _case(
    kind: str,
    about: str,
    batch: int,
    size: int,
    channels: int,
    sides: Callable[[Array, Array], dict[str, Callable[[], Array]]],
) -> Short:
    """sides: (x, w) -> what each rung runs. x is filled anew in each round."""
    shape, scale = (batch, size, size, channels), (9 * channels) ** -0.5
    x = np.empty(shape, np.float32)

    def draw(rng: np.random.Generator) -> Array:
        return rng.standard_normal(shape, np.float32)

    def offer(_: Options) -> Offer:
        w = scale * np.random.default_rng(0).standard_normal((3, 3, channels, channels), np.float32)
        return Offer(list(_filled(x, sides(x, w))), {})

    flops = 2.0 * batch * size**2 * 9 * channels**2
    return _short(f"ladder/{kind}/b{batch}", f"{about}, {size}x{size}, batch {batch}", batch, flops, draw, offer)


def _filled(x: Array, rungs: dict[str, Callable[[], Array]]) -> Iterator[Side]:
    def fill(images: Array) -> None:
        x[...] = images

    for rung, run in rungs.items():
        yield Side(rung, fill, lambda _, run=run: run(), lambda y: {"y": y.copy()}, f"{OURS}, {rung}")  # type: ignore[misc]


def _short(
    name: str,
    about: str,
    items: int,
    flops: float,
    draw: Callable[[np.random.Generator], Any],
    offer: Callable[[Options], Offer],
) -> Short:
    def nobody() -> Side:
        raise AssertionError("a ladder has more than one rung")

    def offer_if_there_is_numba(options: Options) -> Offer:
        try:
            require("numba", "bench")
        except MissingExtra as why:
            return Offer([], {OURS: str(why)})
        return offer(options)

    timed = Timed(name, about, "ms/image", items, flops, draw, offer_if_there_is_numba, nobody, by_largest(TOLERANCE))
    return Short(timed)


def _by_columns(x: Array, w: Array) -> Array:
    y: Array = REFERENCE["conv2d_forward"](x, w, padding=PADDING)[0]
    return y


def compiled_loops() -> Callable[[Array, Array], Array]:
    """The same seven loops, 3x3 with one pixel of padding, for the compiler: no library, no vector by hand, one thread."""

    def loops(x, w):  # type: ignore[no-untyped-def]
        n, h, width, channels = x.shape
        y = np.zeros((n, h, width, w.shape[3]), x.dtype)
        for image in range(n):
            for p in range(h):
                for q in range(width):
                    for i in range(max(0, 1 - p), min(3, h + 1 - p)):
                        for j in range(max(0, 1 - q), min(3, width + 1 - q)):
                            for c in range(channels):
                                for k in range(w.shape[3]):
                                    y[image, p, q, k] += x[image, p + i - 1, q + j - 1, c] * w[i, j, c, k]
        return y

    return require("numba", "bench").njit(loops)  # type: ignore[no-any-return]
