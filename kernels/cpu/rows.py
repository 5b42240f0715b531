"""Operations on a row of numbers: what the kernels do to one pixel's channels, or to a long stretch of them."""

from __future__ import annotations

from typing import Any

from .vectors import Place, Vectors, row_operation


@row_operation
def copy(v: Vectors, y: Place, x: Place) -> None:
    """y = x"""
    y.store(x.load())


@row_operation
def clear(v: Vectors, y: Place) -> None:
    """y = 0"""
    y.store(v.zero)


@row_operation
def add(v: Vectors, y: Place, a: Place, b: Place) -> None:
    """y = a + b"""
    y.store(v.add(a.load(), b.load()))


@row_operation
def relu(v: Vectors, y: Place, x: Place) -> None:
    """y = max(x, 0)"""
    y.store(v.max(x.load(), v.zero))


@row_operation
def affine(v: Vectors, y: Place, x: Place, scale: Place, shift: Place) -> None:
    """y = scale * x + shift"""
    y.store(v.fma(scale.load(), x.load(), shift.load()))


@row_operation
def affine_relu(v: Vectors, y: Place, x: Place, scale: Place, shift: Place) -> None:
    """y = max(scale * x + shift, 0)"""
    y.store(v.max(v.fma(scale.load(), x.load(), shift.load()), v.zero))


def _passes(v: Vectors, dy: Any, y: Any) -> Any:
    """The gradient through a ReLU: dy where y > 0, else 0."""
    return v.where(v.greater(y, v.zero), dy, v.zero)


@row_operation
def relu_gradient(v: Vectors, dx: Place, dy: Place, y: Place) -> None:
    """dx = dy where y > 0, else 0"""
    dx.store(_passes(v, dy.load(), y.load()))
