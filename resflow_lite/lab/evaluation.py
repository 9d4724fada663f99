"""Bits per dimension with error bars."""

import copy
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..estimators.logdet import Estimator
from ..layers.continuous import ContinuousFlow
from ..layers.residual import ResidualBlock
from ..models.dequantize import uniform_dequantize
from ..models.flow import Flow
from .data.images import load_images
from .ledger import write_entry
from .machine import connect
from .runs import Run, load_run
from .scoring import error_bars, estimating_with, image_bits, per_image

__all__ = ["Evaluation", "evaluate"]


@dataclass(frozen=True)
class Evaluation:
    """Mean bits/dim over images, and what it is uncertain by.

    weights, step: which of the run's weights (Run.weights), and after how many steps.  estimator: of the blocks.
    standard_error: over images, of the mean of all passes; it holds every source of noise.
    data_error: the part that comes from the choice of the images.
    noise_error: the part that comes from dequantisation noise and estimator draws; more passes shrink it.
    last_step: mean and standard error of the weights of the last step, for when validation chose others.
    lipschitz_bound: the certificate's largest bound of Lip(g); below 1, every block is proven invertible. None for a
    flow without residual blocks.
    reconstruction_error: largest |decode(encode(x)) - x| over the first 64 images, pixels in [0, 1].
    """

    dataset: str
    split: str
    n_test: int
    passes: int
    weights: str
    step: int
    estimator: str
    bits_per_dim: float
    standard_error: float
    data_error: float
    noise_error: float
    last_step: tuple[float, float]
    lipschitz_bound: float | None
    reconstruction_error: float

    def __str__(self) -> str:
        images = f"{self.n_test} {self.split} images"
        return f"{self.split} bits/dim {self.bits_per_dim:.4f} +- {self.standard_error:.4f} ({self.dataset}, {images})"


def evaluate(
    run: Run | Path | str,
    split: str = "test",
    estimator: Estimator | None = None,
    passes: int | None = None,
    n_images: int | None = None,
    seed: int = 1,
) -> Evaluation:
    """Bits/dim of a run's averaged weights on one split; writes metrics.json and the ledger entry ledger.json.

    Every image is passed `passes` times (None: experiment.evaluations), each with fresh dequantisation noise and fresh
    draws of the estimator: rf.Krylov(20), another one, or None for the model's own, which is the paper's (a roulette
    after 20 exact terms; here one N for every image, so that images are independent measurements).
    n_images: only the first so many. A run that is still training is measured at its last checkpoint.
    """
    run = run if isinstance(run, Run) else load_run(run)
    world, data = connect(), load_images(run.experiment.dataset, split)
    images = torch.as_tensor(data.images)[:n_images]
    seeds = torch.randint(2**62, (passes or run.experiment.evaluations,), generator=torch.Generator().manual_seed(seed))

    def score(flow: Flow) -> Tensor:
        with estimating_with(flow, estimator):
            return torch.stack([image_bits(flow, images, data.n_levels, s, world) for s in seeds.tolist()])

    flow = copy.deepcopy(run.flow).to(world.device).eval()
    bits = score(flow)
    bars = error_bars(bits)
    last, last_bars = bits, bars
    if run.weights == "best" and run.step != run.experiment.steps:
        last = score(load_run(run.directory, "last", run.experiment).flow.to(world.device))
        last_bars = error_bars(last)
    x = uniform_dequantize(images[:64].to(world.device), data.n_levels, torch.Generator().manual_seed(seed))
    residual = any(isinstance(m, ResidualBlock) for m in flow.modules())
    result = Evaluation(
        dataset=run.experiment.dataset_name,
        split=split,
        n_test=len(images),
        passes=len(bits),
        weights=run.weights,
        step=run.step,
        estimator=described(flow, estimator),
        bits_per_dim=float(bits.mean()),
        standard_error=bars.total,
        data_error=bars.data,
        noise_error=bars.noise,
        last_step=(float(last.mean()), last_bars.total),
        lipschitz_bound=flow.certify().worst[1] if residual else None,
        reconstruction_error=_reconstruction_error(flow, x),
    )
    if world.rank == 0:
        (run.directory / "metrics.json").write_text(json.dumps(asdict(result), indent=1))
        write_entry(run, result)
    world.wait()
    return result


def described(flow: Flow, estimator: Estimator | None) -> str:
    """How the log-determinants of a flow are evaluated, in words."""
    for layer in flow.modules():
        if isinstance(layer, ResidualBlock):
            return repr(per_image(estimator or layer.eval_estimator))
        if isinstance(layer, ContinuousFlow):
            return f"{layer.divergence} divergence, tolerance {layer.tol:g}"
    return "exact"


@torch.no_grad()
def _reconstruction_error(flow: Flow, x: Tensor) -> float:
    z, _ = flow.encode(x, torch.Generator().manual_seed(0))
    return float((flow.decode(z) - x).abs().max())
