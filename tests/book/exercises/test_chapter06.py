"""Typical wrong answers to the exercises of chapters 6 and 6b, and right ones in other forms."""

import math

import numpy as np
import pytest
import torch

CHAPTER = "chapter06"


def density(z):
    return torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def value_for_slope(z):
    return z * torch.special.ndtr(z), (2 - z * z) * density(z)


def half_of_the_product_rule(z):
    return torch.special.ndtr(z), (2 - z * z) * density(z)


def curvature_without_second_part(z):
    return torch.special.ndtr(z) + z * density(z), 2 * density(z)


def wrong_curvature(z):
    return torch.special.ndtr(z) + z * density(z), (1 - z * z) * density(z)


def only_the_slope(z):
    return torch.special.ndtr(z) + z * density(z)


def rows_for_columns(A, p, q):
    return torch.linalg.vector_norm(A, q if p == 1 else 1.0 if p == math.inf else p / (p - 1), dim=1).max()


def order_not_dual(A, p, q):
    return torch.linalg.vector_norm(A, q, dim=0).max() if p == 1 else torch.linalg.vector_norm(A, p, dim=1).max()


def norms_of_all_columns(A, p, q):
    return torch.linalg.vector_norm(A, q, dim=0)


def not_rounded(h, c):
    return math.log(1 - c) / math.log(1 - h)


def rounded_down(h, c):
    return math.floor(math.log(1 - c) / math.log(1 - h))


def rates_added(h, c):
    return math.ceil(c / h)


def chances_swapped(h, c):
    return math.ceil(math.log(1 - h) / math.log(1 - c)) + 7


def logarithms_exchanged(h, c):
    return 1 + math.ceil(math.log(1 - h) / math.log(1 - c))


def product_of_any_chain(norms, orders):
    return math.prod(norms)


def ends_forgotten(norms, orders):
    closes = all(one[1] == two[0] for one, two in zip(orders, orders[1:]))
    return math.prod(norms) if closes else math.inf


def ends_alone(norms, orders):
    return math.prod(norms) if orders[0][0] == orders[-1][1] else math.inf


def sum_of_norms(norms, orders):
    return sum(norms)


def inner_derivative_missing(z, s):
    gate = torch.sigmoid(s * z)
    return (gate + z * gate * (1 - gate)) / 1.1


def not_divided(z, s):
    gate = torch.sigmoid(s * z)
    return gate + s * z * gate * (1 - gate)


def factor_outside(z, s):
    return s * not_divided(z, s) / 1.1


def only_the_gate(z, s):
    return torch.sigmoid(s * z) / 1.1


def value_of_lipswish(z, s):
    return z * torch.sigmoid(s * z) / 1.1


def with_its_sign(delta):
    return -2 * math.sqrt(delta) * (1 - delta)


def by_taylor(delta):
    return 2 * math.sqrt(delta)


def delta_for_its_root(delta):
    return 2 * delta * (1 - delta)


def factor_two_missing(delta):
    return math.sqrt(delta) * (1 - delta)


def delta_for_z(delta):
    return 2 * math.tanh(delta) * (1 - math.tanh(delta) ** 2)


def dual(y, order):
    v = y.sign() * y.abs() ** (1 / (order - 1))
    return v / torch.linalg.vector_norm(v, order)


def star(order):
    return order / (order - 1)


def euclidean_round(A, v, p, q):
    w = A.T @ A @ v
    return w / torch.linalg.vector_norm(w, p)


def order_not_its_dual(A, v, p, q):
    return dual(A.T @ dual(A @ v, q), p)


def domain_dual(A, v, p, q):
    return dual(A.T @ dual(A @ v, star(q)), star(p))


def half_a_round(A, v, p, q):
    return A.T @ dual(A @ v, star(q))


def not_normalised(A, v, p, q):
    y = A.T @ dual(A @ v, star(q))
    return y.sign() * y.abs() ** (1 / (p - 1))


WRONG = [
    ("check_lipswish_slope", inner_derivative_missing, "inner derivative"),
    ("check_lipswish_slope", not_divided, "division by 1.1"),
    ("check_lipswish_slope", factor_outside, "second part only"),
    ("check_lipswish_slope", only_the_gate, "product rule"),
    ("check_lipswish_slope", value_of_lipswish, "the value, not its slope"),
    ("check_tanh_curvature", with_its_sign, "without the sign"),
    ("check_tanh_curvature", by_taylor, "Taylor's"),
    ("check_tanh_curvature", delta_for_its_root, "tanh^2 = delta"),
    ("check_tanh_curvature", factor_two_missing, "a factor 2"),
    ("check_tanh_curvature", delta_for_z, "delta is no z"),
    ("check_iterate_once", euclidean_round, "of 2 to 2"),
    ("check_iterate_once", order_not_its_dual, "in the dual norm, q*"),
    ("check_iterate_once", domain_dual, "not in the dual norm"),
    ("check_iterate_once", half_a_round, "second dual vector is missing"),
    ("check_iterate_once", not_normalised, "the direction is right"),
    ("check_gelu_derivatives", value_for_slope, "the first is the value"),
    ("check_gelu_derivatives", half_of_the_product_rule, "half of its slope"),
    ("check_gelu_derivatives", curvature_without_second_part, "has a second part"),
    ("check_gelu_derivatives", wrong_curvature, "the curvature is not"),
    ("check_gelu_derivatives", only_the_slope, "two tensors"),
    ("check_closed_form", rows_for_columns, "corners are columns"),
    ("check_closed_form", order_not_dual, "the dual one"),
    ("check_closed_form", norms_of_all_columns, "one number"),
    ("check_restarts", not_rounded, "round up to an integer"),
    ("check_restarts", rounded_down, "not enough"),
    ("check_restarts", rates_added, "failures multiply"),
    ("check_restarts", chances_swapped, "expected"),
    ("check_restarts", logarithms_exchanged, "are exchanged"),
    ("check_chain_bound", product_of_any_chain, "bounds nothing"),
    ("check_chain_bound", ends_forgotten, "the last codomain is not the first domain"),
    ("check_chain_bound", sum_of_norms, "multiply"),
]


@pytest.mark.parametrize(("check", "answer", "reason"), WRONG, ids=[answer.__name__ for _, answer, _ in WRONG])
def test_a_typical_wrong_answer_is_refused_with_its_reason(check, answer, reason, verdict):
    sentence = verdict(CHAPTER, check, answer)
    assert sentence.startswith("not yet: ") and reason in sentence


def test_looking_at_the_ends_of_a_chain_alone_is_refused(verdict):
    # an answer that is right for every chain of two layers whose ends meet
    assert verdict(CHAPTER, "check_chain_bound", ends_alone).startswith("not yet: ")


def gelu_by_autograd(z):
    z = z.requires_grad_()
    (slope,) = torch.autograd.grad((z * torch.special.ndtr(z)).sum(), z, create_graph=True)
    return [slope, torch.autograd.grad(slope.sum(), z)[0]]


def slope_by_the_product_of_t(z, s):
    t = (s * z).numpy()
    gate = 1 / (1 + np.exp(-t))
    return (gate + t * gate * (1 - gate)) / 1.1


def curvature_by_inverse(delta):
    z = torch.atanh(torch.tensor(delta, dtype=torch.float64).sqrt())
    return (2 * z.tanh() / z.cosh() ** 2)[None]


def restarts_by_counting(h, c):
    starts, failed = 0, 1.0
    while 1 - failed < c:
        starts, failed = starts + 1, failed * (1 - h)
    return torch.tensor(starts)


def round_by_powers(A, v, p, q):
    y = A @ v
    w = A.T @ (y.sign() * y.abs() ** (q - 1))
    u = w.sign() * w.abs() ** (star(p) - 1)
    return u / u.abs().pow(p).sum() ** (1 / p)


def bound_by_a_loop(norms, orders):
    bound, where = np.float64(1.0), orders[-1][1]
    for norm, (domain, codomain) in zip(norms, orders):
        bound, where = bound * (norm if domain == where else math.inf), codomain
    return bound


RIGHT = [
    ("check_gelu_derivatives", gelu_by_autograd),
    ("check_lipswish_slope", slope_by_the_product_of_t),
    ("check_tanh_curvature", curvature_by_inverse),
    ("check_restarts", restarts_by_counting),
    ("check_iterate_once", round_by_powers),
    ("check_chain_bound", bound_by_a_loop),
]


@pytest.mark.parametrize(("check", "answer"), RIGHT, ids=[answer.__name__ for _, answer in RIGHT])
def test_a_right_answer_in_another_form_is_accepted(check, answer, verdict):
    assert verdict(CHAPTER, check, answer).startswith("correct: ")
