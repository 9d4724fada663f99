"""Typical wrong answers to the exercises of chapter 5."""

import pytest
import torch
from torch.autograd import grad

CHAPTER = "chapter05"


def inverse_not_transposed(J):
    return torch.linalg.inv(torch.eye(len(J), dtype=J.dtype) + J)


def without_identity(J):
    return torch.linalg.inv(J).T


def trace_of_the_inverse(J):
    return torch.linalg.inv(torch.eye(len(J), dtype=J.dtype) + J).trace()


def powers(pull_back, v, n):
    found = [v]
    for _ in range(n - 1):
        found.append(pull_back(found[-1]))
    return found


def u_without_signs(pull_back, v, c):
    return sum(c_k * w for c_k, w in zip(c, powers(pull_back, v, len(c))))


def u_one_power_too_many(pull_back, v, c):
    return sum((-1) ** k * c_k * pull_back(w) for k, (c_k, w) in enumerate(zip(c, powers(pull_back, v, len(c)))))


def u_without_weights(pull_back, v, c):
    return sum((-1) ** k * w for k, w in enumerate(powers(pull_back, v, len(c))))


def u_with_a_product_too_many(pull_back, v, c):
    return sum((-1) ** k * c_k * w for k, (c_k, w) in enumerate(zip(c, powers(pull_back, v, len(c) + 1))))


def surrogate(d, c):
    return sum((-1) ** k * c_k * d_k for k, (d_k, c_k) in enumerate(zip(d, c)))


def truncated(d, c):
    return sum((-1) ** k * d_k / (k + 1) for k, d_k in enumerate(d))


def wrong_sign(d, c):
    return sum((-1) ** k * c_k * d_k / k for k, (d_k, c_k) in enumerate(zip(d, c), 1))


def products(g, x, u, v):
    (pulled,) = grad(g(x), x, u, create_graph=True)
    return (pulled * v).sum(1)


def first_weight_for_all(g, x, u, v, weights):
    return weights[0] * products(g, x, u, v).sum()


def mean_weight_for_all(g, x, u, v, weights):
    return weights.mean() * products(g, x, u, v).sum()


def weights_forgotten(g, x, u, v, weights):
    return products(g, x, u, v).sum()


def u_and_v_swapped(g, x, u, v, weights):
    return (weights * products(g, x, v, u)).sum()


def not_summed(g, x, u, v, weights):
    return weights * products(g, x, u, v)


def without_a_graph(g, x, u, v, weights):
    (pulled,) = grad(g(x), x, u)
    return (weights * (pulled * v).sum(1)).sum()


WRONG = [
    ("check_log_det_gradient", inverse_not_transposed, "compare the derivative by J[0, 1]"),
    ("check_log_det_gradient", without_identity, "the identity is missing"),
    ("check_log_det_gradient", trace_of_the_inverse, "shape (3, 3)"),
    ("check_neumann_vector", u_without_signs, "signs should alternate"),
    ("check_neumann_vector", u_one_power_too_many, "one power of J too many"),
    ("check_neumann_vector", u_without_weights, "weights c_k are missing"),
    ("check_neumann_vector", u_with_a_product_too_many, "4 products where 3 are enough"),
    ("check_number_to_log", surrogate, "the 1/k is missing"),
    ("check_number_to_log", truncated, "biased"),
    ("check_number_to_log", wrong_sign, "sign is wrong"),
    ("check_weighted_surrogate", first_weight_for_all, "first sample's weight"),
    ("check_weighted_surrogate", mean_weight_for_all, "mean weight"),
    ("check_weighted_surrogate", weights_forgotten, "weights are missing"),
    ("check_weighted_surrogate", u_and_v_swapped, "changed places"),
    ("check_weighted_surrogate", not_summed, "sum over the samples"),
    ("check_weighted_surrogate", without_a_graph, "create_graph=True"),
]


@pytest.mark.parametrize(("check", "answer", "reason"), WRONG, ids=[answer.__name__ for _, answer, _ in WRONG])
def test_a_typical_wrong_answer_is_refused_with_its_reason(check, answer, reason, verdict):
    sentence = verdict(CHAPTER, check, answer)
    assert sentence.startswith("not yet: ") and reason in sentence
