"""What happens to a run before its steps, at each line of its record, and after the last one."""

import copy
import json
from pathlib import Path

import torch

from ..errors import ResflowError
from ..estimators.noise import Noise
from ..layers.lipschitz import update_norms_
from ..layers.orders import LearnedOrder
from ..layers.residual import ResidualBlock
from ..models.flow import Flow
from ..numerics.tensor_float import tensor_float
from .checkpoints import TrainingState, copy_parameters_, facts_of, load_flow, load_state_, save_flow, write_whole
from .machine import World
from .runs import BEST, CHECKPOINT, LAST, RECORD, note, read_lines
from .scoring import image_bits
from .tasks.batches import ImageSource
from .tasks.density import Experiment

__all__ = ["start", "record", "finish"]

MEASURED = 64
"""Images at which the contraction of the blocks is measured, at each line of the record."""
ORDER_LR = 1e-3
"""Largest learning rate of learned orders, the paper's for all parameters. Weights are divided by their norms and want
more on small data; at such rates the orders run to where power iteration misses the norm (digits, lr 0.03, 200 steps:
two of five trainings ended in a block that no longer contracts, and the proof of the others cost 0.3 bits/dim)."""
VALIDATION_SEED = 2
"""Of the noise in validation, the same each time: what differs between two lines of the record is the weights."""


def start(experiment: Experiment, data: ImageSource, directory: Path, world: World) -> TrainingState:
    """The state before the first step, or the one in the folder's checkpoint."""
    data_noise, draws = Noise(), Noise()
    data_noise.manual_seed(experiment.seed)
    draws.manual_seed(int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(experiment.seed))))
    flow = experiment.build(tuple(data.images.shape[1:])).to(world.device)
    images = data.spread(data_noise)
    with tensor_float(False):
        flow.initialize_(images)
        flow.measure_contraction_(images[:MEASURED])
    world.copy_first_([*flow.parameters(), *flow.buffers()])
    fused = True if world.device.type == "cuda" else None
    optimizer = torch.optim.Adam(_groups(flow, experiment.lr), betas=(0.9, 0.99), fused=fused)
    state = TrainingState(
        flow, [p.detach().clone() for p in flow.parameters()], optimizer, data_noise, draws, images[:MEASURED]
    )
    if (directory / CHECKPOINT).exists():
        load_state_(directory / CHECKPOINT, state)
    if world.rank == 0:
        # a line that was written after the checkpoint will be written again
        lines = [json.dumps(row) + "\n" for row in read_lines(directory / RECORD) if row["step"] <= state.step]
        write_whole(directory / RECORD, "".join(lines).encode())
        if state.step:
            note(directory, state.step, "resumed")
    return state


def _groups(flow: Flow, lr: float) -> list[dict]:
    """The optimiser's groups of parameters, each with its largest learning rate."""
    orders = [p for m in flow.modules() if isinstance(m, LearnedOrder) for p in m.parameters()]
    others = [p for p in flow.parameters() if all(p is not order for order in orders)]
    return [dict(params=others, peak=lr), dict(params=orders, peak=min(lr, ORDER_LR))]


def record(experiment: Experiment, state: TrainingState, directory: Path, world: World) -> dict:
    """A line about the steps since the last one, written to the record; the averaged weights if they are the best."""
    state.flow.measure_contraction_(state.measured)
    row = dict(step=state.step, bits_per_dim=sum(state.losses) / len(state.losses), seconds=state.seconds)
    row["lr"] = state.optimizer.param_groups[0]["lr"]
    rates = {n: m.contraction for n, m in state.flow.named_modules() if isinstance(m, ResidualBlock)}
    if rates:
        worst = max(rates, key=rates.get)
        row["contraction"] = rates[worst]
        if not rates[worst] < 1:
            raise ResflowError(
                f"{worst} no longer contracts at step {state.step} (measured rate {rates[worst]:.3f}), so that its "
                f"series diverges: lower lr ({experiment.lr}), in a new folder"
            )
    if experiment.validation:
        row["validation"] = _validate(experiment, state, directory, world)
    if rates and state.step == experiment.steps:
        row["note"] = state.flow.variance_report().summary
    state.losses = []
    if world.rank == 0:
        with (directory / RECORD).open("a") as file:
            file.write(json.dumps(row) + "\n")
    return row


def _validate(experiment: Experiment, state: TrainingState, directory: Path, world: World) -> float:
    """Bits/dim of the averaged weights on held-out images; keeps them if they are the best so far."""
    held_out = ImageSource.load(experiment.dataset, "validation", world.device)
    flow = _averaged_flow(state)
    images = held_out.images[: experiment.validation]
    bits = float(image_bits(flow, images, held_out.n_levels, VALIDATION_SEED, world).mean())
    if bits < state.best:
        state.best = bits
        if world.rank == 0:
            save_flow(directory / BEST, flow, experiment, step=state.step, validation=bits)
    return bits


def _averaged_flow(state: TrainingState) -> Flow:
    """A flow with the averaged weights, in evaluation mode."""
    flow = copy.deepcopy(state.flow)
    copy_parameters_(flow, state.averaged)
    update_norms_(flow, tol=1e-5)
    return flow.eval()


def finish(experiment: Experiment, state: TrainingState, directory: Path, world: World) -> None:
    """Write the models, proven invertible, and remove the checkpoint."""
    hardware = world.describe()
    if (directory / BEST).exists():
        facts, (best, _) = facts_of(directory / BEST), load_flow(directory / BEST, experiment)
        best.enforce_()
        chosen = dict(step=facts["step"], validation=facts["validation"])
        save_flow(directory / BEST, best, experiment, **chosen, hardware=hardware)
    flow = _averaged_flow(state)
    flow.enforce_()
    save_flow(directory / LAST, flow, experiment, step=state.step, hardware=hardware)
    (directory / CHECKPOINT).unlink(missing_ok=True)
