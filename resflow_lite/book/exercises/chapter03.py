"""Checks of the exercises of chapter 3, truncated log-determinants."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .verdict import close, exercise, expect, shaped

__all__ = ["check_jacobian_from_products", "check_terms_needed", "check_bias_slope", "check_least_mass"]


@exercise
def check_jacobian_from_products(jacobian_from_products: Callable[[Callable, int], Tensor]) -> str:
    """jacobian_from_products(pull, D): (D, D) from the function pull(u) = J^T u."""
    J = torch.tensor([[0.1, 0.4, -0.2], [-0.3, 0.2, 0.1], [0.2, 0.7, -0.4]], dtype=torch.float64)
    calls = []

    def pull(u: Tensor) -> Tensor:
        calls.append(u)
        return J.T @ u.to(J.dtype)

    answer = jacobian_from_products(pull, 3)
    expect(isinstance(answer, Tensor), f"expected a tensor, got a {type(answer).__name__}; torch.stack makes one")
    shaped(answer, (3, 3), "the whole matrix")
    expect(not close(answer, J.T), "that is J transposed: pull(e_i) is row i of J, not column i")
    expect(close(answer, J), f"for J = {J.tolist()} got {answer.tolist()}")
    expect(len(calls) == 3, f"right, but with {len(calls)} products where 3 are enough")
    return "one product per row, D products in all. That is why nobody writes J down when D is large."


@exercise
def check_terms_needed(terms_needed: Callable[[float, float], int]) -> str:
    """terms_needed(L, tolerance): the smallest n with sum over k > n of L^k / k <= tolerance."""
    for L, tolerance, right in ((0.5, 0.01, 5), (0.9, 0.01, 30), (0.98, 0.01, 159)):
        answer = terms_needed(L, tolerance)
        case = f"for L = {L} and tolerance {tolerance}"
        expect(isinstance(answer, int), f"expected a whole number of terms, got a {type(answer).__name__}")
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
        answer = least_mass(reported, bound)
        answer, right = float(answer), math.exp(reported - bound)
        expect(not close(answer, reported - bound), "that is the logarithm of the mass")
        expect(reported == bound or not close(answer, 1 / right), "upside down: a higher report needs more mass")
        expect(close(answer, right), f"a report of {reported:.2f} nats needs a mass of {right:.3g}, not {answer:.3g}")
    return "a report above the bound is a proof of mass above 1, whatever the model is."
