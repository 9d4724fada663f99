"""Hybrid models, one network for p(x) and p(y | x); how good they are: labels, calibration, bits per dimension, and
log p(x) of images that nobody drew."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ... import incoming
from ...errors import DataError, SettingsError
from ...estimators.logdet import Estimator
from ...estimators.noise import Noise, rows
from ...expect import FLAG, instance, integer, one_of, shown
from ...layers.residual import residual_blocks
from ...models.dequantize import uniform_dequantize
from ...models.flow import bits_per_dim
from ...models.hybrid import HEADS, HybridFlow, hybrid_flow, hybrid_kinds
from ...models.systems import width_within
from ..data.images import Images, image_shape
from ..names import PROFILES
from ..scoring import affordable_truth, described, estimating_with, first_images, largest_share
from .batches import VALIDATION_SEED, ImageTask, sent
from .question import Question
from .task import PARAMETERS, PER_SCALE, WIDTH, Training, option, within

SHAPES = {name: image_shape(name) for name in ("digits", "mnist", "fashion_mnist", "cifar10", "svhn")}
"""The sets with labels, of ten classes each."""
N_CLASSES = 10
BATCH = 500
"""Images in a batch of a score, at most."""
LAMBDA = within("[0, inf)", "a number, 0 or more, such as 0, 1/D or 1")
WARM_UP = 0.1
"""Fraction of the steps in which the learning rate rises from 0."""

SMOKE = dict(steps=10, batch_size=32, lr=4e-3, ema=0.9, blocks=(1, 1), parameters=12_000, head_width=16)
LAPTOP = dict(steps=1000, batch_size=32, lr=1e-2, ema=0.99, blocks=(1, 4, 4), parameters=80_000, head_width=64)
DIGITS = LAPTOP | dict(steps=300, batch_size=64, blocks=(2, 4))
FLIPPED = ("cifar10",)
"""Sets whose images stay what they are when left and right change places: a digit does not."""
# blocks, rate, batch and EMA as those of the paper's densities, 256 channels in each head; its steps we do not know
PAPER = dict(steps=200_000, batch_size=64, lr=1e-3, ema=0.999, blocks=(16, 16, 16), head_width=256)
PAPER_PARAMETERS = {1: 15_900_000, 3: 22_500_000}
"""By channels of the image: about what residual blocks of width 512 have."""


def hybrid_weights(dataset: str) -> dict[str, float]:
    """The paper's three lambdas, by name: a classifier alone, one label worth one dimension, the joint likelihood."""
    return {"0": 0.0, "1/D": 1 / math.prod(SHAPES[dataset]), "1": 1.0}


@dataclass(frozen=True)
class HybridExperiment(Training):
    """What to train, on what, for how long. A value of None takes the profile's; the profile "paper" is for a GPU.

    Raises SettingsError for a wrong value, with its name.
    """

    dataset: str = option("digits", f"one of {', '.join(SHAPES)}, which have labels", one_of(SHAPES))
    kind: str = option("residual", f"of the blocks: {', '.join(hybrid_kinds)}", one_of(hybrid_kinds))
    weight: float | None = option(
        None, "lambda in lambda log p(x) + log p(y | x); None: 1 over the number of dimensions", LAMBDA
    )
    profile: str = option("laptop", "smoke (seconds), laptop (a minute on digits) or paper (a GPU)", one_of(PROFILES))
    blocks: tuple[int, ...] | None = option(None, "per scale, such as [4, 4]", PER_SCALE)
    parameters: int | None = option(None, "of the whole model; the width follows", integer(1, PARAMETERS))
    head_width: int | None = option(None, "channels of a head", integer(1, WIDTH))
    heads: str = option(
        "normed", "convolution, ActNorm, ReLU (normed, as the paper's public code) or SiLU alone (plain)", one_of(HEADS)
    )
    augment: bool = option(True, "images are cut at random from a reflected frame, an eighth wider to each side", FLAG)

    @classmethod
    def from_record(cls, told: Mapping[str, Any]) -> Self:
        """As of every task; a run that is older than these two settings had neither."""
        return super().from_record(dict(heads="plain", augment=False) | told)

    def __post_init__(self, filled: dict[str, Any] | None) -> None:
        self._refuse_carried(filled)
        self._check_each()
        self._expect("profile", (self.dataset, self.profile) != ("digits", "paper"), "'smoke' or 'laptop' for digits")
        usual = _profile(self.dataset, self.profile)
        self._fill(usual | dict(weight=hybrid_weights(self.dataset)["1/D"]))
        self._fill(dict(accumulation=1, warm_up=round(WARM_UP * self.steps), cool_down=0.3))
        self._check_training()
        self._expect_scales(SHAPES[self.dataset], len(self.blocks) - 1)
        if any(getattr(self, name) != usual[name] for name in ("parameters", "blocks", "head_width")):
            self._expect_buildable(SHAPES[self.dataset])

    def _flow(self, shape: tuple[int, int, int] | None) -> HybridFlow:
        settings = (shape, self.blocks, self.kind, self.head_width, self.heads)
        flow = _of_width(*settings, width=_width(*settings, self.parameters))
        for block in residual_blocks(flow).values() if self.profile != "paper" else ():
            block.memory = "store"  # faster, and these models are small
        return flow


def _of_width(shape: tuple[int, ...], blocks: tuple[int, ...], *others: Any, width: int) -> HybridFlow:
    return hybrid_flow(shape, N_CLASSES, blocks, width, *others)


@cache
def _width(*settings: Any) -> int:
    """Of the settings of `_of_width`, and a number of parameters."""
    *sizes, parameters = settings
    return width_within(lambda width: _of_width(*sizes, width=width), parameters)


def _profile(dataset: str, profile: str) -> dict[str, Any]:
    if profile == "paper":
        return PAPER | dict(parameters=PAPER_PARAMETERS[SHAPES[dataset][0]])
    return SMOKE if profile == "smoke" else DIGITS if dataset == "digits" else LAPTOP


class Hybrid(ImageTask):
    """Images and their labels. The loss is minus the objective in bits (the public code divides both of its parts by
    ln 2), over 1 + weight * D, the number of its terms, one for each pixel that counts and one for the label: gradients
    then have one size for all weights."""

    name, settings, unit, words, scores = "hybrid", HybridExperiment, "loss", "", ("accuracy", "bits_per_dim")

    @property
    def shape(self) -> tuple[int, ...]:
        return SHAPES[self.experiment.dataset]

    def batch(self, step: int, noise: Noise) -> tuple[Tensor, Tensor]:
        chosen = self.data.choose(self.experiment.batch_size, noise)
        labels = sent(self.data.labels[rows(chosen, noise)], self.world.device)
        e, (_, height, _) = self.experiment, self.shape
        flip, margin = e.augment and e.dataset in FLIPPED, height // 8 if e.augment else 0
        return self.data.batch(chosen, noise, flip=flip, margin=margin), labels

    def loss(self, flow: HybridFlow, batch: tuple[Tensor, Tensor], draws: Noise) -> Tensor:
        weight = self.experiment.weight
        terms = 1 + weight * math.prod(flow.event_shape)
        return -flow.objective(*batch, weight, draws).mean() / (math.log(2) * terms)

    def truth(self, flow: HybridFlow, events: Tensor) -> Estimator | None:
        return affordable_truth(flow, events) if self.experiment.weight else None

    def validate(self, flow: HybridFlow) -> float:
        """The loss of the held-out images, each once."""
        data = self.held_out()
        events = first_images(data, len(data.images), VALIDATION_SEED).to(self.world.device)
        with torch.no_grad(), estimating_with(flow, self.truth(flow, events[:64])):
            draws = torch.Generator().manual_seed(VALIDATION_SEED)
            return float(self.loss(flow, (events, data.labels.to(self.world.device)), draws))

    def score(self, flow: HybridFlow, question: Question) -> dict[str, Any]:
        whole = self.asked(question)
        data = whole.first(question.n)
        settings = dict(with_density=self.experiment.weight > 0, seed=question.seed, estimator=question.estimator)
        found = score_hybrid(flow, data, **settings)
        shares = dict(largest_share=largest_share(found["bits"])) if "bits" in found else {}
        return shares | dict(
            split=question.split,
            preprocessing="uniform dequantisation",
            data_sha256=whole.sha256(),
            n_test=len(data.images),
            passes=1,
            evaluation=described(flow, question.estimator),
            **summary(found, data.labels),
        )


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
            altered_log_prob = flow.log_prob(strange, generator)
            parts.append(dict(logits=logits, log_prob=log_prob, bits=bits, altered_log_prob=altered_log_prob))
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
    incoming.batch("probabilities", probabilities)
    instance(Tensor)("labels", labels)
    if probabilities.dim() != 2 or labels.shape != probabilities.shape[:1]:
        raise SettingsError(
            f"probabilities {tuple(probabilities.shape)} with labels {tuple(labels.shape)}: expected (B, classes), (B,)"
        )
    incoming.entries("probabilities", probabilities, (0.0, 1.0))
    incoming.levels("labels", labels, probabilities.shape[1])
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
