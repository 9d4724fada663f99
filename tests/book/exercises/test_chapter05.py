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


def gradient_by_autograd(J):
    J.requires_grad_()
    return grad(torch.linalg.slogdet(torch.eye(3) + J)[1], J)[0]


def u_with_the_k_kept(pull_back, v, c):
    return sum((-1) ** k * c_k * w / (k + 1) for k, (c_k, w) in enumerate(zip(c, powers(pull_back, v, len(c)))))


def u_by_horner(pull_back, v, c):
    u = c[-1] * v
    for c_k in c[-2::-1]:
        u = c_k * v - pull_back(u)
    return u


def u_in_place(pull_back, v, c):
    w, u = v.clone(), v
    u *= c[0]
    for k, c_k in enumerate(c[1:], 1):
        w = pull_back(w)
        u += (-1) ** k * c_k * w
    return u


def logged_as_a_tensor(d, c):
    return torch.tensor([wrong_sign(d, c) * -1])


def surrogate_of_one_entry(g, x, u, v, weights):
    return (weights * products(g, x, u, v)).sum(0, keepdim=True)


def estimate_with(value_has_graph, u_has_graph, take="both"):
    def of(g, x, v, c):
        y, w, u, value = g(x), v, 0.0, 0.0
        for k, c_k in enumerate(c, 1):
            u = u + (-1) ** (k - 1) * c_k * w
            (w,) = grad(y, x, w, create_graph=True)
            value = value + c_k * (-1) ** (k + 1) / k * (w * v).sum(1)
        (pulled,) = grad(y, x, u if u_has_graph else u.detach(), create_graph=True)
        surrogate = (pulled * v).sum(1)
        value = value if value_has_graph else value.detach()
        return {"both": value + surrogate - surrogate.detach(), "value": value, "surrogate": surrogate}[take]

    return of


def gradient_twice(g, x, v, c):
    return estimate_with(True, True)(g, x, v, c)


def u_not_constant(g, x, v, c):
    return estimate_with(False, True)(g, x, v, c)


def series_alone(g, x, v, c):
    return estimate_with(True, True, "value")(g, x, v, c)


def surrogate_alone(g, x, v, c):
    return estimate_with(False, False, "surrogate")(g, x, v, c)


def nothing_to_train_with(g, x, v, c):
    return series_alone(g, x, v, c).detach()


def both_detached(g, x, v, c):
    return estimate_with(False, False)(g, x, v, c)[:, None]


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
    ("check_neumann_vector", u_with_the_k_kept, "1/k does not belong"),
    ("check_estimate_with_gradient", gradient_twice, "twice"),
    ("check_estimate_with_gradient", u_not_constant, "a constant"),
    ("check_estimate_with_gradient", series_alone, "backpropagated series"),
    ("check_estimate_with_gradient", surrogate_alone, "not the value"),
    ("check_estimate_with_gradient", nothing_to_train_with, "no graph"),
]

RIGHT = [
    ("check_log_det_gradient", gradient_by_autograd),
    ("check_neumann_vector", u_by_horner),
    ("check_neumann_vector", u_in_place),
    ("check_number_to_log", logged_as_a_tensor),
    ("check_weighted_surrogate", surrogate_of_one_entry),
    ("check_estimate_with_gradient", both_detached),
]


@pytest.mark.parametrize(("check", "answer", "reason"), WRONG, ids=[answer.__name__ for _, answer, _ in WRONG])
def test_a_typical_wrong_answer_is_refused_with_its_reason(check, answer, reason, verdict):
    sentence = verdict(CHAPTER, check, answer)
    assert sentence.startswith("not yet: ") and reason in sentence


@pytest.mark.parametrize(("check", "answer"), RIGHT, ids=[answer.__name__ for _, answer in RIGHT])
def test_another_right_answer_is_accepted(check, answer, verdict):
    assert verdict(CHAPTER, check, answer).startswith("correct: ")
