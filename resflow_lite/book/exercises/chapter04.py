"""Checks of the exercises of chapter 4, Russian roulette."""

from collections.abc import Callable

import torch
from torch import Tensor

from .verdict import close, exercise, expect, shaped

__all__ = ["check_heavy_tail", "check_price", "check_batch_error"]


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
        answer = price(rho)
        answer, q = float(answer), rho**2
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
    answer = batch_error(values)
    answer, right = float(answer), float(values.mean(1).std() / batches**0.5)
    naive = float(values.std() / values.numel() ** 0.5)
    short = f"{batches} draws of N are not {values.numel()}: this error is {right / naive:.1f} times too small"
    expect(abs(answer / naive - 1) > 0.01, short)
    expect(abs(answer / (right * batches**0.5) - 1) > 0.01, "that is the error of one batch, not of the mean of all")
    expect(not close(answer, values.mean(0).std() / samples**0.5), "average over samples first, not over batches")
    # unbiased or not (n - 1 or n) is a matter of taste here
    expect(abs(answer / right - 1) < 0.01, f"expected {right:.4f}, got {answer:.4f}")
    return "what shares a random number counts once."
