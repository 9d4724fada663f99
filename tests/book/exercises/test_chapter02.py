"""Typical wrong answers to the exercises of chapter 2."""

import math

import pytest
import torch

CHAPTER = "chapter02"


def without_the_sum(L, d, eps):
    return max(0, math.ceil(math.log(eps / d) / math.log(L)))


def rounded_down(L, d, eps):
    return max(0, math.floor(math.log(eps * (1 - L) / d) / math.log(L)))


def not_an_integer(L, d, eps):
    return math.log(eps * (1 - L) / d) / math.log(L)


def negative_rounds(L, d, eps):
    return math.ceil(math.log(eps * (1 - L) / d) / math.log(L))


def square_of_the_norm(matvec, rmatvec, v, rounds):
    for _ in range(rounds):
        v = v / v.norm()
        v = rmatvec(matvec(v))
    return v.norm()


def never_normalised(matvec, rmatvec, v, rounds):
    for _ in range(rounds):
        v = rmatvec(matvec(v))
    return matvec(v).norm() / v.norm()


def not_iterated(matvec, rmatvec, v, rounds):
    return matvec(v).norm() / v.norm()


def vector_of_power_iteration(matvec, rmatvec, v, rounds):
    for _ in range(rounds):
        v = rmatvec(matvec(v))
        v = v / v.norm()
    return matvec(v)


def too_few_rounds(matvec, rmatvec, v, rounds):
    for _ in range(3):
        v = rmatvec(matvec(v))
    return matvec(v).norm() / v.norm()


def start_taken_for_a_unit_vector(matvec, rmatvec, v, rounds):
    return vector_of_power_iteration(matvec, rmatvec, v, rounds).norm()


def norm_of_the_product(weights):
    return torch.linalg.matrix_norm(torch.linalg.multi_dot(weights[::-1]), 2)


def sum_of_norms(weights):
    return sum(torch.linalg.matrix_norm(w, 2) for w in weights)


def largest_norm(weights):
    return max(torch.linalg.matrix_norm(w, 2) for w in weights)


def frobenius(weights):
    return math.prod(float(w.norm()) for w in weights)


def not_damped(g, y, alpha, rounds):
    x = y
    for _ in range(rounds):
        x = y - g(x)
    return x


def damped_function_only(g, y, alpha, rounds):
    x = y
    for _ in range(rounds):
        x = y - alpha * g(x)
    return x


def start_at_zero(g, y, alpha, rounds):
    x = torch.zeros_like(y)
    for _ in range(rounds):
        x = x + alpha * (y - g(x) - x)
    return x


WRONG = [
    ("check_rounds", without_the_sum, "1 / (1 - L)"),
    ("check_rounds", rounded_down, "round up"),
    ("check_rounds", not_an_integer, "integer"),
    ("check_rounds", negative_rounds, "0 rounds"),
    ("check_spectral_norm", square_of_the_norm, "square"),
    ("check_spectral_norm", never_normalised, "overflowed"),
    ("check_spectral_norm", not_iterated, "iterate"),
    ("check_spectral_norm", vector_of_power_iteration, "vector"),
    ("check_spectral_norm", too_few_rounds, "expected"),
    ("check_spectral_norm", start_taken_for_a_unit_vector, "with 0 rounds"),
    ("check_lipschitz_bound", norm_of_the_product, "without tanh"),
    ("check_lipschitz_bound", sum_of_norms, "multiply"),
    ("check_lipschitz_bound", largest_norm, "one layer"),
    ("check_lipschitz_bound", frobenius, "larger than needed"),
    ("check_damped", not_damped, "runs away"),
    ("check_damped", damped_function_only, "another equation"),
    ("check_damped", start_at_zero, "after one round"),
]


@pytest.mark.parametrize(("check", "answer", "reason"), WRONG, ids=[answer.__name__ for _, answer, _ in WRONG])
def test_a_typical_wrong_answer_is_refused_with_its_reason(check, answer, reason, verdict):
    sentence = verdict(CHAPTER, check, answer)
    assert sentence.startswith("not yet: ") and reason in sentence
