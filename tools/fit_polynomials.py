"""Print the minimax coefficients of native/kernels/exp_log.hpp, with their errors.

    python tools/fit_polynomials.py

Remez exchange in 60-digit arithmetic; coefficients from the constant term up.
"""

from __future__ import annotations

from collections.abc import Callable

import mpmath as mp

mp.mp.dps = 60
Function = Callable[[mp.mpf], mp.mpf]


def remez(f: Function, low: mp.mpf, high: mp.mpf, degree: int, weight: Function) -> tuple[list[mp.mpf], mp.mpf]:
    """Return the polynomial that minimises the largest weighted error on [low, high], and that error."""
    n = degree + 2
    points = [(low + high) / 2 + (high - low) / 2 * mp.cos(mp.pi * (n - 1 - i) / (n - 1)) for i in range(n)]
    grid = [low + (high - low) * mp.mpf(i) / 2000 for i in range(2001)]
    for _ in range(12):
        system, values = mp.matrix(n, n), mp.matrix(n, 1)
        for i, x in enumerate(points):
            for j in range(degree + 1):
                system[i, j] = x**j
            system[i, degree + 1] = mp.mpf(-1) ** i / weight(x)
            values[i] = f(x)
        solution = mp.lu_solve(system, values)
        coefficients = [solution[j] for j in range(degree + 1)]
        errors = [(mp.polyval(coefficients[::-1], x) - f(x)) * weight(x) for x in grid]
        extrema = _extrema(grid, errors)
        if len(extrema) < n:
            break
        points = extrema[:n]
    return coefficients, max(abs(error) for error in errors)


def _extrema(grid: list[mp.mpf], errors: list[mp.mpf]) -> list[mp.mpf]:
    """Return where the error is largest between two changes of its sign."""
    found, start = [], 0
    for i in range(1, len(grid) + 1):
        if i == len(grid) or mp.sign(errors[i]) != mp.sign(errors[start]):
            found.append(grid[max(range(start, i), key=lambda k: abs(errors[k]))])
            start = i
    return found


def exp_tail(r: mp.mpf) -> mp.mpf:
    """Return q of exp(r) = 1 + r + r² q(r)."""
    return mp.mpf(1) / 2 + r / 6 + r * r / 24 if abs(r) < mp.mpf("1e-8") else (mp.exp(r) - 1 - r) / r**2


def atanh_tail(z: mp.mpf) -> mp.mpf:
    """Return R of 2 atanh(s) = s (2 + z R(z)), z = s²."""
    if z < mp.mpf("1e-16"):
        return mp.mpf(2) / 3 + 2 * z / 5
    s = mp.sqrt(z)
    return (2 * mp.atanh(s) / s - 2) / z


def main() -> None:
    half = mp.log(2) / 2 * mp.mpf("1.0001")
    widest = ((mp.sqrt(2) - 1) / (mp.sqrt(2) + 1) * mp.mpf("1.001")) ** 2
    # The weights are the factor of the tail in the result, and not quite 0 where that is.
    fits = (
        ("exp, float: q", exp_tail, -half, half, 4, lambda r: r * r + half**2 / 40),
        ("exp, double: q", exp_tail, -half, half, 9, lambda r: r * r + half**2 / 40),
        ("log1p: R", atanh_tail, mp.mpf(0), widest, 6, lambda z: z + widest / 40),
    )
    for name, f, low, high, degree, weight in fits:
        coefficients, error = remez(f, low, high, degree, weight)
        print(f"{name} (largest error {mp.nstr(error, 3)})")
        for coefficient in coefficients:
            print(f"    {mp.nstr(coefficient, 20)}")


if __name__ == "__main__":
    main()
