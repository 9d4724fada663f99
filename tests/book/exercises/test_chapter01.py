"""Typical wrong answers to the exercises of chapter 1."""

import math

import numpy as np
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


def log_density_in_a_column(x):
    z = x[:, None].log()
    return -0.5 * z**2 + CONSTANT - z


def log_density_of_numpy(x):
    return -0.5 * np.log(x.numpy()) ** 2 + CONSTANT - np.log(x.numpy())


def sign_and_log(f, x):
    return tuple(torch.linalg.slogdet(torch.func.vmap(torch.func.jacrev(f))(x)))


def row_by_row(f, x):
    return [torch.linalg.det(torch.autograd.functional.jacobian(f, row)).abs().log() for row in x]


def polar_in_a_column(r, theta):
    return (-0.5 * r**2 - math.log(2 * math.pi) + r.log())[:, None]


def in_place(log_prob, n):
    log_prob += n * math.log(100)
    return log_prob


def way_back(layers, z, sign=1, order=-1, base=None, late=False):
    x, log_det = z, 0
    for layer in layers[::order]:
        at_output = layer(x)[1]
        x = layer.inverse(x)
        log_det = log_det + (at_output if late else layer(x)[1])
    base = x if base == "x" else z
    return x, -0.5 * base.square().sum(1) - math.log(2 * math.pi) + sign * log_det


def way_back_with_the_inverse_s_sign(layers, z):
    return way_back(layers, z, sign=-1)


def way_back_in_the_order_of_the_way_there(layers, z):
    return way_back(layers, z, order=1)


def way_back_with_the_base_at_x(layers, z):
    return way_back(layers, z, base="x")


def way_back_with_log_dets_at_outputs(layers, z):
    return way_back(layers, z, late=True)


def way_back_without_log_det(layers, z):
    return way_back(layers, z, sign=0)


def way_back_and_there_again(layers, z):
    x, log_det = z, 0
    for layer in layers[::-1]:
        x = layer.inverse(x)
    h = x
    for layer in layers:
        h, more = layer(h)
        log_det = log_det + more
    return x, (-0.5 * h.square().sum(1) - math.log(2 * math.pi) + log_det)[:, None]


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
    ("check_log_abs_det", sign_and_log, "slogdet"),
    ("check_way_back", way_back_with_the_inverse_s_sign, "twice the log-determinant"),
    ("check_way_back", way_back_in_the_order_of_the_way_there, "wrong order"),
    ("check_way_back", way_back_with_the_base_at_x, "at z"),
    ("check_way_back", way_back_with_log_dets_at_outputs, "belongs to its input"),
    ("check_way_back", way_back_without_log_det, "missing"),
]

RIGHT = [
    ("check_log_normal", log_density_in_a_column),
    ("check_log_normal", log_density_of_numpy),
    ("check_log_abs_det", row_by_row),
    ("check_polar", polar_in_a_column),
    ("check_units", in_place),
    ("check_way_back", way_back),
    ("check_way_back", way_back_and_there_again),
]


@pytest.mark.parametrize(("check", "answer", "reason"), WRONG, ids=[answer.__name__ for _, answer, _ in WRONG])
def test_a_typical_wrong_answer_is_refused_with_its_reason(check, answer, reason, verdict):
    sentence = verdict(CHAPTER, check, answer)
    assert sentence.startswith("not yet: ") and reason in sentence


@pytest.mark.parametrize(("check", "answer"), RIGHT, ids=[answer.__name__ for _, answer in RIGHT])
def test_another_right_answer_is_accepted(check, answer, verdict):
    assert verdict(CHAPTER, check, answer).startswith("correct: ")
