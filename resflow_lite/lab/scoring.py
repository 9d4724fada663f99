"""Bits per dimension of images, one number for each, and what their mean is uncertain by."""

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..estimators.krylov import Krylov
from ..estimators.linearization import Linearization
from ..estimators.logdet import ESTIMATOR, Estimator, Exact, LogDetEstimate, PowerSeries
from ..estimators.series import Matched, Roulette
from ..expect import instance
from ..layers.continuous import ContinuousFlow
from ..layers.residual import ResidualBlock
from ..models.dequantize import uniform_dequantize
from ..models.flow import Flow, bits_per_dim
from ..models.variance import variance_report
from ..numerics.tensor_float import tensor_float
from .data.images import Images
from .machine import World
from .tasks.words import Unknown

ENTRIES = 2**20
"""Pixels times channels in a batch, at most; 500 images at most, too."""
DENSE = 256
"""Up to this many dimensions the log-determinants of a score are those of dense Jacobians."""
TOLERANCE, STEPS = 1e-5, 60
"""Krylov's method stops where a block's last product changed bits/dim by less, of every image; after so many products
at most."""


@torch.no_grad()
def image_bits(flow: Flow, images: Tensor, n_levels: int, seed: int, world: World) -> Tensor:
    """(n,) bits/dim of every image in one pass, with fresh dequantisation noise and fresh estimator draws; float64.

    The processes share the batches. Each batch has a seed of its own, so that their number does not matter.
    """
    batches = images.split(min(500, max(1, ENTRIES // images[0].numel())))
    seeds = torch.randint(2**62, (len(batches),), generator=torch.Generator().manual_seed(seed)).tolist()
    bits = torch.zeros(len(images), dtype=torch.float64, device=world.device)
    with tensor_float(False):
        for i, (batch, part) in enumerate(zip(batches, bits.split(len(batches[0])))):
            if i % world.size == world.rank:
                generator = torch.Generator().manual_seed(seeds[i])
                x = uniform_dequantize(batch.to(world.device), n_levels, generator)
                part.copy_(bits_per_dim(flow.log_prob(x, generator).double(), flow.event_shape, n_levels))
    world.sum_(bits)
    return bits.cpu()


def residual_blocks(flow: Flow) -> list[ResidualBlock]:
    return [module for module in flow.modules() if isinstance(module, ResidualBlock)]


@contextmanager
def estimating_with(flow: Flow, estimator: Estimator | None, draws: str = "sample") -> Iterator[None]:
    """Inside, the blocks evaluate with this estimator (None: their own), drawn for every image by itself, or in another
    of the ways of a Roulette."""
    blocks = residual_blocks(instance(Flow)("flow", flow))
    (ESTIMATOR | None)("estimator", estimator)
    before = [block.eval_estimator for block in blocks]
    for block, own in zip(blocks, before):
        block.eval_estimator = per_image(estimator or own, draws)
    try:
        yield
    finally:
        for block, own in zip(blocks, before):
            block.eval_estimator = own


def per_image(estimator: Estimator, draws: str = "sample") -> Estimator:
    """The estimator with an N of its own for every image, if it is a roulette, or with other draws.

    One N for a whole batch would shift the batch as a whole: its images would no longer be independent measurements.
    """
    if isinstance(estimator, PowerSeries) and isinstance(estimator.terms, Roulette):
        return replace(estimator, terms=replace(estimator.terms, draws=draws))
    return estimator


class _Watched:
    """A Krylov estimator, and the most products that one of its estimates took."""

    def __init__(self, krylov: Krylov) -> None:
        self.krylov, self.draw, self.most = krylov, krylov.draw, 0

    def estimate(self, g: Linearization, draw: Any) -> LogDetEstimate:
        found = self.krylov.estimate(g, draw)
        self.most = max(self.most, found.n_terms)
        return found


@torch.no_grad()
def affordable_truth(flow: Flow, x: Tensor) -> Estimator:
    """The best estimator of a flow's log-determinants that a score can pay for; x: some images, (n, C, H, W).

    Exact() up to 256 dimensions. Above, Krylov(60) that stops where the last product changed no image by more than
    1e-5 bits/dim, if all blocks stop before at x. Else a roulette after 20 exact terms whose tail, Matched(rho), falls
    as slowly as the slowest block contracts at x, so that its variance is finite.
    Raises NotContractiveError where a block expands at x.
    """
    size = math.prod(flow.event_shape)
    if size <= DENSE or not residual_blocks(flow):
        return Exact()
    krylov = Krylov(STEPS, tol=TOLERANCE * size * math.log(2))
    watched = _Watched(krylov)
    with estimating_with(flow, watched), tensor_float(False):
        flow.log_prob(x, torch.Generator().manual_seed(0))
    if watched.most < STEPS:
        return krylov
    flow = copy.deepcopy(flow)
    flow.measure_contraction_(x)
    slowest = max(block.contraction for block in residual_blocks(flow))
    return PowerSeries(Roulette(Matched(slowest), n_exact=20, draws="sample"))


def infinite_variance(flow: Flow, x: Tensor, estimator: Estimator | None) -> list[str]:
    """The names of the blocks whose log-determinants this estimator (None: their own) draws with an infinite variance,
    by the contraction rate measured at x. Raises NotContractiveError where a block expands there."""
    flow = copy.deepcopy(flow)  # a Matched law follows the measured rate: the flow that is scored keeps its own
    flow.measure_contraction_(x)
    for block in residual_blocks(flow):
        block.train_estimator = per_image(estimator or block.eval_estimator)
    return [row.name for row in variance_report(flow).rows if not row.finite]


def largest_share(values: Tensor) -> float:
    """Of any one sample in the mean of (passes, samples) or (samples,): max |v_i| / sum |v_i|."""
    size = values.abs() if values.dim() == 1 else values.mean(0).abs()
    return float(size.max() / size.sum().clamp_min(torch.finfo(size.dtype).tiny))


def described(flow: Flow, estimator: Estimator | None) -> str:
    """How the log-determinants of a flow are evaluated, in words."""
    for layer in flow.modules():
        if isinstance(layer, ResidualBlock):
            return repr(per_image(estimator or layer.eval_estimator))
        if isinstance(layer, ContinuousFlow):
            return f"{layer.divergence} divergence, tolerance {layer.tol:g}"
    return "exact"


def first_images(data: Images, n: int, seed: int) -> Tensor:
    """The first n images with uniform noise, (n, C, H, W) in [0, 1), on the CPU."""
    return uniform_dequantize(data.images[:n], data.n_levels, torch.Generator().manual_seed(seed))


@torch.no_grad()
def reconstruction_error(flow: Flow, x: Tensor) -> float:
    """The largest |decode(encode(x)) - x|."""
    return float((flow.decode(flow.bijection.transform(x)) - x).abs().max())


def error_bars(bits: Tensor) -> dict[str, float]:
    """Of the mean of bits/dim (passes, images) whose noise is independent between images and between passes.

    standard_error: the standard deviation over images of their mean over passes, over sqrt(images); every source of
    noise is in it. noise_error: from dequantisation and estimator draws, which more passes shrink: the standard
    deviation of an image over passes, over sqrt(passes x images). data_error: from the choice of the images; its square
    is what is left of standard_error^2. One pass cannot tell noise from data: nan.
    """
    passes, n = bits.shape
    total = float(bits.mean(0).std()) / n**0.5
    noise = float(bits.var(0).mean() / (passes * n)) ** 0.5 if passes > 1 else math.nan
    data = max(total**2 - noise**2, 0.0) ** 0.5 if passes > 1 else math.nan
    return dict(standard_error=total, data_error=data, noise_error=noise)


def claim(flow: Flow, images: Tensor, n_levels: int, seeds: Sequence[int], world: World) -> float | None:
    """Mean bits/dim by the training's estimator, a pass for each seed; None where a flow has none. A roulette takes
    stratified draws here: what it says on average is the same, with less noise."""
    estimator = next((block.train_estimator for block in residual_blocks(flow)), None)
    if estimator is None or isinstance(estimator, Unknown):  # a file has the name of the user's own only
        return None
    with estimating_with(flow, estimator, draws="stratified"):
        return float(torch.stack([image_bits(flow, images, n_levels, seed, world) for seed in seeds]).mean())


def bits_of(
    flow: Flow, data: Images, seeds: Sequence[int], estimator: Estimator | None, world: World
) -> dict[str, Any]:
    """The fields of a ledger entry about the bits/dim of all images in data, a pass for each seed; objective: claim."""
    with estimating_with(flow, estimator):
        bits = torch.stack([image_bits(flow, data.images, data.n_levels, seed, world) for seed in seeds])
    claimed = claim(flow, data.images, data.n_levels, seeds, world)
    return dict(
        preprocessing="uniform dequantisation",
        n_test=len(data.images),
        passes=len(bits),
        evaluation=described(flow, estimator),
        bits_per_dim=float(bits.mean()),
        **error_bars(bits),
        largest_share=largest_share(bits),
    ) | (dict(objective=claimed) if claimed is not None else {})
