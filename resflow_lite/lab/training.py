"""Maximum likelihood by stochastic gradients."""

import json
import math
import time
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..errors import ResflowError, SettingsError
from ..layers.lipschitz import update_norms_
from ..models.flow import bits_per_dim
from ..numerics.tensor_float import tensor_float
from .checkpoints import TrainingState, save_state, write_whole
from .interruption import Signals, Stopped, sole_writer
from .machine import World, connect
from .precision import branches_in, check_precision
from .runs import CHECKPOINT, LAST, SETTINGS, Run, load_run, note
from .stages import finish, record, start
from .tasks.batches import ImageSource
from .tasks.density import Experiment

__all__ = ["fit"]

CLIP = 1.0
"""Largest norm of a step's gradient."""


def fit(experiment: Experiment, run_dir: Path | str) -> Run:
    """Train a flow and write it to run_dir; go on where a run of the same settings was interrupted there.

    Each step: a batch of images, fresh dequantisation noise, the mean of bits/dim as loss (unbiased, so the printed
    curve is real bits/dim), Adam, then an update of every layer's norm. Each twentieth of the run, every 1,000 steps at
    least: a line of the record, a score on held-out images and a checkpoint. SIGUSR1 asks for a checkpoint, SIGTERM for
    one and the end. The averaged weights are scaled, if need be, until every block is proven invertible.

    Raises:
        SettingsError: run_dir holds a run of other settings, or another process trains there.
        ResflowError: the loss, the gradient or a block's contraction went astray; the sentence says where, and the
            last checkpoint is kept. Stopped (a ResflowError): SIGTERM came.
    """
    directory, world = Path(run_dir), connect()
    check_precision(experiment.precision, world.device)
    if experiment.batch_size % (world.size * experiment.accumulation):
        raise SettingsError(
            f"batch_size = {experiment.batch_size}: expected a multiple of {world.size} processes x accumulation = "
            f"{experiment.accumulation}, so that all get the same share"
        )
    directory.mkdir(parents=True, exist_ok=True)
    with sole_writer(directory) if world.rank == 0 else nullcontext():
        _claim(directory, experiment, world)
        if not (directory / LAST).exists():
            _train(experiment, directory, world)
        world.wait()
    return load_run(directory, experiment=experiment)


def _claim(directory: Path, experiment: Experiment, world: World) -> None:
    """Write the settings into the folder, or compare them with those that are there."""
    path, settings = directory / SETTINGS, json.loads(json.dumps(experiment.as_dict()))
    if path.exists():
        there = json.loads(path.read_text())
        # a name that is missing is a setting that came later
        different = [f"{n} = {there[n]!r}" for n in settings if there.get(n, settings[n]) != settings[n]]
        if different:
            raise SettingsError(f"{directory} holds a run with {', '.join(different)}: choose another folder")
    world.wait()
    if world.rank == 0:
        write_whole(path, json.dumps(settings, indent=1).encode())


def _train(experiment: Experiment, directory: Path, world: World) -> None:
    """All steps that are left, and then the model."""
    data = ImageSource.load(experiment.dataset, "train", world.device)
    state = start(experiment, data, directory, world)
    before, started = state.seconds, time.perf_counter()
    every = max(1, min(1000, experiment.steps // 20))
    bar = tqdm(total=experiment.steps, initial=state.step, unit="step", leave=False, disable=world.rank > 0 or None)
    try:
        with Signals() as signals, tensor_float(experiment.precision == "tf32"), bar:
            while state.step < experiment.steps:
                save, stop = _step(experiment, state, data, world, signals)
                state.seconds = before + time.perf_counter() - started
                bar.update()
                if state.step % every == 0 or state.step == experiment.steps:
                    row, save = record(experiment, state, directory, world), True
                    if world.rank == 0 and (state.step // every % 2 == 0 or state.step == experiment.steps):
                        bar.write(f"step {state.step:5}  {row['bits_per_dim']:.3f} bits/dim  {row['seconds']:.0f} s")
                if save and world.rank == 0:
                    save_state(directory / CHECKPOINT, state, experiment, world.describe())
                if stop:
                    raise Stopped(
                        f"SIGTERM: stopped after step {state.step}, with a checkpoint; fit goes on from there"
                    )
    except ResflowError as error:
        if world.rank == 0:
            note(directory, state.step, str(error))
        raise
    if world.rank == 0:
        finish(experiment, state, directory, world)


def _step(
    experiment: Experiment, state: TrainingState, data: ImageSource, world: World, signals: Signals
) -> tuple[bool, bool]:
    """One step of the optimiser on a whole batch; whether a checkpoint, and whether the end, was asked for."""
    step, parameters = state.step + 1, list(state.flow.parameters())
    for group in state.optimizer.param_groups:
        group["lr"] = group["peak"] * _schedule(experiment, step)
    state.optimizer.zero_grad()
    loss = _gradient_(experiment, state, data, world)
    asked = loss.new_tensor(signals.read())
    world.sum_(*(p.grad for p in parameters), loss, asked)
    norm = torch.nn.utils.clip_grad_norm_(parameters, CLIP)
    loss, norm, save, stop = torch.stack([loss, norm, *asked]).tolist()
    for name, value in (("loss", loss), ("norm of the gradient", norm)):
        if not math.isfinite(value):
            raise ResflowError(f"the {name} became {value} at step {step}: lower lr ({experiment.lr}), in a new folder")
    state.optimizer.step()
    with tensor_float(False):
        update_norms_(state.flow)
    _average_(state.averaged, parameters, min(experiment.ema, step / (step + 9)))
    state.step = step
    state.losses.append(loss)
    return save > 0, stop > 0


def _gradient_(experiment: Experiment, state: TrainingState, data: ImageSource, world: World) -> Tensor:
    """Add this process's part of the gradient of a batch's mean bits/dim to the parameters; its part of the mean."""
    parts = world.size * experiment.accumulation
    before = [noise.get_state() for noise in (state.data, state.draws)]
    total = torch.zeros((), device=world.device)
    for part in range(world.rank * experiment.accumulation, (world.rank + 1) * experiment.accumulation):
        for noise, now in zip((state.data, state.draws), before):
            noise.set_state(now)  # every part draws for the whole batch
            noise.part, noise.parts = part, parts
        x = data.batch(experiment.batch_size, experiment.flip, state.data)
        with branches_in(experiment.precision, world.device):
            log_prob = state.flow.log_prob(x, state.draws)
            loss = bits_per_dim(log_prob, state.flow.event_shape, data.n_levels).mean() / parts
        loss.backward()
        total += loss.detach()
    return total


def _schedule(experiment: Experiment, step: int) -> float:
    """Linear rise over warm_up steps, linear fall over the last cool_down fraction."""
    rise = step / max(1, experiment.warm_up)
    fall = (experiment.steps + 1 - step) / max(1.0, experiment.steps * experiment.cool_down)
    return min(1.0, rise, fall) if experiment.cool_down else min(1.0, rise)


@torch.no_grad()
def _average_(averaged: list[Tensor], parameters: list[Tensor], decay: float) -> None:
    """averaged <- decay averaged + (1 - decay) parameters."""
    torch._foreach_lerp_(averaged, parameters, 1 - decay)
