"""Typical wrong answers to the exercises of chapter 1."""

import math

import pytest
import torch

CHAPTER = "chapter01"
CONSTANT = -0.5 * math.log(2 * math.pi)


def base_alone(x):
    return -0.5 * x.log() ** 2 + CONSTANT


def slope_of_the_other_map(x):
    return base_alone(x) + x.log()


def normal_at_x(x):
    return -0.5 * x**2 + CONSTANT - x.log()


def density_itself(x):
    return (base_alone(x) - x.log()).exp()


def without_constant(x):
    return -0.5 * x.log() ** 2 - x.log()


def diagonal_only(f, x):
    jacobians = torch.func.vmap(torch.func.jacrev(f))(x)
    return jacobians.diagonal(dim1=1, dim2=2).abs().log().sum(1)


def log_of_signed_det(f, x):
    return torch.linalg.det(torch.func.vmap(torch.func.jacrev(f))(x)).log()


def absolute_det(f, x):
    return torch.linalg.det(torch.func.vmap(torch.func.jacrev(f))(x)).abs()


def of_the_inverse(f, x):
    return -torch.linalg.slogdet(torch.func.vmap(torch.func.jacrev(f))(x)).logabsdet


def one_for_the_batch(f, x):
    return of_the_inverse(f, x).sum()


def density_of_x(r, theta):
    return -0.5 * r**2 - math.log(2 * math.pi)


def divided_by_r(r, theta):
    return density_of_x(r, theta) - r.log()


def radius_without_constant(r, theta):
    return -0.5 * r**2 + r.log()


def constant_of_one_dimension(r, theta):
    return -0.5 * r**2 + CONSTANT + r.log()


def one_coordinate(log_prob, n):
    return log_prob + math.log(100)


def the_other_way(log_prob, n):
    return log_prob - n * math.log(100)


def factor_of_ten(log_prob, n):
    return log_prob + n * math.log(10)


WRONG = [
    ("check_log_normal", base_alone, "the first term alone"),
    ("check_log_normal", slope_of_the_other_map, "sign"),
    ("check_log_normal", normal_at_x, "at z = log x"),
    ("check_log_normal", density_itself, "logarithm"),
    ("check_log_normal", without_constant, "constant"),
    ("check_log_abs_det", diagonal_only, "triangular"),
    ("check_log_abs_det", log_of_signed_det, "negative"),
    ("check_log_abs_det", absolute_det, "logarithm"),
    ("check_log_abs_det", of_the_inverse, "inverse"),
    ("check_log_abs_det", one_for_the_batch, "shape (2,)"),
    ("check_polar", density_of_x, "r dr dtheta"),
    ("check_polar", divided_by_r, "sign"),
    ("check_polar", radius_without_constant, "constant"),
    ("check_polar", constant_of_one_dimension, "counts twice"),
    ("check_units", one_coordinate, "each of the D"),
    ("check_units", the_other_way, "the other way"),
    ("check_units", factor_of_ten, "expected"),
]


@pytest.mark.parametrize(("check", "answer", "reason"), WRONG, ids=[answer.__name__ for _, answer, _ in WRONG])
def test_a_typical_wrong_answer_is_refused_with_its_reason(check, answer, reason, verdict):
    sentence = verdict(CHAPTER, check, answer)
    assert sentence.startswith("not yet: ") and reason in sentence
