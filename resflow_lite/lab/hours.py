"""What a training at full scale costs: measured steps where there are some, arithmetic from them for the rest.

All was measured on one NVIDIA H200 with torch 2.11 at batch 64: steps of this package with stratified draws, as CUDA
graphs (tests/benchmarks/gpu.py); of a prototype, for MNIST; and with one N for each block, which no graph can hold, of
the package before. The rest is scaled by operations.

Many GPUs, on paper (`simulated`): 64 images on each, 1,000 epochs, stratified draws in bf16.
Milliseconds of a step, those of them for the gradient's one message of float32, which is sent when the backward pass
is over, and hours:

                  1 GPU              8 GPUs               64 GPUs
    CIFAR-10      86      16.8 h     87 (0.6)   2.1 h     90 (4.0)   0.3 h
    ImageNet 32   172    949 h       173 (1.1)  119 h     179 (7.4)  15.5 h
    ImageNet 64   216   1194 h       218 (1.2)  150 h     225 (8.4)  19.4 h

Messages in parts during the backward pass would save 5 % of a step at 64 GPUs, at the most; so there is one.
"""

from dataclasses import dataclass

import torch

from ..errors import SettingsError
from ..estimators.series import DRAWS, Roulette, Truncated, expected_terms
from ..expect import instance, integer, one_of
from ..layers.shape import squeezed
from ..models.image import ImageModel, image_flow
from .data.sources import IMAGE_SETS
from .tasks.density import Experiment

GPU = "NVIDIA H200"
PEAK_FLOPS = 989e12
"""Operations per second of dense bf16 matrix products, from the GPU's data sheet."""
UTILISATION = 0.126
"""What of it is used: the 10.8 TFLOP of a CIFAR-10 step in 86 ms."""


@dataclass(frozen=True)
class MeasuredStep:
    """Milliseconds of a whole step of the paper's model. draws: of its roulette; stratified ones run as a graph."""

    dataset: str
    precision: str
    draws: str
    ms: float


MEASURED = (
    # this package at commit 2786d30
    MeasuredStep("cifar10", "bf16", "stratified", 86.0),
    MeasuredStep("cifar10", "tf32", "stratified", 148.1),
    # a prototype of it
    MeasuredStep("mnist", "bf16", "stratified", 65),
    # this package before its steps had a fixed shape
    MeasuredStep("cifar10", "bf16", "block", 1797),
    MeasuredStep("cifar10", "tf32", "block", 1493),
)
NVLINK, INFINIBAND = 300e9, 50e9
"""Bytes per second that a GPU sends, inside a machine of eight and between machines: assumed, not measured."""
MACHINE = 8
"""GPUs in a machine."""


def _expect_known(experiment: Experiment) -> None:
    instance(Experiment)("experiment", experiment)
    one_of(IMAGE_SETS)("dataset", experiment.dataset)
    if experiment.system is not None:
        raise SettingsError(f"system = {experiment.system!r}: only steps of the residual flow were measured")


def forward_flops(model: ImageModel) -> int:
    """Operations of the layers of an image flow for one image, two for each multiplication and addition.

    For activations that leave the number of channels as it is. Left out: norms, elementwise operations.
    """
    shape, total = squeezed(model.shape) if model.squeeze_first else model.shape, 0
    for i, blocks in enumerate(model.blocks):
        if i > 0:
            shape = squeezed(shape)
            shape = (shape[0] // 2 if model.factor_out else shape[0], *shape[1:])
        channels, height, width = shape
        total += blocks * 2 * height * width * (2 * 9 * channels * model.width + model.width**2)
    d = shape[0] * shape[1] * shape[2]
    return total + model.n_dense * 2 * (2 * d * model.dense_width + model.dense_width**2)


def step_tflop(experiment: Experiment) -> float:
    """10^12 operations of one training step of an image flow, with "recompute".

    In units of the forward pass: g itself, a product for each term of the series, and in the backward pass g once more,
    its tangents, a sweep of two cotangents, and the gradients of the weights for both: terms + 7. A roulette counts
    with its expected number of terms. Left out: updates of the layers' norms, the optimiser, elementwise operations.
    """
    _expect_known(experiment)
    model = experiment.model(IMAGE_SETS[experiment.dataset].shape)
    terms = getattr(model.train_estimator, "terms", None)
    if not isinstance(terms, Roulette | Truncated):
        raise SettingsError(
            f"train_estimator = {model.train_estimator!r}: expected a PowerSeries, whose terms are counted"
        )
    n = terms.n_exact + expected_terms(terms.law) if isinstance(terms, Roulette) else terms.n_terms
    return (n + 7) * forward_flops(model) * experiment.batch_size / 1e12


def measured_step(experiment: Experiment, draws: str | None = None) -> MeasuredStep:
    """The measurement that a training's steps are reckoned from: of its data, or else of CIFAR-10; fp32 as tf32.
    draws: in place of the experiment's, which the time depends on; a fixed number of terms is as fast as stratified."""
    _expect_known(experiment)
    draws = (one_of(DRAWS) | None)("draws", draws) or getattr(experiment.estimators()[0].terms, "draws", "stratified")
    kind = "bf16" if experiment.precision == "bf16" else "tf32", "stratified" if draws == "stratified" else "block"
    found = [m for m in MEASURED if (m.precision, m.draws) == kind]
    return next((m for m in found if m.dataset == experiment.dataset), found[0])


def step_seconds(experiment: Experiment, draws: str | None = None) -> float:
    """Of one GPU: measured for this model, or scaled from one that was by the operations of both steps."""
    measured = measured_step(experiment, draws)
    return measured.ms / 1e3 * step_tflop(experiment) / step_tflop(Experiment(measured.dataset, profile="paper"))


def estimated_hours(experiment: Experiment, draws: str | None = None) -> float:
    """Hours of one GPU for a whole training, from measured steps."""
    return step_seconds(experiment, draws) * experiment.steps / 3600


def simulated(experiment: Experiment, gpus: int) -> tuple[float, float, float]:
    """On paper: milliseconds of a step in which each of `gpus` GPUs has a batch of its own, those of them that the
    gradient's message takes, and hours for as many images in all as the experiment has.

    A ring moves 2 (n - 1) / n times the gradient through each GPU, by NVLink inside a machine and at the speed of
    InfiniBand as soon as there are two; nothing is sent while something is computed.
    """
    gpus = integer(1)("gpus", gpus)
    _expect_known(experiment)
    with torch.device("meta"):
        flow = image_flow(experiment.model(IMAGE_SETS[experiment.dataset].shape))
    size = 4 * sum(p.numel() for p in flow.parameters())
    message = 2 * (gpus - 1) / gpus * size / (NVLINK if gpus <= MACHINE else INFINIBAND)
    step = step_seconds(experiment) + message
    return 1e3 * step, 1e3 * message, step * experiment.steps / gpus / 3600
