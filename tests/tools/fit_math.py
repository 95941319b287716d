"""The polynomials of tensorlang/ir/math_*.py: prints their coefficients, lowest first.

    python -m tests.tools.fit_math [name ...]

Each row of FITS names a function of t that is smooth on an interval. Interpolating it at the Chebyshev nodes of the
interval, in 120 decimal digits, gives a polynomial whose largest error is within a small factor of the least.
"""

import sys
from collections.abc import Callable
from typing import Any

from mpmath import mp, mpf

mp.dps = 120
Real = Any


def log_rest(f: Real) -> Real:
    return (mp.log(1 + f) - f + f * f / 2) / f**3


def atanh_rest(z: Real) -> Real:
    s = mp.sqrt(z)
    return (mp.log((1 + s) / (1 - s)) / s - 2) / z


def odd_rest(function: Callable[[Real], Real]) -> Callable[[Real], Real]:
    """g with function(x) = x + x**3 * g(x**2)."""
    return lambda z: (function(mp.sqrt(z)) / mp.sqrt(z) - 1) / z


# name: (function, from, to, {dtype: degree})
FITS: dict[str, tuple[Callable[[Real], Real], Any, Any, dict[str, int]]] = {
    "EXP": (lambda r: (mp.exp(r) - 1 - r) / r**2, -0.35, 0.351, {"float32": 4, "float64": 10}),
    "EXP2": (lambda r: (mpf(2) ** r - 1) / r, -0.5, 0.501, {"float32": 6, "float64": 12}),
    "EXPM1": (lambda r: (mp.exp(r) - 1 - r) / r**2, -0.53, 0.531, {"float32": 5, "float64": 12}),
    "SINH": (odd_rest(mp.sinh), 0, 1, {"float32": 3, "float64": 7}),
    "TANH": (odd_rest(mp.tanh), 0, 0.36, {"float32": 5, "float64": 12}),
    "LOG": (log_rest, mp.sqrt(0.5) - 1, mp.sqrt(2) - 1, {"float32": 8}),
    "LOG_ATANH": (atanh_rest, 0, 0.02945, {"float64": 6}),
    "POW_ATANH": (lambda z: (mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 1) / z, 0, 0.02945, {"float32": 4}),
    "POW_LOG": (
        lambda z: ((mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 1) / z - mpf(1) / 3) / z,
        0,
        0.02945,
        {"float64": 9},
    ),
    "POW_EXP2": (lambda r: (mpf(2) ** r - 1) / r, -0.5, 0.501, {"float32": 7}),
    "SIN": (odd_rest(mp.sin), 0, 0.63, {"float32": 3, "float64": 6}),
    "COS": (lambda z: (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2, 0, 0.63, {"float32": 2, "float64": 5}),
    "ATAN": (odd_rest(mp.atan), 0, 1, {"float32": 9, "float64": 21}),
    "ERF": (lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z) - 1, 0, 1, {"float32": 6, "float64": 13}),
    "LOG_ERFC": (lambda s: -mp.log(mp.erfc(1 + s)), 0, 3, {"float32": 9}),
    "LOG_ERFC_FAR": (lambda s: -mp.log(mp.erfc(1 + s)), 0, 5, {"float64": 27}),
}


def fit(function: Callable[[Real], Real], low: Any, high: Any, degree: int) -> list[float]:
    """The coefficients, lowest first, of the polynomial that agrees with `function` at degree + 1 Chebyshev nodes."""
    low, high, count = mpf(low), mpf(high), degree + 1
    nodes = [(low + high) / 2 + (high - low) / 2 * mp.cos(mp.pi * (2 * k + 1) / (2 * count)) for k in range(count)]
    matrix = mp.matrix(count, count)
    for row, node in enumerate(nodes):
        for column in range(count):
            matrix[row, column] = node**column
    return [float(c) for c in mp.lu_solve(matrix, mp.matrix([function(n) for n in nodes]))]


def main(names: list[str]) -> None:
    for name, (function, low, high, degrees) in FITS.items():
        for dtype, degree in degrees.items():
            if not names or name in names:
                digits = 10 if dtype == "float32" else 17
                print(name, dtype, *(float(f"{c:.{digits}g}") for c in fit(function, low, high, degree)), sep=", ")


if __name__ == "__main__":
    main(sys.argv[1:])
