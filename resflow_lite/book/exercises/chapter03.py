"""Checks of the exercises of chapter 3, truncated log-determinants."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .verdict import close, exercise, expect, number, shaped, whole

MATRIX = [[0.1, 0.4, -0.2], [-0.3, 0.2, 0.1], [0.2, 0.7, -0.4]]


@exercise
def check_jacobian_from_products(jacobian_from_products: Callable[[Callable, int], Tensor]) -> str:
    """jacobian_from_products(pull, D): (D, D) from the function pull(u) = J^T u."""
    J = torch.tensor(MATRIX, dtype=torch.float64)
    products = []  # in each call: 1, or as many as a matrix of directions has columns

    def pull(u: Tensor) -> Tensor:
        products.append(u.shape[1] if u.dim() == 2 else 1)
        return J.T @ u.to(J.dtype)

    answer = jacobian_from_products(pull, 3)
    hint = "; torch.stack makes a matrix of rows" if isinstance(answer, list | tuple) else ""
    answer = shaped(answer, (3, 3), "the whole matrix", hint)
    expect(not close(answer, J.T), "that is J transposed: pull(e_i) is row i of J, not column i")
    expect(close(answer, J), f"for J = {J.tolist()} got {answer.tolist()}")
    expect(sum(products) <= 3, f"right, but with {sum(products)} products where 3 are enough")
    return "one product per row, D products in all. That is why nobody writes J down when D is large."


@exercise
def check_terms_needed(terms_needed: Callable[[float, float], int]) -> str:
    """terms_needed(L, tolerance): the smallest n with sum over k > n of L^k / k <= tolerance."""
    for L, tolerance, right in ((0.5, 0.01, 5), (0.9, 0.01, 30), (0.98, 0.01, 159)):
        answer = whole(terms_needed(L, tolerance), "terms")
        case = f"for L = {L} and tolerance {tolerance}"
        first = next(n for n in range(1000) if L ** (n + 1) / (n + 1) <= tolerance)
        expect(answer != first, f"{case}: {first} terms make the FIRST dropped term small, not the sum of all of them")
        expect(answer != right + 1, f"{case} one term fewer is enough already: {right}")
        expect(answer == right, f"{case}: got {answer}, but the first n that is enough is {right}")
    return "5 terms at L = 0.5, 30 at 0.9, 159 at 0.98: strong blocks cost a lot to truncate well."


@exercise
def check_bias_slope(bias_slope: Callable[[Tensor, int], Tensor]) -> str:
    """bias_slope(lam, n): the derivative of S_n(lam) - log(1 + lam) for real lam between -1 and 1."""
    lam = torch.linspace(-0.9, 0.9, 7, dtype=torch.float64)
    for n in (2, 3, 5):
        answer = shaped(bias_slope(lam, n), (7,), "one slope for each eigenvalue")
        right = -((-lam) ** n) / (1 + lam)
        expect(not close(answer, -right), "the sign is wrong: bias is claimed minus true")
        expect(not close(answer, right - 1 / (1 + lam)), "that is the slope of -S_n; the truth is still missing")
        expect(not close(answer, right + 1 / (1 + lam)), "that is the slope of S_n; subtract the slope of the truth")
        expect(not close(answer, right * -lam), "one power too many: the sum runs from k = 1, so the powers from 0")
        case = f"n = {n} and lambda = {lam[0]:g}"
        expect(close(answer, right), f"for {case} the slope is {right[0]:.4f}, not {answer[0]:.4f}")
    return "it vanishes at lambda = 0 only. A constant would have slope 0 everywhere."


@exercise
def check_least_mass(least_mass: Callable[[float, float], Any]) -> str:
    """least_mass(reported, bound): exp(reported - bound), the least integral of the claimed density."""
    bound = -math.log(32)
    for reported in (-4.0, bound, -1.0):
        answer, right = number(least_mass(reported, bound)), math.exp(reported - bound)
        expect(not close(answer, reported - bound), "that is the logarithm of the mass")
        expect(reported == bound or not close(answer, 1 / right), "upside down: a higher report needs more mass")
        expect(close(answer, right), f"a report of {reported:.2f} nats needs a mass of {right:.3g}, not {answer:.3g}")
    return "a report above the bound is a proof of mass above 1, whatever the model is."


@exercise
def check_estimate(estimate_log_det: Callable[[Callable, Tensor, int, torch.Generator], Tensor]) -> str:
    """estimate_log_det(g, x, n, generator): (B, D) -> (B,), on average S_n, with a probe for each row."""
    J, rows, n = torch.tensor(MATRIX, dtype=torch.float64) - 0.5 * torch.eye(3), 20_000, 3

    def g(x: Tensor) -> Tensor:
        return x @ J.T

    x, generator = torch.zeros(rows, 3, dtype=torch.float64), torch.Generator().manual_seed(0)
    answer = shaped(estimate_log_det(g, x, n, generator), (rows,), "one estimate for each row").detach()
    powers = [torch.linalg.matrix_power(J, k) for k in range(1, n + 1)]
    signs = [(-1) ** (k + 1) / k for k in range(1, n + 1)]
    S_n = float(sum(sign * power.trace() for sign, power in zip(signs, powers)))
    everything = float(sum(sign * power.sum() for sign, power in zip(signs, powers)))  # of all entries, not the trace
    mean, spread = float(answer.mean()), float(answer.std())
    expect(spread > 1e-6, "all rows got the same estimate: each needs a probe of its own")

    def tends_to(value: float) -> bool:
        return abs(mean - value) < 5 * spread / rows**0.5

    case = f"over {rows:,} rows the mean is {mean:.3f}, and S_{n} is {S_n:.3f}"
    expect(not tends_to(S_n / 3), f"{case}: a third, whatever J is. What is the mean square of an entry of v?")
    positive = S_n / 12 + everything / 4
    expect(not tends_to(positive), f"{case}: the entries beside the diagonal come in. What is the mean of v_i v_j?")
    expect(not tends_to(0), f"{case}: w and v must come from the same probe")
    expect(tends_to(S_n), f"{case}: they should agree within 5 standard errors, {5 * spread / rows**0.5:.3f}")
    return "entries of mean 0 and variance 1, uncorrelated: that is all that a probe must be."
