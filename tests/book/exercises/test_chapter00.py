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


def slope_in_a_column(x):
    return (2 * x * (1 - torch.tanh(x**2) ** 2))[:, None]


def determinant_as_a_tensor_with_one_entry(a, b, c, d):
    return torch.tensor([a * d - b * c])


def stretch_by_eigenvalues(A):
    return torch.linalg.eigvalsh(A.T @ A)[-1:].sqrt()


def mean_and_error_in_one_tensor(draws):
    return torch.stack([draws.mean(), draws.std() / len(draws) ** 0.5])


def gradient_by_backward(f, x):
    x.requires_grad_()
    f(x).sum().backward()
    return x.grad


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

RIGHT = [
    ("check_slope", slope_in_a_column),
    ("check_determinant", determinant_as_a_tensor_with_one_entry),
    ("check_stretch", stretch_by_eigenvalues),
    ("check_mean_and_error", mean_and_error_in_one_tensor),
    ("check_gradient", gradient_by_backward),
]


@pytest.mark.parametrize(("check", "answer", "reason"), WRONG, ids=[answer.__name__ for _, answer, _ in WRONG])
def test_a_typical_wrong_answer_is_refused_with_its_reason(check, answer, reason, verdict):
    sentence = verdict(CHAPTER, check, answer)
    assert sentence.startswith("not yet: ") and reason in sentence


@pytest.mark.parametrize(("check", "answer"), RIGHT, ids=[answer.__name__ for _, answer in RIGHT])
def test_another_right_answer_is_accepted(check, answer, verdict):
    assert verdict(CHAPTER, check, answer).startswith("correct: ")
