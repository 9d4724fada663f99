"""Checks of the exercises of chapter 9, hybrid models."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from .verdict import close, exercise, expect, number, shaped


@exercise
def check_label_worth(worth: Callable[[int, int], float]) -> str:
    """worth(n_classes, n_dims): bits/dim that knowing every label is worth, at most: log2(n_classes) / n_dims."""
    answer, right = number(worth(10, 3072)), math.log2(10) / 3072
    expect(not close(answer, math.log2(10)), "that is per image; bits/dim are per dimension")
    expect(not close(answer, math.log(10) / 3072), "that is in nats; divide by log 2 for bits")
    expect(not close(answer, 1 / 3072), "one label is worth log2(n_classes) bits, not one bit")
    expect(close(answer, right), f"for 10 classes and 3072 dimensions expected {right:.6f}, got {answer:.6f}")
    expect(close(number(worth(2, 8)), 1 / 8), "right for 10 classes and 3072 dimensions, not for 2 classes and 8")
    return f"on CIFAR-10 all the labels together are worth {right:.4f} bits/dim."


@exercise
def check_objective(objective: Callable[[Tensor, Tensor, Tensor, float], Tensor]) -> str:
    """objective(log_prob, logits, labels, weight): weight log p(x) + log p(y | x), (B,) nats."""
    log_prob = torch.tensor([-3.0, 2.0, 5.0], dtype=torch.float64)
    logits = torch.tensor([[2.0, 0.0], [1000.0, 998.0], [0.0, 1.0]], dtype=torch.float64)
    labels, weight = torch.tensor([0, 1, 1]), 0.25
    answer = shaped(objective(log_prob, logits, labels, weight), (3,), "one number per image", ": no mean yet")
    expect(bool(torch.isfinite(answer).all()), "exp overflowed: take logits.log_softmax(1)")
    label = -cross_entropy(logits, labels, reduction="none")
    expect(not close(answer, weight * log_prob - label), "the sign of the label's part is wrong: both are maximised")
    chosen = logits.gather(1, labels[:, None])[:, 0]
    expect(not close(answer, weight * log_prob + chosen), "logits are not log-probabilities yet: log_softmax")
    expect(not close(answer, log_prob + weight * label), "the weight belongs to log p(x), not to the label")
    expect(not close(answer, log_prob + label), "the weight is missing")
    expect(close(answer, weight * log_prob + label), f"expected {(weight * log_prob + label).tolist()}")
    return "with weight 1 this is log p(x, y), with weight 0 a classifier's log-likelihood."


@exercise
def check_calibration(error: Callable[[Tensor, Tensor, int], float]) -> str:
    """error(confidence, right, n_bins): the sum over bins of the share of images times |accuracy - confidence|."""
    confidence = torch.tensor([0.55, 0.95, 0.96, 0.97, 0.98, 0.31], dtype=torch.float64)
    right = torch.tensor([True, True, False, True, True, False])
    answer = number(error(confidence, right, 10))
    alone, together, lost = 1 - 0.55, abs(3 / 4 - float(confidence[1:5].mean())), 0.31
    expected = (alone + 4 * together + lost) / 6
    expect(math.isfinite(answer), "an empty bin has no accuracy: leave it out")
    equal = (alone + together + lost) / 3
    expect(not close(answer, equal), "a bin of four images counts four times as much as a bin of one")
    whole = abs(right.double().mean() - confidence.mean())
    expect(not close(abs(answer), whole), "over all images at once, gaps above and below the diagonal cancel")
    expect(close(answer, expected), f"for {confidence.tolist()} and {right.tolist()} expected {expected:.4f}")
    return "0 for a classifier that is right as often as it says; the value depends on the bins, so state their number."


@exercise
def check_auroc(auroc: Callable[[Tensor, Tensor], float]) -> str:
    """auroc(known, strange): the share of pairs in which the known image scores higher, a tie counting one half."""
    known, strange = torch.tensor([4.0, 2.0, 1.0]), torch.tensor([3.0, 1.0])
    answer = number(auroc(known, strange))
    expect(not close(answer, 1 - 3.5 / 6), "that counts the pairs in which the strange image scores higher")
    expect(not close(answer, 3 / 6) and not close(answer, 4 / 6), "one pair is a tie: it counts one half")
    expect(not close(answer, 3.5), "that is the number of pairs; divide it by how many there are")
    expect(close(answer, 3.5 / 6), f"for {known.tolist()} and {strange.tolist()} expected {3.5 / 6:.4f}, got {answer}")
    return "it asks about order only: any increasing function of log p(x) has the same value."
