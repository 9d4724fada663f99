"""The self-test of the page that opens the sequence: what the chapters take for granted."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .verdict import close, exercise, expect, number, shaped

READ = {
    "calculus": "Read d2l.ai 2.4 (calculus) or mml-book.github.io chapter 5",
    "matrices": "Read mml-book.github.io 4.1 (determinant and trace)",
    "norms": "Read mml-book.github.io 3.1 (norms) and 4.5 (singular values)",
    "probability": "Read d2l.ai 2.6 (probability and statistics) or mml-book.github.io chapter 6",
    "autograd": "Read d2l.ai 2.5 (automatic differentiation)",
}


@exercise
def check_slope(slope: Callable[[Tensor], Tensor]) -> str:
    """slope(x): the derivative of h(x) = tanh(x^2)."""
    x = torch.tensor([-1.2, 0.3, 0.9], dtype=torch.float64)
    answer = shaped(slope(x), (3,), "one slope for each x")
    outer = 1 - torch.tanh(x**2) ** 2
    expect(not close(answer, outer), f"that is tanh'(x^2); the inner derivative is missing. {READ['calculus']}")
    expect(not close(answer, 2 * x * (1 - torch.tanh(x) ** 2)), f"tanh' is to be taken at x^2. {READ['calculus']}")
    expect(not close(answer, torch.tanh(x**2)), f"that is h itself, not its derivative. {READ['calculus']}")
    expect(close(answer, 2 * x * outer), f"that is not the derivative of tanh(x^2). {READ['calculus']}")
    return "the chain rule: outer derivative at the inner value, times the inner derivative."


@exercise
def check_determinant(determinant: Callable[[float, float, float, float], float]) -> str:
    """determinant(a, b, c, d): of the matrix with rows (a, b) and (c, d)."""
    answer = number(determinant(2.0, 3.0, 5.0, 4.0))
    expect(not close(answer, 23.0), f"the sign is wrong: ad - bc, not ad + bc. {READ['matrices']}")
    expect(not close(answer, 8.0), f"the diagonal is enough for triangular matrices only. {READ['matrices']}")
    expect(not close(answer, 7.0), f"that is bc - ad. {READ['matrices']}")
    expect(close(answer, -7.0), f"for the rows (2, 3) and (5, 4) expected -7, got {answer:g}. {READ['matrices']}")
    return "negative, since the two rows are in the order that turns the plane over; areas grow by 7."


@exercise
def check_stretch(largest_stretch: Callable[[Tensor], float]) -> str:
    """largest_stretch(A): max |A v| / |v|."""
    matrix = torch.tensor([[1.0, 2.0], [0.0, 1.5]], dtype=torch.float64)
    answer, right = number(largest_stretch(matrix)), float(torch.linalg.matrix_norm(matrix, 2))
    expect(not close(answer, 1.5), f"that is the largest eigenvalue; it is the singular value. {READ['norms']}")
    expect(not close(answer, matrix.norm()), f"that is the Frobenius norm, which is larger. {READ['norms']}")
    expect(not close(answer, right**2), f"that is its square, an eigenvalue of A^T A. {READ['norms']}")
    expect(close(answer, right), f"expected {right:.4f} for {matrix.tolist()}, got {answer:.4f}. {READ['norms']}")
    return "the largest singular value. It can exceed every eigenvalue, as here."


@exercise
def check_mean_and_error(mean_and_error: Callable[[Tensor], Any]) -> str:
    """mean_and_error(draws): the sample mean and its standard error."""
    draws = torch.tensor([1.0, 4.0, 2.0, 9.0, 4.0, 1.0, 0.0, 3.0, 7.0], dtype=torch.float64)
    answer = mean_and_error(draws)
    pair = hasattr(answer, "__len__") and not isinstance(answer, str) and len(answer) == 2
    expect(pair, "mean_and_error should return two numbers: the mean and its standard error")
    mean, error = (number(a) for a in answer)
    expect(close(mean, draws.mean()), f"the mean of {draws.tolist()} is {float(draws.mean()):.4f}, not {mean:.4f}")
    root = len(draws) ** 0.5
    expect(not close(error, draws.std()), f"that is the spread of one draw; a mean varies less. {READ['probability']}")
    expect(not close(error, draws.std() / len(draws)), f"divide by the root of n, not by n. {READ['probability']}")
    expect(not close(error, draws.var() / root), f"that starts from the variance. {READ['probability']}")
    # with n or n - 1 in the variance is a matter of taste here
    right = [draws.std() / root, draws.std(correction=0) / root]
    expect(any(close(error, r) for r in right), f"expected {right[0]:.4f}, got {error:.4f}. {READ['probability']}")
    return "four times as many draws, half the error. It is the same in every chapter."


@exercise
def check_gradient(gradient: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]) -> str:
    """gradient(f, x): of f (B, n) -> (B,), row by row, by autograd."""
    x = torch.tensor([[0.5, -1.0], [2.0, 0.3], [-0.4, 0.7]], dtype=torch.float64)

    def f(x: Tensor) -> Tensor:
        return x[:, 0] ** 2 * x[:, 1].exp()

    answer = gradient(f, x)
    expect(isinstance(answer, Tensor), f"torch.autograd.grad returns a tuple; unpack it. {READ['autograd']}")
    right = torch.stack([2 * x[:, 0], x[:, 0] ** 2], 1) * x[:, 1:].exp()
    expect(not close(answer, right / len(x)), f"that is the gradient of the mean over the batch. {READ['autograd']}")
    expect(not close(answer, f(x)), f"that is f itself. {READ['autograd']}")
    expect(tuple(answer.shape) == tuple(x.shape), f"expected shape {tuple(x.shape)}, not {tuple(answer.shape)}")
    expect(close(answer, right), f"that is not the gradient of each row. {READ['autograd']}")
    return "rows do not see each other, so the gradient of the sum holds the gradients of all rows."
