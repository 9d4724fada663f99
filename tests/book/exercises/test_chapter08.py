"""Typical wrong answers to the exercises of chapter 8."""

import math

import numpy as np
import pytest
import torch

CHAPTER = "chapter08"


def wrong_logit_sign(t, alpha):
    return (t.sigmoid() * (-t).sigmoid() / (1 - 2 * alpha)).log().flatten(1).sum(1) * -1


def logit_without_scale(t, alpha):
    return (t.sigmoid().log() + (-t).sigmoid().log()).flatten(1).sum(1)


def logit_not_summed(t, alpha):
    return t.sigmoid().log() + (-t).sigmoid().log()


def logit_summed_over_all(t, alpha):
    return logit_not_summed(t, alpha).sum()


def passes_as_images(bits):
    return bits.std() / bits.numel() ** 0.5, bits.var(0).mean().sqrt() / bits.numel() ** 0.5


def noise_of_one_pass(bits):
    return bits.mean(0).std() / bits.shape[1] ** 0.5, bits.var(0).mean().sqrt()


def error_not_divided(bits):
    return bits.mean(0).std(), bits.var(0).mean().sqrt() / bits.numel() ** 0.5


def mean_of_logarithms(log_probs, n_dims, n_levels):
    return (n_dims * math.log(n_levels) - log_probs.mean(0)) / (n_dims * math.log(2))


def logarithm_of_sum(log_probs, n_dims, n_levels):
    return (n_dims * math.log(n_levels) - log_probs.logsumexp(0)) / (n_dims * math.log(2))


def overflowing(log_probs, n_dims, n_levels):
    return (n_dims * math.log(n_levels) - log_probs.exp().mean(0).log()) / (n_dims * math.log(2))


def natural_units(log_probs, n_dims, n_levels):
    return (n_dims * math.log(n_levels) - log_probs.logsumexp(0) + math.log(len(log_probs))) / n_dims


def mean_alone(bits):
    return bits.mean()


WRONG = [
    ("check_inverse_logit", wrong_logit_sign, "sign"),
    ("check_inverse_logit", logit_without_scale, "1 / (1 - 2 alpha)"),
    ("check_inverse_logit", logit_not_summed, "shape (2,)"),
    ("check_inverse_logit", logit_summed_over_all, "shape (2,)"),
    ("check_error_bars", passes_as_images, "are not 1200 images"),
    ("check_error_bars", noise_of_one_pass, "the mean is over all passes"),
    ("check_error_bars", error_not_divided, "was expected"),
    ("check_error_bars", mean_alone, "return 2 numbers"),
    ("check_tighter_bound", mean_of_logarithms, "the bound we have"),
    ("check_tighter_bound", logarithm_of_sum, "a mean divides by K"),
    ("check_tighter_bound", overflowing, "torch.logsumexp"),
    ("check_tighter_bound", natural_units, "expected"),
]


@pytest.mark.parametrize(("check", "answer", "reason"), WRONG, ids=[answer.__name__ for _, answer, _ in WRONG])
def test_a_typical_wrong_answer_is_refused_with_its_reason(check, answer, reason, verdict):
    sentence = verdict(CHAPTER, check, answer)
    assert sentence.startswith("not yet: ") and reason in sentence


def pixel_by_pixel(t, alpha):
    s = 1 / (1 + np.exp(-t.numpy()))
    return np.log(s * (1 - s) / (1 - 2 * alpha)).sum((1, 2))[:, None]


def vmapped(t, alpha):
    def inverse(t):
        return (t.sigmoid() - alpha) / (1 - 2 * alpha)

    slopes = torch.vmap(torch.func.grad(inverse))(t.flatten())
    return slopes.log().view(len(t), -1).sum(1)


def errors_as_a_tensor(bits):
    noise = bits.var(0, correction=0).mean() / bits.numel() / (1 - 1 / len(bits))
    return torch.stack([bits.mean(0).std(correction=0) / bits.shape[1] ** 0.5, noise**0.5])


def by_the_largest(log_probs, n_dims, n_levels):
    largest = log_probs.max(0).values
    log_mean = largest + (log_probs - largest).exp().mean(0).log()
    return (math.log2(n_levels) - log_mean / math.log(2) / n_dims).unsqueeze(0)


RIGHT = [
    ("check_inverse_logit", pixel_by_pixel),
    ("check_inverse_logit", vmapped),
    ("check_error_bars", errors_as_a_tensor),
    ("check_tighter_bound", by_the_largest),
]


@pytest.mark.parametrize(("check", "answer"), RIGHT, ids=[answer.__name__ for _, answer in RIGHT])
def test_a_right_answer_in_another_form_is_accepted(check, answer, verdict):
    assert verdict(CHAPTER, check, answer).startswith("correct: ")
