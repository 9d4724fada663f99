"""One loop for every task: stochastic gradients of its loss."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from ..errors import ResflowError, SettingsError
from ..expect import instance, offering, shown
from ..models.flow import Flow
from ..numerics.tensor_float import tensor_float
from .checkpoints import TrainingState, save_state
from .files import write_json
from .home import make_folder
from .machine import Signals, check_precision, connect, sole_writer
from .runs import CHECKPOINT, ENTRY, LAST, METRICS, SETTINGS, Run, claim, finished, folder, load_run, note, sha256
from .stages import begin, finish, proven, record, resume
from .step import Step, look
from .tasks.registry import task_of
from .tasks.task import Task, Training


def fit(
    experiment: Training,
    run_dir: Path | str,
    *,
    source: Run | Path | str | None = None,
    on_record: Callable[[dict[str, Any]], None] | None = None,
) -> Run:
    """Train a model of any task and write it to run_dir; go on where a run of the same settings was interrupted there,
    or where one of fewer steps ended.

    Each step: a batch, the mean of the task's loss (unbiased, so the printed curve is real bits/dim), Adam, then an
    update of every layer's norm. Each twentieth of the run, every 1,000 steps at least: a line of the record, a score
    on held-out images and a checkpoint. SIGUSR1 asks for a checkpoint, SIGTERM for one and the end. The averaged
    weights are scaled, if need be, until every block is proven invertible.

    source: a run whose weights this one starts from, a new run with a record of its own.
    on_record: is called with each line of the record: the loss, the norm of the last step's gradient, samples per
    second, terms of a series on average, seconds that are left, and more.

    Raises:
        SettingsError: run_dir holds a run of other settings, or another process trains there.
        ResflowError: the loss, the gradient or a block's contraction went astray; the sentence says where, and the
            last checkpoint is kept. Stopped (a ResflowError): SIGTERM or Ctrl-C came.
    """
    directory, world = folder(run_dir), connect(task_of(experiment).device)
    (offering("a function of a line of the record", "__call__") | None)("on_record", on_record)
    if not isinstance(source, Run | str | Path | None):
        raise SettingsError(f"source = {shown(source)}: expected a run, or the path of its folder")
    check_precision(experiment.precision, world.device)
    parts = world.size * experiment.accumulation
    if experiment.batch_size % parts:
        raise SettingsError(
            f"batch_size = {experiment.batch_size}: expected a multiple of {world.size} processes x accumulation = "
            f"{experiment.accumulation}, so that all get the same share"
        )
    make_folder(directory)
    with sole_writer(directory) if world.rank == 0 else nullcontext():
        before = claim(directory, experiment)
        world.wait()
        if finished(directory) < experiment.steps:
            _train(task_of(experiment, world), directory, before, source, on_record or (lambda row: None))
        world.wait()
    return load_run(directory, experiment=experiment)


def _train(task: Task, directory: Path, before: int, source: Any, on_record: Callable[[dict[str, Any]], None]) -> None:
    """All steps that are left, and then the model. before: steps of the run that lies there, 0: none."""
    experiment, first = task.experiment, task.world.rank == 0
    run = load_run(source) if isinstance(source, Path | str) else source
    state = begin(task, source=None if run is None else run.flow)
    resume(state, directory, first=first)
    if first:
        _open(directory, state.step, before, experiment, run)
    try:
        with Signals() as signals, tensor_float(experiment.precision == "tf32"):
            _loop(task, state, directory, signals, on_record)
    except ResflowError as error:
        if first:
            note(directory, state.step, str(error))
        raise
    if first:
        finish(task, state, directory)


def _open(directory: Path, step: int, before: int, experiment: Training, source: Run | None) -> None:
    """Write the settings into the folder, and what is no plain beginning to its events; it holds no result then."""
    if 0 < before < experiment.steps:
        if step < before:
            raise SettingsError(f"{directory} keeps no checkpoint of its step {before}: start a run from its weights")
        note(directory, step, f"extended from {before} to {experiment.steps} steps")
    if source is not None and not before:
        told = f"{source.directory.name}, step {source.step} ({source.weights}), sha256 {sha256(source.path)[:8]}"
        note(directory, step, f"starts from the weights of {told}")
    write_json(directory / SETTINGS, experiment.as_json())
    for name in (ENTRY, METRICS, LAST):
        (directory / name).unlink(missing_ok=True)


def _loop(
    task: Task, state: TrainingState, directory: Path, signals: Signals, on_record: Callable[[dict[str, Any]], None]
) -> None:
    experiment, first = task.experiment, task.world.rank == 0
    steps, every = experiment.steps, max(1, min(1000, experiment.steps // 20))
    step = Step(task, state, lambda told: note(directory, state.step, told) if first else None)
    before, started = state.seconds, time.perf_counter()
    bar = tqdm(total=steps, initial=state.step, unit="step", leave=False, disable=None if first else True)
    with bar:
        while state.step < steps:
            save, stop = task.world.any_of(signals.read())
            step()
            bar.update()
            line = state.step % every == 0 or state.step == steps
            if line or save:
                look(state)  # waits for the device, too
            state.seconds = before + time.perf_counter() - started
            if line:
                row, save = record(task, state, directory), True
                if first and (state.step // every % 2 == 0 or state.step == steps):
                    bar.write(_told(row, steps, task))
                if first:
                    on_record(row)
            if save and first:
                facts = task.facts() | dict(hardware=task.world.describe())
                save_state(directory / CHECKPOINT, state, experiment, **facts)
            if stop:
                raise signals.stopped(f"stopped after step {state.step}, with a checkpoint; fit goes on from there")


def _told(row: dict[str, Any], steps: int, task: Task) -> str:
    """A line for people."""
    told = f"step {row['step']:5} of {steps}  {row[task.unit]:.3f} {task.words}  {_span(row['seconds'])}"
    return f"{told}, {_span(row['seconds_left'])} left" if row["step"] < steps else told


def _span(seconds: float) -> str:
    size, unit = next((pair for pair in ((1, "s"), (60, "min")) if seconds < 600 * pair[0]), (3600, "h"))
    return f"{seconds / size:.0f} {unit}"


def train_toy(experiment: Training, flow: Flow | None = None) -> tuple[Flow, list[tuple[float, float]]]:
    """The same training without a folder: the flow, and after each step the CPU seconds so far and the loss.

    The loss is what the flow's own training estimator reports. flow: another one in place of the experiment's; its own
    estimators stay. Raises ResflowError where the loss is not finite.
    """
    task = task_of(experiment, connect(task_of(experiment).device))
    (instance(Flow) | None)("flow", flow)
    if flow is not None and flow.event_shape != task.shape:
        raise SettingsError(f"flow is of events {flow.event_shape}: expected {task.shape}")
    state, history = begin(task, flow), []
    step = Step(task, state)
    while state.step < experiment.steps:
        step()
        look(state)
        history.append((state.cpu_seconds, float(step.loss)))
    return proven(state), history
