"""Typical wrong answers to the exercises of chapter 4."""

import pytest
import torch

CHAPTER = "chapter04"


def uniform(n, generator):
    return 1 - torch.rand(n, generator=generator, dtype=torch.float64)


def square_forgotten(n, generator):
    return (1 / uniform(n, generator) - 1).floor().long()


def starts_at_one(n, generator):
    return (uniform(n, generator) ** -0.5).floor().long()


def not_whole(n, generator):
    return uniform(n, generator) ** -0.5 - 1


def rounded(n, generator):
    return (uniform(n, generator) ** -0.5 - 1).round().long()


def own_randomness(n, generator):
    return ((1 - torch.rand(n, dtype=torch.float64)) ** -0.5 - 1).floor().long()


def divides_by_zero(n, generator):
    u = uniform(n, generator)
    u[0] = 0
    return (u**-0.5 - 1).floor().long()


def one_draw(n, generator):
    return (uniform(1, generator) ** -0.5 - 1).floor().long()


def matched_price(rho):
    return rho / (1 - rho)


def price_from_one(rho):
    return 1 / (1 - rho**2)


def smallest_p(rho):
    return 1 - rho**2


def samples_as_draws(values):
    return values.std() / values.numel() ** 0.5


def error_of_one_batch(values):
    return values.mean(1).std()


def wrong_axis(values):
    return values.mean(0).std() / values.shape[1] ** 0.5


WRONG = [
    ("check_heavy_tail", square_forgotten, "the square is missing"),
    ("check_heavy_tail", starts_at_one, "starts at 1"),
    ("check_heavy_tail", not_whole, "int64"),
    ("check_heavy_tail", rounded, "P(N >= 1) should be 0.2500"),
    ("check_heavy_tail", own_randomness, "from the generator"),
    ("check_heavy_tail", divides_by_zero, "negative N"),
    ("check_heavy_tail", one_draw, "shape (100000,)"),
    ("check_price", matched_price, "price of q = rho"),
    ("check_price", price_from_one, "starts at 0"),
    ("check_price", smallest_p, "that is p"),
    ("check_batch_error", samples_as_draws, "are not 6400"),
    ("check_batch_error", error_of_one_batch, "error of one batch"),
    ("check_batch_error", wrong_axis, "not over batches"),
]


@pytest.mark.parametrize(("check", "answer", "reason"), WRONG, ids=[answer.__name__ for _, answer, _ in WRONG])
def test_a_typical_wrong_answer_is_refused_with_its_reason(check, answer, reason, verdict):
    sentence = verdict(CHAPTER, check, answer)
    assert sentence.startswith("not yet: ") and reason in sentence
