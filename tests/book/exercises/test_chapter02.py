"""Typical wrong answers to the exercises of chapter 2."""

import math

import numpy as np
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


def damped_in_place_into_y(g, y, alpha, rounds):
    x = y
    for _ in range(rounds):
        x += alpha * (y - g(x) - x)
    return x


def damped_away_from_the_solution(g, y, alpha, rounds):
    x = y
    for _ in range(rounds):
        x = x + alpha * (x + g(x) - y)
    return x


def damped_in_place(g, y, alpha, rounds):
    x = y.clone()
    for _ in range(rounds):
        x += alpha * (y - g(x) - x)
    return x


def damped_with_the_residual_of_f(g, y, alpha, rounds):
    x = y
    for _ in range(rounds):
        x = x - alpha * (x + g(x) - y)
    return x[None]


def rounds_of_numpy(L, d, eps):
    return np.ceil(max(0.0, np.log(eps * (1 - L) / d) / np.log(L)))


def rounds_by_counting(L, d, eps):
    n = torch.tensor(0)
    while L**n / (1 - L) * d > eps:
        n += 1
    return n


def norm_normalised_in_place(matvec, rmatvec, v, rounds):
    v /= v.norm()
    for _ in range(rounds):
        v = rmatvec(matvec(v))
        v /= v.norm()
    return matvec(v).norm()


def norm_of_the_last_product(matvec, rmatvec, v, rounds):
    v = v / v.norm()
    for _ in range(rounds):
        v = rmatvec(matvec(v))
        square = v.norm()
        v = v / square
    return square.sqrt()


def norm_of_its_own_number_of_rounds(matvec, rmatvec, v, rounds):
    return norm_normalised_in_place(matvec, rmatvec, v, 500)


def rounds_that_are_no_number(L, d, eps):
    return float("nan")


def bound_of_svd(weights):
    return torch.stack([torch.linalg.svdvals(w)[:1] for w in weights]).prod(0)


def stopping(enough, keep_new=True):
    def inverse(g, y, L, tol):
        x = y
        while True:
            new = y - g(x)
            if enough(new - x, L, tol):
                return new if keep_new else x
            x = new

    return inverse


def inverse_with_squared_steps(g, y, L, tol):
    return stopping(lambda step, L, tol: step.square().sum(1).max() <= tol)(g, y, L, tol)


def inverse_with_short_steps(g, y, L, tol):
    return stopping(lambda step, L, tol: step.norm(dim=1).max() <= tol, keep_new=False)(g, y, L, tol)


def inverse_of_the_first_row(g, y, L, tol):
    return stopping(lambda step, L, tol: step[0].norm() <= tol * (1 - L))(g, y, L, tol)


def inverse_that_never_stops(g, y, L, tol):
    return stopping(lambda step, L, tol: step.norm() < 0)(g, y, L, tol)


def inverse_by_the_residual(g, y, L, tol):
    return stopping(lambda step, L, tol: step.norm() <= tol * (1 - L), keep_new=False)(g, y, L, tol)


def inverse_by_the_a_priori_bound(g, y, L, tol):
    x, n = y, math.ceil(math.log(tol * (1 - L) / float(g(y).norm())) / math.log(L))
    for _ in range(n):
        x = y - g(x)
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
    ("check_rounds", rounds_that_are_no_number, "whole number"),
    ("check_damped", damped_in_place_into_y, "writes into both"),
    ("check_damped", damped_away_from_the_solution, "sign is wrong"),
    ("check_spectral_norm", norm_of_its_own_number_of_rounds, "not used"),
    ("check_inverse", inverse_with_squared_steps, "not squares"),
    ("check_inverse", inverse_with_short_steps, "more would follow"),
    ("check_inverse", inverse_of_the_first_row, "all must be"),
    ("check_inverse", inverse_that_never_stops, "has not stopped"),
]

RIGHT = [
    ("check_rounds", rounds_of_numpy),
    ("check_rounds", rounds_by_counting),
    ("check_spectral_norm", norm_normalised_in_place),
    ("check_spectral_norm", norm_of_the_last_product),
    ("check_lipschitz_bound", bound_of_svd),
    ("check_damped", damped_in_place),
    ("check_damped", damped_with_the_residual_of_f),
    ("check_inverse", inverse_by_the_residual),
    ("check_inverse", inverse_by_the_a_priori_bound),
]


@pytest.mark.parametrize(("check", "answer", "reason"), WRONG, ids=[answer.__name__ for _, answer, _ in WRONG])
def test_a_typical_wrong_answer_is_refused_with_its_reason(check, answer, reason, verdict):
    sentence = verdict(CHAPTER, check, answer)
    assert sentence.startswith("not yet: ") and reason in sentence


@pytest.mark.parametrize(("check", "answer"), RIGHT, ids=[answer.__name__ for _, answer in RIGHT])
def test_another_right_answer_is_accepted(check, answer, verdict):
    assert verdict(CHAPTER, check, answer).startswith("correct: ")
