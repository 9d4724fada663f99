"""What a finished model is worth, and images out of it and into it."""

import copy
import json
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..estimators.logdet import Estimator
from ..layers.residual import ResidualBlock
from .data.images import load_images
from .ledger import SCHEMAS, SELECTION, write_entry
from .machine import connect
from .runs import ENTRY, METRICS, Run, claim, load_run
from .scoring import first_images, reconstruction_error
from .tasks.registry import task_of
from .tasks.task import Question, Task, Training
from .training import fit

__all__ = ["Evaluation", "carry_out", "dequantised", "evaluate", "run_hybrid", "run_toy", "sample_levels"]


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
    last_step: list[float]
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
) -> Any:
    """Score a run's averaged weights; writes metrics.json and the ledger entry ledger.json. Of image densities an
    Evaluation, the bits/dim on one split; of other tasks the entry.

    Every image is passed `passes` times (None: experiment.evaluations), each with fresh dequantisation noise and fresh
    draws of the estimator: rf.Krylov(20), another one, or None for the model's own, which is the paper's (a roulette
    after 20 exact terms; here one N for every image, so that images are independent measurements).
    n_images: only the first so many. A run that is still training is measured at its last checkpoint.
    """
    run = run if isinstance(run, Run) else load_run(run)
    world = connect(task_of(run.experiment).device)
    task, question = task_of(run.experiment, world), Question(world, split, estimator, passes, n_images, seed)
    flow = copy.deepcopy(run.flow).to(world.device).eval()
    found = task.score(flow, question)
    if "last_step" in SCHEMAS[task.name]:
        found["last_step"] = _last_step(run, task, question) or [found["bits_per_dim"], found["standard_error"]]
    residual = any(isinstance(m, ResidualBlock) for m in flow.modules())
    found["lipschitz_bound"] = flow.certify().worst[1] if residual else None
    found["reconstruction_error"] = reconstruction_error(flow, task.events(question).to(world.device))
    told = dict(dataset=run.experiment.as_dict()["dataset"], weights=run.weights, step=run.step)
    told |= dict(estimator=found["evaluation"]) | found
    entry: dict[str, Any] = {}
    if world.rank == 0:
        (run.directory / METRICS).write_text(json.dumps(dict(task=task.name) | told, indent=1))
        entry = write_entry(run, found)
    world.wait()
    return Evaluation(**{f.name: told[f.name] for f in fields(Evaluation)}) if task.name == "density" else entry


def _last_step(run: Run, task: Task, question: Question) -> list[float] | None:
    """Mean and standard error of the last step's weights, where validation chose others."""
    if run.weights != "best" or run.step == run.experiment.steps:
        return None
    last = load_run(run.directory, "last", run.experiment).flow.to(task.world.device)
    found = task.score(last, question)
    return [found["bits_per_dim"], found["standard_error"]]


def carry_out(experiment: Training, run_dir: Path | str) -> dict[str, Any]:
    """Train, score and return the ledger entry, which lies in run_dir; called again it goes on, or returns the entry.

    Raises SettingsError where run_dir holds a run of other settings, and as fit.
    """
    path = Path(run_dir) / ENTRY
    if path.exists() and claim(path.parent, experiment) == experiment.steps:
        entry = json.loads(path.read_text())
        if not entry["selection_rule"].startswith(SELECTION["unfinished"]):
            return entry
    evaluate(fit(experiment, path.parent))
    return json.loads(path.read_text())


run_toy = run_hybrid = carry_out  # as it was called for single tasks


def dequantised(run: Run, split: str, n: int, seed: int = 0) -> Tensor:
    """The first n images of a split with uniform noise, (n, C, H, W) in [0, 1), on the CPU."""
    return first_images(load_images(run.experiment.dataset, split), n, seed)


def sample_levels(run: Run, n: int, temperature: float = 1.0, seed: int = 0) -> Tensor:
    """n images from the model in levels 0 ... n_levels - 1, uint8 (n, C, H, W)."""
    device, n_levels = connect().device, run.n_levels
    flow, generator = copy.deepcopy(run.flow).to(device), torch.Generator().manual_seed(seed)
    batch = max(1, 2**22 // math.prod(flow.event_shape))
    x = [flow.sample(min(batch, n - i), generator, temperature).cpu() for i in range(0, n, batch)]
    return (torch.cat(x) * n_levels).floor().clamp(0, n_levels - 1).to(torch.uint8)
