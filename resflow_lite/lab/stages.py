"""What happens to a run before its steps, at each line of its record, and after the last one."""

import copy
from pathlib import Path
from typing import Any

import torch

from ..errors import NotContractiveError, ResflowError, SettingsError
from ..estimators.krylov import Krylov
from ..estimators.logdet import Exact, PowerSeries
from ..layers.lipschitz import update_norms_
from ..layers.orders import LearnedOrder
from ..layers.residual import residual_blocks
from ..models.flow import Flow
from ..numerics.tensor_float import tensor_float
from .checkpoints import TrainingState, copy_parameters_, facts_of, load_flow, load_state_, save_flow
from .files import add_line, as_json, drop_half_line, write_whole
from .runs import BEST, CHECKPOINT, LAST, RECORD, note, read_record
from .step import look
from .tasks.task import Task, Training, noises

MEASURED = 64
"""Events at which the contraction of the blocks is measured, at each line of the record."""
ORDER_LR = 1e-3
"""Largest learning rate of learned orders, the paper's for all parameters. Weights are divided by their norms and want
more on small data; at such rates the orders run to where power iteration misses the norm (digits, lr 0.03, 200 steps:
two of five trainings ended in a block that no longer contracts, and the proof of the others cost 0.3 bits/dim)."""


def begin(task: Task, flow: Flow | None = None, source: Flow | None = None) -> TrainingState:
    """The state before the first step. flow: in place of the task's own.  source: whose weights it starts from."""
    experiment, world = task.experiment, task.world
    data, draws = noises(experiment.seed)
    flow = (flow or experiment.build(task.shape)).to(world.device).train()
    _check_parts(flow, world.size * experiment.accumulation)
    events = task.start(data).to(world.device)
    with tensor_float(False):
        if source is None:
            flow.initialize_(events)
        else:
            _take_over_(flow, source)
        flow.measure_contraction_(events[:MEASURED])
    world.copy_first_([*flow.parameters(), *flow.buffers()])
    averaged = [p.detach().clone() for p in flow.parameters()]
    return TrainingState(flow, averaged, _adam(flow, experiment, world.device), data, draws, events[:MEASURED])


def _take_over_(flow: Flow, source: Flow) -> None:
    try:
        flow.load_state_dict(source.state_dict())
    except SettingsError as error:
        raise SettingsError(f"the weights to start from are of a model of another size: {error}") from error


def _check_parts(flow: Flow, parts: int) -> None:
    """An estimator of the user's own may draw in any way, and its draws cannot be shared out."""
    for block in residual_blocks(flow).values():
        if parts > 1 and not isinstance(block.train_estimator, PowerSeries | Exact | Krylov):
            raise SettingsError(
                f"train_estimator = {block.train_estimator!r}: its draws cannot be shared out between parts of a "
                "batch; train in one process with accumulation = 1"
            )


def _adam(flow: Flow, experiment: Training, device: torch.device) -> torch.optim.Adam:
    """Adam that reads nothing back: its rate and its number of steps lie on the device. peak: the largest rate."""
    lr, on_gpu = experiment.lr, device.type == "cuda"
    exact = torch.float32 if on_gpu else torch.float64  # all that the GPU's kernel takes
    orders = [p for m in flow.modules() if isinstance(m, LearnedOrder) for p in m.parameters()]
    others = [p for p in flow.parameters() if all(p is not order for order in orders)]
    groups = [dict(params=others, peak=lr), dict(params=orders, peak=min(lr, ORDER_LR))]
    groups = [group | dict(lr=torch.zeros((), dtype=exact, device=device)) for group in groups]
    chosen = dict(betas=experiment.betas, weight_decay=experiment.weight_decay)
    return torch.optim.Adam(groups, **chosen, fused=True, capturable=on_gpu)


def resume(state: TrainingState, directory: Path, *, first: bool) -> None:
    """Set a fresh state to the one in the folder's checkpoint, if there is one. first: whether this process writes."""
    if (directory / CHECKPOINT).exists():
        load_state_(directory / CHECKPOINT, state)
    if first:
        half = drop_half_line(directory / RECORD)
        # a line that was written after the checkpoint will be written again
        lines = [as_json(row) + "\n" for row in read_record(directory / RECORD) if row["step"] <= state.step]
        write_whole(directory / RECORD, "".join(lines).encode())
        if state.step:
            before, now = facts_of(directory / CHECKPOINT).get("hardware", {}).get("threads"), torch.get_num_threads()
            told = f" with {now} threads, {before} before: the last bits may differ" * (before not in (None, now))
            told += "; the record ended in half a line, which is left out" * half
            note(directory, state.step, f"resumed{told}")


def record(task: Task, state: TrainingState, directory: Path) -> dict[str, Any]:
    """A line about the steps since the last one, written to the record; the averaged weights if they are the best."""
    experiment, world, total = task.experiment, task.world, look(state)
    speed = state.since / max(state.seconds - state.recorded, 1e-9)
    row = {"step": state.step, task.unit: total / state.since, "seconds": state.seconds}
    row |= dict(cpu_seconds=state.cpu_seconds, lr=experiment.rate(state.step) * experiment.lr)
    row |= dict(gradient_norm=float(state.seen[2]), per_second=speed * experiment.batch_size)
    row["seconds_left"] = (experiment.steps - state.step) / speed
    if state.draws.terms:
        row["terms"] = sum(state.draws.terms) / len(state.draws.terms)
    try:
        state.flow.measure_contraction_(state.measured)
    except NotContractiveError as error:
        raise ResflowError(f"step {state.step}: {error}. Lower lr ({experiment.lr}), in a new folder") from error
    rates = [block.contraction for block in residual_blocks(state.flow).values()]
    if rates:
        row["contraction"] = max(rates)
    if experiment.validation:
        row["validation"] = _validate(task, state, directory)
    if experiment.truth_images:
        row |= task.compare(_averaged_flow(state))
    if rates and state.step == experiment.steps and world.rank == 0:
        report = state.flow.variance_report()
        if not report.holds:
            note(directory, state.step, report.summary)
    state.seen[3] = state.since = 0
    state.recorded = state.seconds
    state.draws.terms.clear()
    if world.rank == 0:
        add_line(directory / RECORD, row)
    return row


def _validate(task: Task, state: TrainingState, directory: Path) -> float:
    """The loss of the averaged weights on held-out data; keeps them if they are the best so far."""
    flow = _averaged_flow(state)
    loss = task.validate(flow)
    if loss < state.best:
        state.best = loss
        if task.world.rank == 0:
            save_flow(directory / BEST, flow, task.experiment, **task.facts(), step=state.step, validation=loss)
    return loss


def _averaged_flow(state: TrainingState) -> Flow:
    """A flow with the averaged weights, in evaluation mode."""
    flow = copy.deepcopy(state.flow)
    copy_parameters_(flow, state.averaged)
    update_norms_(flow, tol=1e-5)
    return flow.eval()


def proven(state: TrainingState) -> Flow:
    """The averaged weights, scaled, if need be, until every block is proven invertible."""
    flow = _averaged_flow(state)
    flow.enforce_()
    return flow


def finish(task: Task, state: TrainingState, directory: Path) -> None:
    """Write the models, proven invertible. The checkpoint stays: the run may get more steps."""
    experiment, facts = task.experiment, task.facts() | dict(hardware=task.world.describe())
    if (directory / BEST).exists():
        told, (best, _) = facts_of(directory / BEST), load_flow(directory / BEST, experiment)
        best.enforce_()
        save_flow(directory / BEST, best, experiment, **facts, step=told["step"], validation=told["validation"])
    save_flow(directory / LAST, proven(state), experiment, **facts, step=state.step)
