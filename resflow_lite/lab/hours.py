"""What a training costs before anybody has run it: operations counted, hours estimated."""

from ..estimators.series import Roulette, expected_terms
from ..layers.shape import squeezed
from ..models.image import ImageModel
from .data.sources import IMAGE_SETS
from .tasks.density import Experiment

__all__ = ["GPU", "PEAK_FLOPS", "UTILISATION", "estimated_hours", "forward_flops", "step_tflop"]

GPU = "NVIDIA H200"
PEAK_FLOPS = 989e12
"""Operations per second of dense bf16 matrix products, from the GPU's data sheet."""
UTILISATION = 0.25
"""Assumed, not measured: about what memory traffic leaves of the peak where elementwise kernels are not fused."""


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
    model = experiment.model(IMAGE_SETS[experiment.dataset].shape)
    terms = model.train_estimator.terms
    n = terms.n_exact + expected_terms(terms.law) if isinstance(terms, Roulette) else terms.n_terms
    return (n + 7) * forward_flops(model) * experiment.batch_size / 1e12


def estimated_hours(experiment: Experiment) -> float:
    """Hours of one GPU for a whole training: an estimate by arithmetic, not a measurement."""
    return step_tflop(experiment) * 1e12 * experiment.steps / (PEAK_FLOPS * UTILISATION) / 3600
