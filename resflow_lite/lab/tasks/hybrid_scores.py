"""How good a hybrid model is: labels, calibration, bits per dimension, and log p(x) of images that nobody drew."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ...errors import DataError, SettingsError
from ...estimators.logdet import Estimator
from ...expect import instance, integer, shown
from ...incoming import batch, entries, levels
from ...models.dequantize import uniform_dequantize
from ...models.flow import bits_per_dim
from ...models.hybrid import HybridFlow
from ..data.images import Images
from ..scoring import estimating_with

BATCH = 500
"""Images in a batch, at most."""


def altered(levels: Tensor) -> Tensor:
    """Images that nobody drew, with the same levels: upside down, (B, C, H, W)."""
    return levels.flip(2)


@torch.no_grad()
def score_hybrid(
    flow: HybridFlow, data: Images, *, with_density: bool = True, seed: int = 1, estimator: Estimator | None = None
) -> dict[str, Tensor]:
    """logits (N, classes) of every image after dequantisation and, with_density, bits (N,) per dimension, log_prob (N,)
    nats and the same of altered images, altered_log_prob (N,). On the CPU; each image has its own estimator draws."""
    generator = torch.Generator().manual_seed(seed)
    device, parts = next(flow.parameters()).device, []
    with estimating_with(flow, estimator):
        for levels in data.images.split(BATCH):
            x = uniform_dequantize(levels, data.n_levels, generator).to(device)
            if not with_density:
                parts.append(dict(logits=flow.logits(x)))
                continue
            log_prob, logits = flow.joint(x, generator)
            strange = uniform_dequantize(altered(levels), data.n_levels, generator).to(device)
            bits = bits_per_dim(log_prob, flow.event_shape, data.n_levels)
            found = dict(
                logits=logits, log_prob=log_prob, bits=bits, altered_log_prob=flow.log_prob(strange, generator)
            )
            parts.append(found)
    return {name: torch.cat([part[name] for part in parts]).double().cpu() for name in parts[0]}


def summary(found: dict[str, Tensor], labels: Tensor) -> dict[str, Any]:
    """The scores of a ledger entry, from score_hybrid; those of the density are None where it was not scored."""
    right, n = (found["logits"].argmax(1) == labels).double(), len(labels)
    bits = found.get("bits")
    return dict(
        accuracy=float(right.mean()),
        accuracy_error=float(right.std()) / n**0.5,
        label_nats=float(cross_entropy(found["logits"], labels)),
        calibration_error=calibration_error(found["logits"].softmax(1), labels),
        shifted_auroc=None if bits is None else auroc(found["log_prob"], found["altered_log_prob"]),
        bits_per_dim=None if bits is None else float(bits.mean()),
        standard_error=None if bits is None else float(bits.std()) / n**0.5,
    )


def reliability(probabilities: Tensor, labels: Tensor, n_bins: int = 10) -> tuple[Tensor, Tensor, Tensor]:
    """Mean confidence, accuracy and number of images in equal bins of confidence, each (n_bins,), float64.

    probabilities: (B, n_classes), rows that add up to 1.  labels: (B,).  The confidence of an image is its largest
    probability; bin k holds confidences in (k / n_bins, (k + 1) / n_bins]. An empty bin has confidence and accuracy
    nan. Raises SettingsError for other shapes, DataError for what are no probabilities or classes.
    """
    batch("probabilities", probabilities)
    instance(Tensor)("labels", labels)
    if probabilities.dim() != 2 or labels.shape != probabilities.shape[:1]:
        raise SettingsError(
            f"probabilities {tuple(probabilities.shape)} with labels {tuple(labels.shape)}: expected (B, classes), (B,)"
        )
    entries("probabilities", probabilities, (0.0, 1.0))
    levels("labels", labels, probabilities.shape[1])
    n_bins = integer(1)("n_bins", n_bins)
    if len(labels) == 0 or ((off := (probabilities.double().sum(1) - 1).abs().max()) > 1e-3):
        told = f"rows that miss 1 by {off:.2g}" if len(labels) else "no rows"
        raise DataError(f"probabilities has {told}: expected the shares of the classes. logits.softmax(1) makes them")
    confidence, predicted = probabilities.double().max(1)
    index = (confidence * n_bins).ceil().long().clamp(1, n_bins) - 1
    counts = torch.bincount(index, minlength=n_bins).double()
    mean = torch.bincount(index, confidence, n_bins) / counts
    accuracy = torch.bincount(index, (predicted == labels).double(), n_bins) / counts
    return mean, accuracy, counts


def calibration_error(probabilities: Tensor, labels: Tensor, n_bins: int = 10) -> float:
    """Expected calibration error, sum_k n_k / n |accuracy_k - confidence_k|, with the bins of `reliability`.

    Source: Guo et al. 2017, sec. 2.
    """
    mean, accuracy, counts = reliability(probabilities, labels, n_bins)
    gaps = (accuracy - mean).abs().nan_to_num()
    return float((counts * gaps).sum() / counts.sum())


def auroc(known: Tensor, strange: Tensor) -> float:
    """The probability that a known image scores higher than a strange one, a tie counting one half: the area under the
    ROC curve. 1/2 is a coin, 0 a score that is always wrong. known, strange: (n,) and (m,) scores, such as log p(x),
    also infinite ones. Raises SettingsError or DataError for others."""
    from sklearn.metrics import roc_auc_score

    for name, scores in dict(known=known, strange=strange).items():
        instance(Tensor)(name, scores)
        if scores.dim() != 1 or not len(scores) or scores.isnan().any():
            raise DataError(f"{name} is {shown(scores)}: expected one score or more, (n,), and none that is NaN")
    truth = torch.cat([torch.ones(len(known)), torch.zeros(len(strange))])
    ranks = torch.cat([known, strange]).unique(return_inverse=True)[1]
    return float(roc_auc_score(truth.numpy(), ranks.cpu().numpy()))
