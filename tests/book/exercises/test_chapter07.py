"""Typical wrong answers to the exercises of chapter 7."""

import math

import numpy as np
import pytest
import torch

CHAPTER = "chapter07"


def exponents(x):
    angle = torch.arange(8, dtype=x.dtype) * math.pi / 4
    centres = 2.8 * torch.stack([angle.cos(), angle.sin()], 1)
    return -0.5 * (torch.cdist(x, centres) / 0.2) ** 2


def weight_forgotten(x):
    return exponents(x).logsumexp(1) - math.log(2 * math.pi * 0.04)


def constant_of_one_dimension(x):
    return exponents(x).logsumexp(1) - math.log(8) - 0.5 * math.log(2 * math.pi * 0.04)


def constant_forgotten(x):
    return exponents(x).logsumexp(1) - math.log(8)


def mean_of_logarithms(x):
    return exponents(x).mean(1) - math.log(2 * math.pi * 0.04)


def underflowing(x):
    return exponents(x).exp().mean(1).log() - math.log(2 * math.pi * 0.04)


def not_summed(x):
    return exponents(x)


def halving(rounds, wrong_way=False):
    def solve(h, y, low, high):
        for _ in range(rounds):
            middle = (low + high) / 2
            below = (h(middle) < y) ^ wrong_way
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2

    return solve


def newton(h, y, low, high):
    x = torch.zeros_like(y)
    for _ in range(3):
        x = x - (h(x) - y)
    return x


def series(first=2.0, sign=1, harmonic=True, extra=0):
    def truncated(t, d, n):
        before, now, total = torch.full_like(t, first), t, torch.zeros_like(t)
        for k in range(1, n + 1 + extra):
            total = total + sign * (-1) ** (k + 1) * now / (k if harmonic else 1)
            before, now = now, t * now - d * before
        return total

    return truncated


def whole_series(t, d, n):
    return torch.log(1 + t + d)


def unpaired(a, b):
    return (a - b).mean(), 2.776 * ((a.var() + b.var()) / 5) ** 0.5


def standard_error(a, b):
    return (a - b).mean(), (a - b).std() / 5**0.5


def normal_interval(a, b):
    return (a - b).mean(), 1.96 * (a - b).std() / 5**0.5


def not_divided(a, b):
    return (a - b).mean(), 2.776 * (a - b).std()


def wrong_way_round(a, b):
    return (b - a).mean(), 2.776 * (a - b).std() / 5**0.5


def pairs_of_equal_rank(a, b):
    difference = a.sort().values - b.sort().values
    return difference.mean(), 2.776 * difference.std() / len(difference) ** 0.5


def one_number(a, b):
    return (a - b).mean()


WRONG = [
    ("check_eight_gaussians", weight_forgotten, "integrates to 8"),
    ("check_eight_gaussians", constant_of_one_dimension, "constant of one dimension"),
    ("check_eight_gaussians", constant_forgotten, "divided by 2 pi sigma^2"),
    ("check_eight_gaussians", mean_of_logarithms, "averages densities"),
    ("check_eight_gaussians", underflowing, "logsumexp does not"),
    ("check_eight_gaussians", not_summed, "shape (5,), not (5, 8)"),
    ("check_bisection", halving(50, wrong_way=True), "above the middle"),
    ("check_bisection", halving(8), "each round halves"),
    ("check_bisection", halving(22), "a few more rounds"),
    ("check_bisection", newton, "largest error"),
    ("check_trace_series", series(first=1.0), "p_0 = tr(I) = 2"),
    ("check_trace_series", series(sign=-1), "sign"),
    ("check_trace_series", series(harmonic=False), "divided by k"),
    ("check_trace_series", series(extra=-1), "the last one is missing"),
    ("check_trace_series", series(extra=1), "one too many"),
    ("check_trace_series", whole_series, "whole series"),
    ("check_paired", unpaired, "independent runs"),
    ("check_paired", standard_error, "standard error"),
    ("check_paired", normal_interval, "t-distribution"),
    ("check_paired", not_divided, "divide by sqrt(5)"),
    ("check_paired", wrong_way_round, "a minus b"),
    ("check_paired", pairs_of_equal_rank, "whatever the seed"),
    ("check_paired", one_number, "return 2 numbers: difference, half_width"),
]


@pytest.mark.parametrize(("check", "answer", "reason"), WRONG)
def test_a_typical_mistake_is_named(check, answer, reason, verdict):
    said = verdict(CHAPTER, check, answer)
    assert said.startswith("not yet: ") and reason in said


def a_mixture_of_torch(x):
    angle = torch.arange(8, dtype=x.dtype) * math.pi / 4
    normal = torch.distributions.Normal(2.8 * torch.stack([angle.cos(), angle.sin()], 1), 0.2)
    kinds = torch.distributions.Categorical(torch.ones(8))
    each = torch.distributions.Independent(normal, 1)
    return torch.distributions.MixtureSameFamily(kinds, each, validate_args=False).log_prob(x)[:, None]


def bisection_by_hand(h, y, low, high):
    while (high - low).max() > 1e-13:
        middle = (low + high) / 2
        low[h(middle) < y] = middle[h(middle) < y]
        high[h(middle) >= y] = middle[h(middle) >= y]
    return high.numpy()


def by_eigenvalues(t, d, n):
    root = (t.to(torch.complex128) ** 2 / 4 - d).sqrt()
    powers = ((t / 2 + s * root) ** k * (-1) ** (k + 1) / k for s in (1, -1) for k in range(1, n + 1))
    return sum(powers).real


def by_numpy(a, b):
    difference = (a - b).numpy()
    return np.array([difference.mean(), 2.776 * difference.std(ddof=1) / np.sqrt(5)])


def as_a_list(a, b):
    return [(a.mean() - b.mean())[None], 2.776445 * (a - b).std() / math.sqrt(5)]


RIGHT = [
    ("check_eight_gaussians", a_mixture_of_torch),
    ("check_bisection", bisection_by_hand),
    ("check_trace_series", by_eigenvalues),
    ("check_paired", by_numpy),
    ("check_paired", as_a_list),
]


@pytest.mark.parametrize(("check", "answer"), RIGHT, ids=[answer.__name__ for _, answer in RIGHT])
def test_a_right_answer_in_another_form_is_accepted(check, answer, verdict):
    assert verdict(CHAPTER, check, answer).startswith("correct: ")
