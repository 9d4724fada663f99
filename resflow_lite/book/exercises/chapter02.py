"""Checks of the exercises of chapter 2, invertible residual blocks."""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress

import torch
from torch import Tensor

from .verdict import close, exercise, expect, number, shaped, whole


@exercise
def check_rounds(rounds_needed: Callable[[float, float, float], int]) -> str:
    """rounds_needed(L, d, eps): the smallest n with L^n / (1 - L) * d <= eps."""
    for L, d, eps in ((0.9, 2.0, 1e-6), (0.5, 1.0, 1e-3), (0.98, 0.1, 1e-8), (0.5, 0.1, 1.0)):
        answer = whole(rounds_needed(L, d, eps), "rounds")
        case = f"L = {L}, d = {d}, eps = {eps}"
        exact = math.log(eps * (1 - L) / d) / math.log(L)
        right = max(0, math.ceil(exact))
        expect(answer >= 0, f"{case}: the start is good enough already; the answer is 0 rounds, not {answer}")
        without = max(0, math.ceil(math.log(eps / d) / math.log(L)))
        missing = answer == without and answer not in (right, right - 1)
        expect(not missing, f"{case}: the factor 1 / (1 - L) is missing; it is the sum of all further steps")
        expect(answer != right - 1, f"{case}: {answer} rounds are one too few; round up")
        expect(answer == right, f"{case}: expected {right} rounds, got {answer}")
    return "1 / log(1 / L) grows like 1 / (1 - L): ten times closer to 1 is ten times the work."


@exercise
def check_spectral_norm(spectral_norm: Callable[[Callable, Callable, Tensor, int], Tensor]) -> str:
    """spectral_norm(matvec, rmatvec, v, rounds): of a map known by its products only."""
    kernel = torch.tensor([[[[0.3, -1.0, 0.2], [0.5, 2.0, -0.4], [0.1, 0.6, 0.3]]]], dtype=torch.float64)
    kernel = torch.cat([kernel, 0.5 * kernel.flip(3)])
    stretch = 1.7  # the start is no unit vector

    def matvec(v: Tensor) -> Tensor:
        return torch.nn.functional.conv2d(v.view(1, 1, 6, 6), kernel, padding=1).flatten()

    def rmatvec(u: Tensor) -> Tensor:
        return torch.nn.functional.conv_transpose2d(u.view(1, 2, 6, 6), kernel, padding=1).flatten()

    start = torch.randn(36, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    start = stretch * start / start.norm()
    matrix = torch.stack([matvec(e) for e in torch.eye(36, dtype=torch.float64)], 1)
    right = float(torch.linalg.matrix_norm(matrix, 2))
    answer = number(spectral_norm(matvec, rmatvec, start, 500), "one number, the norm, and no vector")
    expect(math.isfinite(answer), "v overflowed: make it a unit vector in every round")
    expect(not close(answer, right**2), "that is the square of the norm: W and W^T stretch once each")
    expect(not close(answer, float(matvec(start).norm()) / stretch), "that is |W v| / |v| at the start; iterate")
    expect(abs(answer / right - 1) < 1e-4, f"for a convolution of 6 x 6 images expected {right:.4f}, got {answer:.4f}")
    none = None
    with suppress(Exception):  # some estimates are there after a first round only, and that is well
        none = number(spectral_norm(matvec, rmatvec, start, 0))
    expect(
        none is None or not close(none, matvec(start).norm()), "with 0 rounds v is no unit vector: divide by its norm"
    )
    few = number(spectral_norm(matvec, rmatvec, start, 2))
    expect(not close(few, right), "the number of rounds is not used: with 2 of them the estimate is still low")
    expect(
        0.5 * right < few <= right * (1 + 1e-6),
        f"after 2 rounds expected a little less than {right:.4f}, got {few:.4f}",
    )
    return "the layer of the package does the same with convolutions, and never builds their matrix."


@exercise
def check_lipschitz_bound(lipschitz_bound: Callable[[Sequence[Tensor]], float]) -> str:
    """lipschitz_bound(weights): the product of the spectral norms."""
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((5, 3), (4, 5), (3, 4))]
    answer = number(lipschitz_bound(weights))
    norms = [float(torch.linalg.matrix_norm(w, 2)) for w in weights]
    right = math.prod(norms)
    chained = float(torch.linalg.matrix_norm(weights[2] @ weights[1] @ weights[0], 2))
    expect(not close(answer, chained), "the norm of the product is a bound only without tanh between")
    expect(not close(answer, sum(norms)), "stretches one after the other multiply; they do not add")
    expect(not close(answer, max(norms)), "that is the norm of one layer; all of them stretch")
    frobenius = math.prod(float(w.norm()) for w in weights)
    expect(not close(answer, frobenius), "the Frobenius norm is a valid bound, but larger than needed; use the 2-norm")
    expect(close(answer, right), f"expected {[round(n, 3) for n in norms]} multiplied, {right:.3f}, got {answer:.3f}")
    return "an upper bound, however the matrices and the tanh conspire."


@exercise
def check_damped(damped_inverse: Callable[[Callable, Tensor, float, int], Tensor]) -> str:
    """damped_inverse(g, y, alpha, rounds): x <- x + alpha (y - g(x) - x) from x = y."""
    y = torch.tensor([2.0, -1.0, 0.3], dtype=torch.float64)
    alpha, rounds = 0.3, 200

    def g(x: Tensor) -> Tensor:
        return 3 * x

    answer = shaped(damped_inverse(g, y, alpha, rounds), (3,), "a vector like y").double()
    once = shaped(damped_inverse(g, y, alpha, 1), (3,), "a vector like y").double()
    alias = (
        "y has changed on the way: x is y, and x += ... writes into both. Start from y.clone(), or write x = x + ..."
    )
    expect(not close(answer, 0 * y), alias)
    expect(not close(once, y + alpha * 3 * y), "the sign is wrong: it runs away from T(x); the step is T(x) - x")
    fine = bool(answer.isfinite().all()) and float(answer.abs().max()) < 1e6
    expect(fine, "it runs away: damp the step by alpha")
    other = y / (1 + 3 * alpha)
    expect(not close(answer, other), "that solves another equation, x + alpha g(x) = y: damp the step T(x) - x")
    expect(close(answer, y / 4), f"for g(x) = 3 x and y = {y.tolist()} expected y / 4, got {answer.tolist()}")
    expect(close(once, y - alpha * 3 * y), "after one round from x = y it should be at y + alpha (T(y) - y)")
    return "with alpha = 0.25 a single round would do, since 1 - 4 alpha = 0."


@exercise
def check_inverse(inverse: Callable[[Callable, Tensor, float, float], Tensor]) -> str:
    """inverse(g, y, L, tol): x (B, D) with |x - x*| <= tol in every row, for a g with Lip(g) <= L < 1."""
    y = torch.tensor([[0.001, 0.0], [2.0, -1.0]], dtype=torch.float64)
    for L, tol in ((0.5, 1e-4), (0.98, 1e-4), (0.98, 1e-6)):
        calls = []

        def g(x: Tensor, L: float = L, calls: list = calls) -> Tensor:
            calls.append(x)
            expect(len(calls) < 5000, f"at L = {L} it has not stopped after 5,000 calls of g")
            return -L * x

        x = shaped(inverse(g, y, L, tol), (2, 2), "a row for each y").double()
        error = (x - y / (1 - L)).norm(dim=1)
        step, worst, case = float(((1 - L) * error).max()), float(error.max()), f"at L = {L} and tol = {tol:g}"
        if worst <= tol * (1 + 1e-9):
            continue
        expect(step > 1.01 * tol, f"{case} the steps are that small, and the error is {worst:.1g}: more would follow")
        expect(step**2 > 1.01 * tol, f"{case} it stops while the steps have length {step:.1g}: lengths, not squares")
        expect(float(error.min()) > tol, f"{case} one row is right and another is off by {worst:.1g}: all must be")
        expect(False, f"{case} the error is {worst:.2g}")
    return "a promise of tol that holds: the residual over 1 - L, in every row."
