"""Typical wrong answers to the exercises of chapter 6."""

import math

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


def product_of_any_chain(norms, orders):
    return math.prod(norms)


def ends_forgotten(norms, orders):
    closes = all(one[1] == two[0] for one, two in zip(orders, orders[1:]))
    return math.prod(norms) if closes else math.inf


def ends_alone(norms, orders):
    return math.prod(norms) if orders[0][0] == orders[-1][1] else math.inf


def sum_of_norms(norms, orders):
    return sum(norms)


WRONG = [
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
