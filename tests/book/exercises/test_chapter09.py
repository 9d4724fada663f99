"""Typical wrong answers to the exercises of chapter 9."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

CHAPTER = "chapter09"


def bits_of_an_image(n_classes, n_dims):
    return math.log2(n_classes)


def nats_per_dim(n_classes, n_dims):
    return math.log(n_classes) / n_dims


def one_bit(n_classes, n_dims):
    return 1 / n_dims


def always_ten_classes(n_classes, n_dims):
    return math.log2(10) / n_dims


def wrong_sign(log_prob, logits, labels, weight):
    return weight * log_prob + cross_entropy(logits, labels, reduction="none")


def mean_over_images(log_prob, logits, labels, weight):
    return (weight * log_prob - cross_entropy(logits, labels, reduction="none")).mean()


def raw_logits(log_prob, logits, labels, weight):
    return weight * log_prob + logits[torch.arange(len(labels)), labels]


def weighted_label(log_prob, logits, labels, weight):
    return log_prob - weight * cross_entropy(logits, labels, reduction="none")


def no_weight(log_prob, logits, labels, weight):
    return log_prob - cross_entropy(logits, labels, reduction="none")


def overflowing(log_prob, logits, labels, weight):
    share = logits.exp() / logits.exp().sum(1, keepdim=True)
    return weight * log_prob + share[torch.arange(len(labels)), labels].log()


def _bins(confidence, n_bins):
    return ((confidence * n_bins).ceil() - 1).long()


def bins_alike(confidence, right, n_bins):
    index = _bins(confidence, n_bins)
    gaps = [abs(right[index == k].double().mean() - confidence[index == k].mean()) for k in index.unique()]
    return sum(gaps) / len(gaps)


def one_bin(confidence, right, n_bins):
    return abs(right.double().mean() - confidence.mean())


def signed_gaps(confidence, right, n_bins):
    index = _bins(confidence, n_bins)
    gaps = [(right[index == k].double() - confidence[index == k]).sum() for k in index.unique()]
    return abs(sum(gaps)) / len(right)


def signed_below_the_diagonal(confidence, right, n_bins):
    return -signed_gaps(confidence, right, n_bins)


def empty_bins(confidence, right, n_bins):
    index = _bins(confidence, n_bins)
    gaps = [right[index == k].double().mean() - confidence[index == k].mean() for k in range(n_bins)]
    return torch.stack(gaps).abs().mean()


def strange_above(known, strange):
    return auroc_of(strange, known)


def auroc_of(known, strange):
    return ((known[:, None] > strange).double() + 0.5 * (known[:, None] == strange)).mean()


def ties_lost(known, strange):
    return (known[:, None] > strange).double().mean()


def ties_won(known, strange):
    return (known[:, None] >= strange).double().mean()


def pairs_counted(known, strange):
    return auroc_of(known, strange) * len(known) * len(strange)


WRONG = [
    ("check_label_worth", bits_of_an_image, "per image"),
    ("check_label_worth", nats_per_dim, "nats"),
    ("check_label_worth", one_bit, "not one bit"),
    ("check_label_worth", always_ten_classes, "not for 2 classes"),
    ("check_objective", wrong_sign, "sign"),
    ("check_objective", mean_over_images, "no mean yet"),
    ("check_objective", raw_logits, "log_softmax"),
    ("check_objective", weighted_label, "belongs to log p(x)"),
    ("check_objective", no_weight, "missing"),
    ("check_objective", overflowing, "overflowed"),
    ("check_calibration", bins_alike, "four times as much"),
    ("check_calibration", one_bin, "all images at once"),
    ("check_calibration", signed_gaps, "all images at once"),
    ("check_calibration", signed_below_the_diagonal, "cancel"),
    ("check_calibration", empty_bins, "empty bin"),
    ("check_auroc", strange_above, "strange image scores higher"),
    ("check_auroc", ties_lost, "tie"),
    ("check_auroc", ties_won, "tie"),
    ("check_auroc", pairs_counted, "number of pairs"),
]


@pytest.mark.parametrize(("check", "answer", "reason"), WRONG, ids=[answer.__name__ for _, answer, _ in WRONG])
def test_a_typical_wrong_answer_is_refused_with_its_reason(check, answer, reason, verdict):
    sentence = verdict(CHAPTER, check, answer)
    assert sentence.startswith("not yet: ") and reason in sentence


def worth_by_numpy(n_classes, n_dims):
    return np.log2(n_classes) / n_dims


def worth_as_a_tensor(n_classes, n_dims):
    return torch.tensor([n_classes]).log2() / n_dims


def objective_as_a_column(log_prob, logits, labels, weight):
    chosen = logits.gather(1, labels[:, None])
    return weight * log_prob[:, None] + chosen - logits.logsumexp(1, keepdim=True)


def row_by_row(log_prob, logits, labels, weight):
    return torch.vmap(lambda p, row, y: weight * p + row.log_softmax(0)[y])(log_prob, logits, labels)


def calibration_by_numpy(confidence, right, n_bins):
    edges = np.linspace(0, 1, n_bins + 1)
    bins = np.digitize(confidence.numpy(), edges, right=True)
    gaps = np.bincount(bins, (right.double() - confidence).numpy())
    return np.abs(gaps).sum() / len(bins)


def auroc_by_ranks(known, strange):
    both = torch.cat([known, strange])
    ranks = (both[:, None] > both).double().sum(1) + 0.5 * ((both[:, None] == both).double().sum(1) - 1)
    n, m = len(known), len(strange)
    return ((ranks[:n].sum() - n * (n - 1) / 2) / (n * m))[None]


RIGHT = [
    ("check_label_worth", worth_by_numpy),
    ("check_label_worth", worth_as_a_tensor),
    ("check_objective", objective_as_a_column),
    ("check_objective", row_by_row),
    ("check_calibration", calibration_by_numpy),
    ("check_auroc", auroc_by_ranks),
]


@pytest.mark.parametrize(("check", "answer"), RIGHT, ids=[answer.__name__ for _, answer in RIGHT])
def test_a_right_answer_in_another_form_is_accepted(check, answer, verdict):
    assert verdict(CHAPTER, check, answer).startswith("correct: ")
