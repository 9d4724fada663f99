"""Typical wrong answers to the exercises of chapter 4 and its appendix, and right ones in other forms."""

import numpy as np
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


def weighted(weight):
    """A weighted sum whose random terms k have the weight weight(k, survival, m)."""

    def weighted_sum(a, N, survival, m=2):
        return a[:m].sum() + sum(weight(k, survival, m) * a[m + k - 1] for k in range(1, N + 1))

    return weighted_sum


term_before = weighted(lambda k, survival, m: 1 / survival(k - 1))
chance_of_exactly_k = weighted(lambda k, survival, m: 1 / (survival(k) - survival(k + 1)))
no_weights = weighted(lambda k, survival, m: 1.0)
weights_multiplied = weighted(lambda k, survival, m: 1 / np.prod([survival(j) for j in range(1, k + 1)]))
counted_from_the_first_term = weighted(lambda k, survival, m: 1 / survival(m + k))
chance_for_weight = weighted(lambda k, survival, m: survival(k))


def one_term_more(a, N, survival, m=2):
    return weighted(lambda k, survival, m: 1 / survival(k))(a, N + 1, survival, m)


def slopes_missing(W1, W2, slopes):
    return (W2 @ W1).trace().expand(len(slopes))


def product_of_sums(W1, W2, slopes):
    return (W2 @ W1).trace() * slopes.sum(1)


def mean_slope(W1, W2, slopes):
    return (W2 @ W1).trace() * slopes.mean(1)


def slopes_squared(W1, W2, slopes):
    return slopes**2 @ (W1 @ W2).diagonal()


def trace_of_the_batch(W1, W2, slopes):
    return (slopes @ (W1 @ W2).diagonal()).sum()


def sign_turned(value, first, trace):
    return value + first - trace


def first_term_dropped(value, first, trace):
    return value - first


def first_term_twice(value, first, trace):
    return value + trace


def means_for_samples(value, first, trace):
    return value - first.mean() + trace.mean()


def unchanged(value, first, trace):
    return value


WRONG = [
    ("check_weighted_sum", term_before, "the term before it"),
    ("check_weighted_sum", chance_of_exactly_k, "not over P(N = k)"),
    ("check_weighted_sum", no_weights, "a truncation after a random number"),
    ("check_weighted_sum", weights_multiplied, "weights do not multiply"),
    ("check_weighted_sum", counted_from_the_first_term, "not P(N >= m + k)"),
    ("check_weighted_sum", chance_for_weight, "not the chance"),
    ("check_weighted_sum", one_term_more, "expected"),
    ("check_branch_trace", slopes_missing, "the slopes are missing"),
    ("check_branch_trace", product_of_sums, "not the product of two sums"),
    ("check_branch_trace", mean_slope, "not the mean slope"),
    ("check_branch_trace", slopes_squared, "not squared"),
    ("check_branch_trace", trace_of_the_batch, "one trace per row"),
    ("check_with_less_noise", sign_turned, "is doubled"),
    ("check_with_less_noise", first_term_dropped, "has to come back"),
    ("check_with_less_noise", first_term_twice, "counts twice"),
    ("check_with_less_noise", means_for_samples, "its own probe"),
    ("check_with_less_noise", unchanged, "as it was"),
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


@pytest.mark.parametrize(("check", "answer", "reason"), WRONG, ids=[reason for _, _, reason in WRONG])
def test_a_typical_wrong_answer_is_refused_with_its_reason(check, answer, reason, verdict):
    sentence = verdict(CHAPTER, check, answer)
    assert sentence.startswith("not yet: ") and reason in sentence


def in_one_sum(a, N, survival, m=2):
    weights = 1 / np.array([1.0] * m + [survival(k) for k in range(1, N + 1)])
    return torch.tensor(a[: m + N] @ weights)


def from_the_back(a, N, survival, m=2):
    estimate = 0.0
    for k in range(N, 0, -1):
        estimate += a[m + k - 1] / survival(k)
    return np.float64(estimate + a[:m].sum())


def with_jacobians(W1, W2, slopes):
    return torch.stack([(W2 @ torch.diag(d) @ W1).trace() for d in slopes])


def as_a_column(W1, W2, slopes):
    return torch.einsum("dh,bh,hd->b", W2, slopes, W1)[:, None]


def in_place(value, first, trace):
    return value.sub_(first).add_(trace)


def price_by_p(rho):
    p = 1 - rho**2
    return torch.tensor((1 - p) / p)


def error_by_numpy(values):
    means = values.mean(1).numpy()
    return means.std(ddof=1) / np.sqrt(len(means))


RIGHT = [
    ("check_weighted_sum", in_one_sum),
    ("check_weighted_sum", from_the_back),
    ("check_branch_trace", with_jacobians),
    ("check_branch_trace", as_a_column),
    ("check_with_less_noise", in_place),
    ("check_price", price_by_p),
    ("check_batch_error", error_by_numpy),
]


@pytest.mark.parametrize(("check", "answer"), RIGHT, ids=[answer.__name__ for _, answer in RIGHT])
def test_a_right_answer_in_another_form_is_accepted(check, answer, verdict):
    assert verdict(CHAPTER, check, answer).startswith("correct: ")
