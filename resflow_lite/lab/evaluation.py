"""What a finished model is worth, and images out of it and into it."""

import copy
import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import SettingsError
from ..estimators.logdet import Estimator
from ..expect import SEED, instance, integer, number
from ..layers.lipschitz import update_norms_
from .checkpoints import load_weights
from .data.images import load_images
from .files import write_json
from .ledger import read_entry, write_entry
from .machine import connect
from .runs import CHECKPOINT, ENTRY, METRICS, Run, claim, folder, load_run
from .schema import SCHEMAS, SELECTION
from .scoring import first_images, infinite_variance, reconstruction_error, residual_blocks
from .tasks.question import Question
from .tasks.registry import task_of
from .tasks.task import Task, Training
from .training import fit

SAMPLES = 1_000_000
UNEVEN = 10
"""A sample that counts so many times as much as the mean one is told of."""


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
    largest_share: of any one image in the mean; 1 / n_test if all were alike.
    infinite_variance: the blocks whose estimator has an infinite variance at their contraction, measured at these 64.
    warning: a line about either, or "".
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
    largest_share: float
    infinite_variance: list[str]
    warning: str

    def __str__(self) -> str:
        images = f"{self.n_test} {self.split} images"
        told = f"{self.split} bits/dim {self.bits_per_dim:.4f} +- {self.standard_error:.4f} ({self.dataset}, {images})"
        return f"{told}\n{self.warning}" if self.warning else told


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
    draws of the estimator: rf.Krylov(20), another one, or None. None is what the settings name (eval_estimator,
    eval_exact), or else the best that can be paid for: rf.Exact() up to 256 dimensions, Krylov's method to 1e-5
    bits/dim above, and where it does not get there a roulette of finite variance (scoring.affordable_truth).
    A roulette draws one N for every image, so that images are independent measurements; where its variance is infinite
    the Evaluation and the entry name the blocks.
    n_images: only the first so many. A run that is still training is measured at its last checkpoint.

    Raises SettingsError for other numbers, DataError for images of another shape or other levels than those that the
    model was trained on, NotContractiveError where a block expands at the first images: log p is no number then.
    """
    run = run if isinstance(run, Run) else load_run(run)
    world = connect(task_of(run.experiment).device)
    task, trained = task_of(run.experiment, world), (run.flow.event_shape, run.facts.get("n_levels"))
    question = Question(world, split, estimator, passes, n_images, seed, trained)
    flow = copy.deepcopy(run.flow).to(world.device).eval()
    events = task.events(question).to(world.device)
    question = replace(question, estimator=estimator or task.truth(flow, events))
    infinite = infinite_variance(flow, events, question.estimator)
    found = task.score(flow, question)
    if "last_step" in SCHEMAS[task.name]:
        found["last_step"] = _last_step(run, task, question) or [found["bits_per_dim"], found["standard_error"]]
    found["lipschitz_bound"] = flow.certify().worst[1] if residual_blocks(flow) else None
    found["reconstruction_error"] = reconstruction_error(flow, events)
    found |= dict(infinite_variance=infinite) if infinite else {}
    told = dict(dataset=run.experiment.as_dict()["dataset"], weights=run.weights, step=run.step)
    told |= dict(estimator=found["evaluation"], infinite_variance=infinite) | found
    told["warning"] = _warning(told)
    entry: dict[str, Any] = {}
    if world.rank == 0:
        entry = write_entry(run, found)  # refuses what is no number, before anything is written
        write_json(run.directory / METRICS, dict(task=task.name) | told)
    world.wait()
    return Evaluation(**{f.name: told[f.name] for f in fields(Evaluation)}) if task.name == "density" else entry


@torch.no_grad()
def proof_cost(run: Run | Path | str, n_images: int = 200) -> float:
    """Bits/dim that the proof of invertibility has cost an image model: of its last weights, which are scaled until
    every block is proven, minus the same before, on held-out images with the same noise.

    Raises DataError where the run's checkpoint, which has the weights before, is not there.
    """
    run = load_run(run.directory if isinstance(run, Run) else run, "last")
    before = load_weights(run.directory / CHECKPOINT, run.experiment)[0]
    update_norms_(before, tol=1e-5)  # of the averaged weights, as they were scaled from
    task = task_of(replace(run.experiment, validation=n_images), connect())
    after, before = (task.validate(flow.to(task.world.device)) for flow in (run.flow, before))
    return after - before


def _warning(told: dict[str, Any]) -> str:
    """One line about a mean that rests on few draws or on few samples; "" where there is nothing to say."""
    names, share, n = told["infinite_variance"], told.get("largest_share", 0.0), told["n_test"]
    words = []
    if names:
        named = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
        words.append(f"the estimator's variance is infinite in {len(names)} blocks ({named}): take rf.Krylov(20)")
    if share > UNEVEN / n and n > 2 * UNEVEN:
        words.append(f"one of the {n} samples makes {share:.1%} of the mean")
    return "warning: " + "; ".join(words) if words else ""


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
    path = folder(run_dir) / ENTRY
    if path.exists() and claim(path.parent, experiment) == experiment.steps:
        entry = read_entry(path)
        if not entry["selection_rule"].startswith(SELECTION["unfinished"]):
            return entry
    evaluate(fit(experiment, path.parent))
    return read_entry(path)


run_toy = run_hybrid = carry_out  # as it was called for single tasks


def dequantised(run: Run, split: str, n: int, seed: int = 0) -> Tensor:
    """The first n images of a split with uniform noise, (n, C, H, W) in [0, 1), on the CPU."""
    instance(Run)("run", run)
    return first_images(load_images(run.experiment.dataset, split), n, seed)


def sample_levels(run: Run, n: int, temperature: float = 1.0, seed: int = 0) -> Tensor:
    """n images from the model in levels 0 ... n_levels - 1, uint8 (n, C, H, W).

    Raises SettingsError for n, a temperature or a seed out of range, and for a model of anything but images.
    """
    if len(instance(Run)("run", run).flow.event_shape) != 3:
        raise SettingsError(f"{run.directory} holds a model of events {run.flow.event_shape}: expected one of images")
    integer(1, SAMPLES)("n", n)
    number("[0, 10]")("temperature", temperature)
    SEED("seed", seed)
    device, n_levels = connect().device, run.n_levels
    flow, generator = copy.deepcopy(run.flow).to(device), torch.Generator().manual_seed(seed)
    batch = max(1, 2**22 // math.prod(flow.event_shape))
    x = [flow.sample(min(batch, n - i), generator, temperature).cpu() for i in range(0, n, batch)]
    return (torch.cat(x) * n_levels).floor().clamp(0, n_levels - 1).to(torch.uint8)
