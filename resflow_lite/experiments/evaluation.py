"""Bits per dimension with error bars."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from ..datasets.images import load_images
from ..models.dequantize import uniform_dequantize
from ..models.flow import bits_per_dim
from .ledger import write_entry
from .training import Run, load_run

__all__ = ["Evaluation", "evaluate"]


@dataclass(frozen=True)
class Evaluation:
    """Mean bits/dim over images, and what it is uncertain by.

    standard_error: over images, of the mean of all passes; it holds every source of noise.
    noise_error: the part that comes from dequantisation noise and estimator draws; more passes shrink it.
    lipschitz_bound: the certificate's largest bound of Lip(g); below 1, every block is proven invertible.
    reconstruction_error: largest |decode(encode(x)) - x| over the first 64 images, pixels in [0, 1].
    """

    dataset: str
    split: str
    n_test: int
    passes: int
    bits_per_dim: float
    standard_error: float
    noise_error: float
    lipschitz_bound: float
    reconstruction_error: float

    def __str__(self) -> str:
        images = f"{self.n_test} {self.split} images"
        return f"{self.split} bits/dim {self.bits_per_dim:.4f} +- {self.standard_error:.4f} ({self.dataset}, {images})"


@torch.no_grad()
def evaluate(run: Run | Path | str, split: str = "test", seed: int = 1) -> Evaluation:
    """Bits/dim of a run's model on one split; writes metrics.json and the ledger entry ledger.json into its folder.

    Every image is passed `experiment.evaluations` times, each with fresh dequantisation noise and fresh draws of the
    blocks' evaluation estimator.
    """
    run = run if isinstance(run, Run) else load_run(run)
    data = load_images(run.experiment.dataset, split)
    generator = torch.Generator().manual_seed(seed)
    flow, rows = run.flow.eval(), []
    for _ in range(run.experiment.evaluations):
        batches = data.images.split(500)
        x = [uniform_dequantize(batch, data.n_levels, generator) for batch in batches]
        log_prob = torch.cat([flow.log_prob(batch, generator) for batch in x])
        rows.append(bits_per_dim(log_prob.double(), flow.event_shape, data.n_levels))
    bits = torch.stack(rows)
    some = x[0][:64]
    passes, n = bits.shape
    result = Evaluation(
        dataset=run.experiment.dataset,
        split=split,
        n_test=n,
        passes=passes,
        bits_per_dim=float(bits.mean()),
        standard_error=float(bits.mean(0).std() / n**0.5),
        noise_error=float((bits.var(0).mean() / (passes * n)).sqrt()) if passes > 1 else float("nan"),
        lipschitz_bound=flow.certify().worst[1],
        reconstruction_error=float((flow.decode(flow.encode(some, generator)[0]) - some).abs().max()),
    )
    (run.directory / "metrics.json").write_text(json.dumps(asdict(result), indent=1))
    write_entry(run, asdict(result))
    return result
