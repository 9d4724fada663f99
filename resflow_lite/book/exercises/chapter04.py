"""Checks of the exercises of chapter 4, Russian roulette, and of its appendix."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...estimators.series import Geometric, Law, Poisson
from .verdict import close, exercise, expect, number, shaped

Survival = Callable[[int], float]


@exercise
def check_weighted_sum(weighted_sum: Callable[[Sequence[float], int, Survival, int], Any]) -> str:
    """weighted_sum(a, N, survival, m): equation (1), terms m + 1 to m + N with the weights 1 / P(N >= k)."""
    a = 1.0 / np.arange(1, 40) ** 2 * np.cos(np.arange(1, 40))
    cases: list[tuple[Law, int, int]] = [(Geometric(0.25), 0, 2), (Geometric(0.25), 2, 2), (Poisson(2.0), 5, 2)]
    for law, N, m in [*cases, (Geometric(0.5), 4, 0), (Poisson(1.0), 3, 3)]:
        case = f"N = {N}, m = {m}, {law}"
        k = np.arange(1, N + 1)
        chance = np.array([law.survival(j) for j in range(N + m + 2)])

        def of(weights: Any, m: int = m, N: int = N) -> float:
            return float(a[:m].sum() + np.sum(a[m : m + N] * weights))

        answer = number(weighted_sum(a, N, law.survival, m))
        right = of(1 / chance[k])
        wrong = {
            "term m + k got the weight of the term before it, 1 / P(N >= k - 1)": of(1 / chance[k - 1]),
            "a weight is 1 over the chance P(N >= k) that the term is computed, not over P(N = k)": of(
                1 / (chance[k] - chance[k + 1])
            ),
            "without weights this is a truncation after a random number of terms": of(1.0),
            "weights do not multiply: P(N >= k) has the terms before it in it": of(1 / np.cumprod(chance[k])),
            "k counts the random terms: P(N >= k), not P(N >= m + k)": of(1 / chance[m + k]),
            "the weight is 1 over the chance, not the chance": of(chance[k]),
        }
        for reason, value in wrong.items():
            expect(close(answer, right) or not close(answer, value), f"{case}: {reason}")
        expect(close(answer, right), f"{case}: expected {right:.4f}, got {answer:.4f}")
    return "chance times weight is 1 for every term, so the mean is the whole series."


@exercise
def check_heavy_tail(sample: Callable[[int, torch.Generator], Tensor]) -> str:
    """sample(n, generator): n draws of an N with P(N >= k) = 1 / (k + 1)^2, int64, (n,)."""
    n = 100_000
    answer = shaped(sample(n, torch.Generator().manual_seed(0)), (n,), "n draws")
    expect(answer.dtype == torch.int64, f"N counts terms: expected int64, not {answer.dtype}; use .long()")
    expect(int(answer.min()) >= 0, "a negative N: 1 / sqrt(U) overflows at U = 0, so take U from (0, 1]")
    expect(int(answer.min()) == 0, "your N starts at 1: the support of a law is 0, 1, 2, ..., with P(N >= 0) = 1")
    again = sample(n, torch.Generator().manual_seed(0))
    expect(torch.equal(answer, again), "two calls with the same seed differ: draw U from the generator")
    for k in range(1, 7):
        right, share = 1 / (k + 1) ** 2, float((answer >= k).double().mean())
        error = (right * (1 - right) / n) ** 0.5
        expect(abs(share * (k + 1) - 1) > 5 * error, f"P(N >= {k}) is {share:.3f} = 1 / (k + 1): the square is missing")
        expect(abs(share - right) < 5 * error, f"P(N >= {k}) should be {right:.4f}; in {n} draws it was {share:.4f}")
    return "it reaches every k, at a mean of 0.64 terms, and its tail is heavier than any geometric one."


@exercise
def check_price(price: Callable[[float], float]) -> str:
    """price(rho): the infimum of E[N] over the geometric laws with finite variance, rho^2 / (1 - rho^2)."""
    for rho in (0.5, 0.9, 0.98):
        answer, q = number(price(rho)), rho**2
        expect(not close(answer, rho / (1 - rho)), "that is the price of q = rho; q > rho^2 is enough")
        expect(not close(answer, 1 / (1 - q)), "that is the mean of a geometric law that starts at 1; ours starts at 0")
        expect(not close(answer, 1 - q) and not close(answer, q), "that is p, or q = 1 - p; now E[N] = (1 - p) / p")
        expect(close(answer, q / (1 - q)), f"at rho = {rho} expected {q / (1 - q):.4f} terms, got {answer:.4f}")
    return "0.3 terms at rho = 0.5, 4.3 at 0.9, 24 at 0.98, and that is where finite only begins."


@exercise
def check_batch_error(batch_error: Callable[[Tensor], float]) -> str:
    """batch_error(values): (batches, samples), one N per batch -> standard error of the mean of all values."""
    batches, samples = 200, 32
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(batches, 1, generator=generator, dtype=torch.float64)
    values = 3 + shared + 0.5 * torch.randn(batches, samples, generator=generator, dtype=torch.float64)
    answer, right = number(batch_error(values)), float(values.mean(1).std() / batches**0.5)
    naive = float(values.std() / values.numel() ** 0.5)
    short = f"{batches} draws of N are not {values.numel()}: this error is {right / naive:.1f} times too small"
    expect(abs(answer / naive - 1) > 0.01, short)
    expect(abs(answer / (right * batches**0.5) - 1) > 0.01, "that is the error of one batch, not of the mean of all")
    expect(not close(answer, values.mean(0).std() / samples**0.5), "average over samples first, not over batches")
    # unbiased or not (n - 1 or n) is a matter of taste here
    expect(abs(answer / right - 1) < 0.01, f"expected {right:.4f}, got {answer:.4f}")
    return "what shares a random number counts once."


@exercise
def check_branch_trace(branch_trace: Callable[[Tensor, Tensor, Tensor], Any]) -> str:
    """branch_trace(W1, W2, slopes): tr(W2 diag(slopes) W1) for every row of slopes, (B,)."""
    generator = torch.Generator().manual_seed(0)
    W1, W2 = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((7, 3), (3, 7)))
    slopes = torch.rand(5, 7, generator=generator, dtype=torch.float64)
    right = torch.einsum("ij,bj,ji->b", W2, slopes, W1)
    answer = shaped(branch_trace(W1, W2, slopes), (5,), "one trace per row of slopes")
    plain = (W2 @ W1).trace()
    expect(not close(answer, plain.expand(5)), "that is tr(W2 W1): the slopes are missing")
    expect(not close(answer, plain * slopes.sum(1)), "sum_i d_i (W1 W2)_ii, not the product of two sums")
    expect(not close(answer, plain * slopes.mean(1)), "sum_i d_i (W1 W2)_ii, not the mean slope times a trace")
    squared = torch.einsum("ij,bj,ji->b", W2, slopes**2, W1)
    expect(not close(answer, squared), "each slope counts once, not squared")
    expect(close(answer, right), f"the first row should be {float(right[0]):.4f}, not {float(answer[0]):.4f}")
    return "all traces of a batch for one product of weights: no probe, no noise."


@exercise
def check_with_less_noise(with_less_noise: Callable[[Tensor, Tensor, Tensor], Any]) -> str:
    """with_less_noise(value, first, trace): value - first + trace, first = v^T J v with the mean trace."""
    generator = torch.Generator().manual_seed(0)
    trace, probe, rest = (torch.randn(400, generator=generator, dtype=torch.float64) for _ in range(3))
    first = trace + probe
    value = first + 0.1 * rest - 2.0
    answer = shaped(with_less_noise(value, first, trace), (400,), "one estimate per sample")
    right = value - first + trace
    doubled = "the mean is right, the noise of the first term is doubled: the probe's version goes out, the trace in"
    expect(not close(answer, value + first - trace), doubled)
    expect(not close(answer, value), "that is the estimate as it was")
    expect(not close(answer, value - first), "the first term is gone: its mean, the trace, has to come back")
    expect(not close(answer, value + trace), "now the first term counts twice: take the probe's version out")
    constant = "a constant for all samples: each has its own probe and its own trace"
    expect(not close(answer, value - first.mean() + trace.mean()), constant)
    expect(close(answer, right), f"the first should be {float(right[0]):.4f}, not {float(answer[0]):.4f}")
    before, after = (float((estimate - trace).var()) for estimate in (value, right))
    return f"the variance around the truth was {before:.2f}, and is {after:.2f}."
