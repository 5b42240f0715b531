"""Which terms does a wrong dx of batch norm have? It is fitted with those that the right one is made of.

    dx = inv_std * (a * d - b * mean(d) - c * xhat * mean(d * xhat)),  d = gamma * dy

a = b = c = 1 is right. A forgotten term has coefficient 0, a wrong sign -1, a forgotten gamma gives 1 / gamma for all three;
combinations show at once, whether anybody has thought of them or not. What the terms cannot explain was taken over wrong axes.
"""

from __future__ import annotations

import numpy as np

from ...backend import Array
from ...ops import BatchNormSaved
from ..exercise import Case, Finding
from ..language import Text

EXACT = 1e-5  # how near a coefficient must be to the number it is taken for, and what may stay unexplained


def explain_dx(output: int, cases: list[Case], came: list[Array]) -> Finding | None:
    """The finding about dx, output 0 of an exercise whose arguments are (dy, BatchNormSaved). Looks at the largest case."""
    if output != 0:
        return None
    case, dx = max(zip(cases, came, strict=True), key=lambda pair: pair[1].size)
    dy, saved = case.args[:2]
    if dx.shape != dy.shape or not np.isfinite(dx).all() or not dx.any():
        return None
    fitted = np.array([_fit(dx, dy, saved, channel) for channel in range(dy.shape[-1])])  # [C, 4]
    if fitted[:, 3].max() > EXACT:
        return None
    factor, names = _common_factor(fitted[:, :3], saved.gamma, saved.inv_std)
    if factor is None:
        return None
    relative = fitted[:, :3] / factor[:, None]
    if np.ptp(relative, axis=0).max() > EXACT:  # a term is off by another number in each channel: no name for that
        names = []
    else:
        names += _of_terms(*map(float, relative.mean(0)))
        if not names:
            return None
    formula = "inv_std * (a * d - b * mean(d) - c * xhat * mean(d * xhat))"
    shown = ", ".join(map(_shown, fitted.T[:3]))
    seen = Text(
        f"dx fits {formula} with d = gamma * dy and a, b, c = {shown}; it should be 1, 1, 1",
        f"dx 可写成 {formula}，其中 d = gamma * dy，a, b, c = {shown}；应为 1, 1, 1",
    )
    return Finding(tuple(names), seen)


def _fit(dx: Array, dy: Array, saved: BatchNormSaved, channel: int) -> tuple[float, float, float, float]:
    """a, b, c of one channel, and the share of dx that they leave unexplained."""
    x, gamma, mean, _, inv_std = saved
    d = gamma[channel] * dy[..., channel].ravel()
    xhat = (x[..., channel].ravel() - mean[channel]) * inv_std[channel]
    terms = inv_std[channel] * np.stack([d, np.full_like(d, -d.mean()), -xhat * (d * xhat).mean()], axis=1)
    target = dx[..., channel].ravel()
    coefficients = np.linalg.lstsq(terms, target, rcond=None)[0]
    size = float(np.linalg.norm(target)) or 1.0
    a, b, c = map(float, coefficients)
    return a, b, c, float(np.linalg.norm(terms @ coefficients - target)) / size


def _common_factor(fitted: Array, gamma: Array, inv_std: Array) -> tuple[Array | None, list[str]]:
    """What all terms of a channel are multiplied by, [C], and the names of the mistakes that make it so."""
    ones = np.ones_like(gamma)
    known: tuple[tuple[Array, list[str]], ...] = (
        (ones, []),
        (1 / gamma, ["gamma_forgotten"]),
        (1 / inv_std, ["inv_std_forgotten"]),
        (1 / (gamma * inv_std), ["gamma_forgotten", "inv_std_forgotten"]),
        (inv_std, ["variance_not_rooted"]),
        (inv_std / gamma, ["gamma_forgotten", "variance_not_rooted"]),
    )
    first = fitted[:, 0]  # the coefficient of d, which nobody forgets
    for factor, names in known:
        scaled = first / factor
        if np.ptp(scaled) <= EXACT * np.abs(scaled).max() and scaled.any():
            scale = float(scaled.mean())
            if abs(scale - 1) <= EXACT:
                return factor, list(names)
            return factor * scale, [*names, "sign_flipped" if abs(scale + 1) <= EXACT else "scaled"]
    return None, []


def _of_terms(a: float, b: float, c: float) -> list[str]:
    """The names for coefficients that are not 1, once a common factor is divided out."""
    names = []
    for value, term in ((b, "mean_term"), (c, "variance_term")):
        if abs(value) <= EXACT:
            names.append(f"{term}_forgotten")
        elif abs(value + a) <= EXACT:
            names.append(f"{term}_sign")
        elif abs(value - a) > EXACT:
            names.append(f"{term}_scaled")
    return names


def _shown(column: Array) -> str:
    """One number where all channels agree, else each channel's."""
    if np.ptp(column) <= EXACT:
        return f"{column.mean():.3g}"
    return "[" + ", ".join(f"{value:.3g}" for value in column) + "]"
