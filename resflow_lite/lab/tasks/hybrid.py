"""Hybrid models: one network for p(x) and p(y | x)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import torch
from torch import Tensor

from ...estimators.logdet import Estimator
from ...estimators.noise import Noise, rows
from ...expect import FLAG, integer, one_of
from ...models.hybrid import HEADS, HybridFlow, hybrid_flow, hybrid_kinds
from ...models.systems import width_within
from ..data.images import image_shape
from ..names import PROFILES
from ..scoring import affordable_truth, described, estimating_with, first_images, largest_share, residual_blocks
from .batches import VALIDATION_SEED, ImageTask
from .hybrid_scores import score_hybrid, summary
from .question import Question
from .task import PARAMETERS, PER_SCALE, WIDTH, Training, option, within

SHAPES = {name: image_shape(name) for name in ("digits", "mnist", "fashion_mnist", "cifar10", "svhn")}
"""The sets with labels, of ten classes each."""
N_CLASSES = 10
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
        for block in residual_blocks(flow) if self.profile != "paper" else ():
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
        labels = self.data.labels[rows(chosen, noise)].to(self.world.device)
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
