"""Typical wrong answers to the exercises of chapter 3."""

import math

import pytest
import torch

CHAPTER = "chapter03"


def transposed(pull, D):
    return torch.stack([pull(e) for e in torch.eye(D)], 1)


def one_row(pull, D):
    return pull(torch.eye(D)[0])


def products_twice(pull, D):
    return torch.stack([pull(e) + 0 * pull(e) for e in torch.eye(D)])


def first_term_only(L, tolerance):
    n = 0
    while L ** (n + 1) / (n + 1) > tolerance:
        n += 1
    return n


def one_too_many(L, tolerance):
    n, rest = 0, -math.log(1 - L)
    while rest > tolerance:
        n += 1
        rest -= L**n / n
    return n + 1


def geometric_bound(L, tolerance):
    n = 0
    while L ** (n + 1) / (n + 1) / (1 - L) > tolerance:
        n += 1
    return n


def real_number_of_terms(L, tolerance):
    return math.log(tolerance) / math.log(L)


def truth_minus_claim(lam, n):
    return (-lam) ** n / (1 + lam)


def slope_of_the_series(lam, n):
    return sum((-lam) ** (k - 1) for k in range(1, n + 1))


def slope_of_the_truth(lam, n):
    return 1 / (1 + lam)


def one_power_too_many(lam, n):
    return -((-lam) ** (n + 1)) / (1 + lam)


def only_the_first(lam, n):
    return (-((-lam) ** n) / (1 + lam))[0]


def logarithm(reported, bound):
    return reported - bound


def upside_down(reported, bound):
    return math.exp(bound - reported)


def of_the_report_alone(reported, bound):
    return math.exp(reported)


WRONG = [
    ("check_jacobian_from_products", transposed, "J transposed"),
    ("check_jacobian_from_products", one_row, "shape (3, 3)"),
    ("check_jacobian_from_products", products_twice, "with 6 products"),
    ("check_terms_needed", first_term_only, "FIRST dropped term"),
    ("check_terms_needed", one_too_many, "one term fewer"),
    ("check_terms_needed", geometric_bound, "is enough"),
    ("check_terms_needed", real_number_of_terms, "whole number"),
    ("check_bias_slope", truth_minus_claim, "sign"),
    ("check_bias_slope", slope_of_the_series, "subtract the slope of the truth"),
    ("check_bias_slope", slope_of_the_truth, "the slope is"),
    ("check_bias_slope", one_power_too_many, "one power too many"),
    ("check_bias_slope", only_the_first, "shape (7,)"),
    ("check_least_mass", logarithm, "logarithm"),
    ("check_least_mass", upside_down, "upside down"),
    ("check_least_mass", of_the_report_alone, "needs a mass"),
]


@pytest.mark.parametrize(("check", "answer", "reason"), WRONG, ids=[answer.__name__ for _, answer, _ in WRONG])
def test_a_typical_wrong_answer_is_refused_with_its_reason(check, answer, reason, verdict):
    sentence = verdict(CHAPTER, check, answer)
    assert sentence.startswith("not yet: ") and reason in sentence
