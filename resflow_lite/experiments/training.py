"""Maximum likelihood by stochastic gradients."""

import copy
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..datasets.images import load_images
from ..errors import ResflowError
from ..layers.lipschitz import update_norms_
from ..models.dequantize import uniform_dequantize
from ..models.flow import Flow, bits_per_dim
from .checkpoints import load_flow, save_flow
from .settings import Experiment

__all__ = ["Run", "fit", "load_run"]

MEASURED = 64
"""Images at which the contraction of the blocks is measured, at each line of the record."""


@dataclass(frozen=True)
class Run:
    """A trained model and where its files are: model.safetensors (averaged weights), training.jsonl, metrics.json."""

    directory: Path
    experiment: Experiment
    flow: Flow
    history: list[dict[str, Any]]


def fit(experiment: Experiment, run_dir: Path | str) -> Run:
    """Train a flow and write it to run_dir.

    Each step: a batch of images, fresh dequantisation noise, the mean of bits/dim as loss (unbiased, so the printed
    curve is real bits/dim), Adam, then an update of every layer's norm. Prints one line per tenth of the run. The
    averaged weights are scaled, if need be, until every block is proven invertible.
    Raises ResflowError at a loss that is not finite; what was written before stays.
    """
    directory = Path(run_dir)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "experiment.json").write_text(json.dumps(experiment.as_dict(), indent=1))
    data = load_images(experiment.dataset)
    generator = torch.Generator().manual_seed(experiment.seed)
    flow = experiment.build(tuple(data.images.shape[1:]))
    start = uniform_dequantize(data.images, data.n_levels, generator)
    flow.initialize_(start)
    flow.measure_contraction_(start[:MEASURED])
    history = _train(experiment, flow, data.images, data.n_levels, generator, directory / "training.jsonl")
    flow.enforce_()
    save_flow(directory / "model.safetensors", flow, experiment)
    return Run(directory, experiment, flow.eval(), history)


def load_run(run_dir: Path | str) -> Run:
    """A finished run from its folder. Raises DataError where its model is missing."""
    directory = Path(run_dir)
    flow, experiment = load_flow(directory / "model.safetensors")
    record = directory / "training.jsonl"
    history = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
    return Run(directory, experiment, flow, history)


def _train(
    experiment: Experiment, flow: Flow, images: Tensor, n_levels: int, generator: torch.Generator, record: Path
) -> list[dict[str, Any]]:
    """Train flow in place; leaves the averaged weights in it."""
    parameters = list(flow.parameters())
    optimizer = torch.optim.Adam(parameters, experiment.lr, betas=(0.9, 0.99))
    averaged = copy.deepcopy(parameters)
    history, recent, started = [], [], time.perf_counter()
    every = max(1, experiment.steps // 20)
    bar = tqdm(range(1, experiment.steps + 1), unit="step", leave=False, dynamic_ncols=True)
    with record.open("w") as file:
        for step in bar:
            optimizer.param_groups[0]["lr"] = experiment.lr * _schedule(experiment, step)
            batch = images[torch.randint(len(images), (experiment.batch_size,), generator=generator)]
            x = uniform_dequantize(batch, n_levels, generator)
            loss = bits_per_dim(flow.log_prob(x, generator), flow.event_shape, n_levels).mean()
            if not torch.isfinite(loss):
                raise ResflowError(f"the loss became {float(loss.detach())} at step {step}: lower lr ({experiment.lr})")
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            update_norms_(flow)
            _average_(averaged, parameters, min(experiment.ema, step / (step + 9)))
            recent.append(float(loss.detach()))
            if step % every == 0 or step == experiment.steps:
                flow.measure_contraction_(x[:MEASURED])
                row = dict(step=step, bits_per_dim=sum(recent) / len(recent), seconds=time.perf_counter() - started)
                if step == experiment.steps:
                    row["note"] = flow.variance_report().summary
                history.append(row)
                file.write(json.dumps(row) + "\n")
                file.flush()
                bar.set_postfix_str(f"{row['bits_per_dim']:.3f} bits/dim")
                if len(history) % 2 == 0 or step == experiment.steps:
                    bar.write(f"step {step:5}  {row['bits_per_dim']:.3f} bits/dim  {row['seconds']:.0f} s")
                recent = []
    with torch.no_grad():
        for parameter, mean in zip(parameters, averaged):
            parameter.copy_(mean)
    update_norms_(flow, tol=1e-5)
    return history


def _schedule(experiment: Experiment, step: int) -> float:
    """Linear rise over warm_up steps, linear fall over the last cool_down fraction."""
    rise = step / max(1, experiment.warm_up)
    fall = (experiment.steps + 1 - step) / max(1.0, experiment.steps * experiment.cool_down)
    return min(1.0, rise, fall)


@torch.no_grad()
def _average_(averaged: list[Tensor], parameters: list[Tensor], decay: float) -> None:
    """averaged <- decay averaged + (1 - decay) parameters."""
    torch._foreach_lerp_(averaged, parameters, 1 - decay)
