"""Checks of the exercises of chapter 7, densities of the plane."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .verdict import close, exercise, expect, numbers, shaped


@exercise
def check_eight_gaussians(log_prob: Callable[[Tensor], Tensor]) -> str:
    """log_prob(x): (B, 2) -> (B,) nats of eight equal Gaussians, deviation 0.2, on a circle of radius 2.8."""
    x = torch.tensor([[2.8, 0.0], [2.1, 1.9], [0.0, 0.0], [-1.5, 2.2], [40.0, 1.0]], dtype=torch.float64)
    answer = shaped(log_prob(x), (5,), "one number per point")
    angle = torch.arange(8, dtype=torch.float64) * math.pi / 4
    centres = 2.8 * torch.stack([angle.cos(), angle.sin()], 1)
    exponents = -0.5 * (torch.cdist(x, centres) / 0.2) ** 2
    unscaled = exponents.logsumexp(1)
    right = unscaled - math.log(8) - math.log(2 * math.pi * 0.2**2)
    expect(bool(torch.isfinite(answer).all()), "far from all centres exp rounds to 0: torch.logsumexp does not")
    expect(not close(answer, right + math.log(8)), "that integrates to 8: each Gaussian has the weight 1/8")
    one_dimension = right + 0.5 * math.log(2 * math.pi * 0.2**2)
    expect(not close(answer, one_dimension), "that is the constant of one dimension; in the plane it is 2 pi sigma^2")
    expect(not close(answer, unscaled - math.log(8)), "a Gaussian in the plane is divided by 2 pi sigma^2")
    constant = right - unscaled + math.log(8)
    expect(not close(answer, exponents.mean(1) + constant), "a mixture averages densities, not their logarithms")
    expect(close(answer, right), f"expected {right.tolist()}, got {answer.tolist()}")
    return "its mean over the data is the ceiling: no model of this set has more nats."


@exercise
def check_bisection(solve: Callable[..., Tensor]) -> str:
    """solve(h, y, low, high): the x between low and high with h(x) = y, entry by entry, h increasing; (B,) each."""

    def h(x: Tensor) -> Tensor:
        return x + 0.95 * x.sin() + 0.1 * x**3

    x = torch.tensor([-2.7, -0.4, 0.0, 1.3, 2.9], dtype=torch.float64)
    y, low, high = h(x), torch.full_like(x, -3), torch.full_like(x, 3)
    answer = shaped(solve(h, y, low, high), (5,), "one number per point")
    expect(bool(torch.isfinite(answer).all()), "the answer is not finite: bisection never leaves [low, high]")
    flipped = bool(((answer.abs() - 3).abs() < 1e-3).all())  # all at -3 or 3
    expect(not flipped, "the intervals shrank to their ends: where h(middle) < y, the solution lies above the middle")
    error = float((answer - x).abs().max())
    expect(error < 1e-4, f"largest error {error:.1e}: each round halves the interval, so 40 rounds reach 1e-11")
    expect(error < 1e-9, f"largest error {error:.1e}: a few more rounds")
    return "the halving cannot miss, however flat or steep h is: this is how Flow++ draws samples."


@exercise
def check_trace_series(truncated: Callable[[Tensor, Tensor, int], Tensor]) -> str:
    """truncated(t, d, n): trace and determinant of 2 x 2 matrices J (B,) -> sum_(k <= n) (-1)^(k+1) / k tr(J^k)."""
    generator = torch.Generator().manual_seed(0)
    J = 0.25 * torch.randn(6, 2, 2, generator=generator, dtype=torch.float64)
    t, d = J.diagonal(dim1=1, dim2=2).sum(1), torch.linalg.det(J)

    def series(n: int, *, harmonic: bool = True) -> Tensor:
        traces = [torch.linalg.matrix_power(J, k).diagonal(dim1=1, dim2=2).sum(1) for k in range(1, n + 1)]
        terms = [(-1) ** (k + 1) * p / (k if harmonic else 1) for k, p in enumerate(traces, 1)]
        return torch.stack(terms).sum(0) if terms else torch.zeros_like(t)

    for n in (1, 2, 5):
        answer = shaped(truncated(t, d, n), (6,), "one number per point")
        right = series(n)
        case = f"with n = {n}: "
        expect(not close(answer, torch.log(1 + t + d)), case + "that is the whole series, log(1 + t + d)")
        expect(not close(answer, -right), case + "the sign is wrong: the first term is + tr(J)")
        expect(n == 1 or not close(answer, series(n, harmonic=False)), case + "term k is divided by k")
        expect(not close(answer, series(n - 1)), case + f"that has {n - 1} terms: the last one is missing")
        expect(not close(answer, series(n + 1)), case + f"that has {n + 1} terms, one too many")
        expect(close(answer, right), case + "not the sum; check p_0 = tr(I) = 2, p_1 = t, p_2 = t^2 - 2 d")
    return "two numbers of J give every trace: in the plane, the bias of any truncation costs nothing to know."


@exercise
def check_paired(paired: Callable[[Tensor, Tensor], Any]) -> str:
    """paired(a, b): nats of two systems for the same five seeds -> (mean of a - b, half-width of its 95 % interval)."""
    a = torch.tensor([-2.81, -2.95, -2.77, -3.02, -2.88], dtype=torch.float64)
    b = a - torch.tensor([0.05, -0.02, 0.17, 0.04, 0.13], dtype=torch.float64)
    mean, half_width = numbers(paired(a, b), "difference", "half_width")
    difference = a - b
    right, error = float(difference.mean()), float(difference.std()) / 5**0.5
    expect(not close(mean, -right), "the sign is wrong: a minus b")
    expect(close(mean, right), f"mean difference {mean:.4f} where {right:.4f} was expected")
    by_rank = a.sort().values - b.sort().values
    sorted_first = "best meets best here, whatever the seed; a pair is two runs of one seed"
    expect(not close(half_width, 2.776 * by_rank.std() / 5**0.5), sorted_first)
    unpaired = float((a.var() + b.var()) / 5) ** 0.5
    for factor in (1.0, 1.96, 2.0, 2.306, 2.776):
        together = "that is the interval of independent runs. Subtract seed by seed: what a seed does to both drops out"
        expect(not close(half_width, factor * unpaired), together)
    expect(not close(half_width, error), "that is the standard error; an interval takes 2.776 of them")
    expect(abs(half_width / (1.96 * error) - 1) > 0.03, "1.96 is for many runs; the t-distribution of 5 says 2.776")
    expect(not close(half_width, 2.776 * difference.std()), "that is where one more seed may fall; divide by sqrt(5)")
    expect(abs(half_width / (2.776 * error) - 1) < 0.01, f"half-width {half_width:.4f}; expected {2.776 * error:.4f}")
    return "seeds that are hard for one system are hard for the other, so the pairs say more than the two means."
