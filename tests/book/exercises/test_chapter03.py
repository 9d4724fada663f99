"""Typical wrong answers to the exercises of chapter 3."""

import math

import numpy as np
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


def vmapped_identity(pull, D):
    return torch.func.vmap(pull)(torch.eye(D))


def product_with_the_identity_turned(pull, D):
    return pull(torch.eye(D)).T


def columns_turned(pull, D):
    return torch.stack([pull(e) for e in torch.eye(D, dtype=torch.float64)], 1).T


def jacobian_of_numpy(pull, D):
    return np.stack([pull(e).numpy() for e in torch.eye(D)])


def rows_in_a_list(pull, D):
    return [pull(e) for e in torch.eye(D)]


def terms(L, tolerance):
    n, rest = 0, -math.log(1 - L)
    while rest > tolerance:
        n += 1
        rest -= L**n / n
    return n


def terms_of_numpy(L, tolerance):
    return np.int64(terms(L, tolerance))


def terms_of_torch(L, tolerance):
    return torch.tensor(terms(L, tolerance))


def terms_as_a_float(L, tolerance):
    return float(terms(L, tolerance))


def slope_by_autograd(lam, n):
    lam.requires_grad_()
    b = sum((-1) ** (k + 1) / k * lam**k for k in range(1, n + 1)) - torch.log(1 + lam)
    return torch.autograd.grad(b.sum(), lam)[0][:, None]


def mass_as_a_tensor(reported, bound):
    return torch.tensor([reported - bound]).exp()


def estimate(g, x, n, v, factor=None):
    _, pull = torch.func.vjp(g, x)
    w, value = v, 0.0
    for k in range(1, n + 1):
        (w,) = pull(w)
        value = value + (-1) ** (k + 1) / k * (w * (v if factor is None else factor)).sum(1)
    return value


def uniform_probes(g, x, n, generator):
    return estimate(g, x, n, 2 * torch.rand(x.shape, generator=generator, dtype=x.dtype) - 1)


def positive_probes(g, x, n, generator):
    return estimate(g, x, n, torch.rand(x.shape, generator=generator, dtype=x.dtype))


def one_probe_for_all(g, x, n, generator):
    v = torch.randn(x.shape[1], generator=generator, dtype=x.dtype)
    return estimate(g, x, n, v.expand(x.shape))


def a_second_probe(g, x, n, generator):
    v, factor = (torch.randn(x.shape, generator=generator, dtype=x.dtype) for _ in range(2))
    return estimate(g, x, n, v, factor)


def wide_uniform_probes(g, x, n, generator):
    return estimate(g, x, n, 3**0.5 * (2 * torch.rand(x.shape, generator=generator, dtype=x.dtype) - 1))


def gaussian_probes(g, x, n, generator):
    return estimate(g, x, n, torch.randn(x.shape, generator=generator, dtype=x.dtype))


def probes_on_a_sphere(g, x, n, generator):
    v = torch.randn(x.shape, generator=generator, dtype=x.dtype)
    return estimate(g, x, n, v / v.norm(dim=1, keepdim=True) * x.shape[1] ** 0.5)


WRONG = [
    ("check_jacobian_from_products", transposed, "J transposed"),
    ("check_jacobian_from_products", one_row, "shape (3, 3)"),
    ("check_jacobian_from_products", products_twice, "with 6 products"),
    ("check_jacobian_from_products", rows_in_a_list, "torch.stack"),
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
    ("check_estimate", uniform_probes, "a third"),
    ("check_estimate", positive_probes, "beside the diagonal"),
    ("check_estimate", one_probe_for_all, "probe of its own"),
    ("check_estimate", a_second_probe, "the same probe"),
]

RIGHT = [
    ("check_jacobian_from_products", vmapped_identity),
    ("check_jacobian_from_products", product_with_the_identity_turned),
    ("check_jacobian_from_products", columns_turned),
    ("check_jacobian_from_products", jacobian_of_numpy),
    ("check_terms_needed", terms_of_numpy),
    ("check_terms_needed", terms_of_torch),
    ("check_terms_needed", terms_as_a_float),
    ("check_bias_slope", slope_by_autograd),
    ("check_least_mass", mass_as_a_tensor),
    ("check_estimate", wide_uniform_probes),
    ("check_estimate", gaussian_probes),
    ("check_estimate", probes_on_a_sphere),
]


@pytest.mark.parametrize(("check", "answer", "reason"), WRONG, ids=[answer.__name__ for _, answer, _ in WRONG])
def test_a_typical_wrong_answer_is_refused_with_its_reason(check, answer, reason, verdict):
    sentence = verdict(CHAPTER, check, answer)
    assert sentence.startswith("not yet: ") and reason in sentence


@pytest.mark.parametrize(("check", "answer"), RIGHT, ids=[answer.__name__ for _, answer in RIGHT])
def test_another_right_answer_is_accepted(check, answer, verdict):
    assert verdict(CHAPTER, check, answer).startswith("correct: ")
