"""Typical wrong answers to the self-test."""

import pytest
import torch

CHAPTER = "chapter00"


def without_inner(x):
    return 1 - torch.tanh(x**2) ** 2


def outer_at_x(x):
    return 2 * x * (1 - torch.tanh(x) ** 2)


def function_itself(x):
    return torch.tanh(x**2)


def plus(a, b, c, d):
    return a * d + b * c


def diagonal(a, b, c, d):
    return a * d


def turned(a, b, c, d):
    return b * c - a * d


def eigenvalue(A):
    return torch.linalg.eigvals(A).abs().max()


def frobenius(A):
    return A.norm()


def squared(A):
    return torch.linalg.eigvalsh(A.T @ A).max()


def spread(draws):
    return draws.mean(), draws.std()


def over_n(draws):
    return draws.mean(), draws.std() / len(draws)


def variance(draws):
    return draws.mean(), draws.var() / len(draws) ** 0.5


def sum_for_mean(draws):
    return draws.sum(), draws.std() / len(draws) ** 0.5


def of_the_mean(f, x):
    x = x.detach().requires_grad_()
    return torch.autograd.grad(f(x).mean(), x)[0]


def tuple_of_gradients(f, x):
    x = x.detach().requires_grad_()
    return torch.autograd.grad(f(x).sum(), x)


def value(f, x):
    return f(x)


def first_row_only(f, x):
    return of_the_mean(f, x[:1])


WRONG = [
    ("check_slope", without_inner, "inner derivative"),
    ("check_slope", outer_at_x, "at x^2"),
    ("check_slope", function_itself, "h itself"),
    ("check_determinant", plus, "ad - bc"),
    ("check_determinant", diagonal, "triangular"),
    ("check_determinant", turned, "bc - ad"),
    ("check_stretch", eigenvalue, "eigenvalue"),
    ("check_stretch", frobenius, "Frobenius"),
    ("check_stretch", squared, "square"),
    ("check_mean_and_error", spread, "one draw"),
    ("check_mean_and_error", over_n, "root of n"),
    ("check_mean_and_error", variance, "variance"),
    ("check_mean_and_error", sum_for_mean, "the mean of"),
    ("check_gradient", of_the_mean, "mean over the batch"),
    ("check_gradient", tuple_of_gradients, "tuple"),
    ("check_gradient", value, "f itself"),
    ("check_gradient", first_row_only, "shape"),
]


@pytest.mark.parametrize(("check", "answer", "reason"), WRONG, ids=[answer.__name__ for _, answer, _ in WRONG])
def test_a_typical_wrong_answer_is_refused_with_its_reason(check, answer, reason, verdict):
    sentence = verdict(CHAPTER, check, answer)
    assert sentence.startswith("not yet: ") and reason in sentence
