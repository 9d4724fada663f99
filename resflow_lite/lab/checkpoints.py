"""What a run writes: models, and all that it needs to go on as if nothing had happened. Safetensors, no pickles."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import DataError, SettingsError
from ..estimators.noise import Noise
from ..expect import Check, instance, integer, number
from ..models.flow import Flow
from .data.images import load_images
from .package_data import shipped
from .sealed import read_facts, read_sealed, unreadable, write_sealed
from .tasks.registry import TASKS, read_settings, task_of
from .tasks.task import Training


@dataclass
class TrainingState:
    """A run between two steps. data: the noise that chooses, flips and dequantises images; its state is the position in
    the data.  draws: that of the model's estimators (tasks/task.py, noises).

    measured: events at which the contraction of the blocks is measured, the same in every process.
    averaged: the parameters' running mean.
    seen: what the steps leave on the device, float64: the number of the last step, its loss and the norm of its
    gradient, or those of the first step where they were not finite; the sum of the losses since the last line of the
    record.  since: how many steps that line is ago.
    seconds, cpu_seconds: of training, interruptions left out; of the steps alone.
    recorded: seconds at the last line of the record.
    best: the lowest loss on held-out data.
    """

    flow: Flow
    averaged: list[Tensor]
    optimizer: torch.optim.Optimizer
    data: Noise
    draws: Noise
    measured: Tensor
    step: int = 0
    since: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    recorded: float = 0.0
    best: float = math.inf
    seen: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.seen = torch.zeros(4, dtype=torch.float64, device=self.averaged[0].device)


PLAIN = ("step", "since", "seconds", "cpu_seconds", "recorded", "best")
"""The parts of a TrainingState that are plain numbers."""
SECONDS = number("[0, inf)")
FACTS = dict(step=integer(0, 2**63 - 1), since=integer(0, 2**63 - 1), n_levels=integer(2, 256) | None)
FACTS |= dict(seconds=SECONDS, cpu_seconds=SECONDS, recorded=SECONDS, best=number("[-inf, inf]"))
FACTS |= dict(source=instance(dict))
FACTS["hardware"] = Check(
    "a dictionary, of 1 or more processes",
    lambda told: isinstance(told, dict) and integer(1).fits(told.get("processes", 1)),
)
HUGE = 2.0**60
"""More than that no parameter is: in single precision the squares of its norm are no numbers from 1e19 on."""
LARGEST = 2**24
"""Entries of an event, at most."""


def save_flow(path: Path, flow: Flow, experiment: Training, **facts: Any) -> None:
    """Write weights, settings and further facts to one file, atomically."""
    write_sealed(path, flow.state_dict(), _common(flow, experiment) | facts)


def load_flow(path: Path | str, experiment: Training | None = None) -> tuple[Flow, Training]:
    """The flow in evaluation mode and the settings that made it, of any task. experiment: the settings, where they hold
    objects of one's own and these are needed; the file has their names only.

    Raises DataError for a missing or damaged file, SettingsError where the weights need a class of one's own or are of
    other settings than `experiment`."""
    flow, experiment, _ = load_weights(path, experiment)
    return flow, experiment


def load_toy(path: Path | str) -> tuple[Flow, Training]:
    """load_flow in single precision, in which weights are trained, whatever the default is."""
    flow, experiment = load_flow(path)
    return flow.float(), experiment


def load_weights(path: Path | str, experiment: Training | None = None) -> tuple[Flow, Training, dict[str, Any]]:
    """As load_flow, of a file of weights or the averaged weights of a checkpoint; and what the file tells beside."""
    path = Path(path)
    tensors, facts = _read(path)
    experiment = experiment or _settings(path, facts)
    flow = experiment.build(_shape(path, facts, experiment))
    averaged = _under(tensors, "averaged.")
    weights = _under(tensors, "flow.") if averaged else tensors
    _expect_sound(path, weights | {f"averaged.{i}": t for i, t in averaged.items()}, flow)
    try:
        flow.load_state_dict(weights)
    except SettingsError as error:
        raise SettingsError(
            f"the weights of {path} are not of the model that these settings make ({error}). The file was made with "
            f"{facts['experiment']}"
        ) from error
    if averaged:
        try:
            copy_parameters_(flow, _in_order(averaged, flow))
        except ValueError as error:
            raise unreadable(path, error) from None
    return flow.eval(), experiment, facts


def _settings(path: Path, facts: dict[str, Any]) -> Training:
    told, task = facts.get("experiment"), facts.get("task")
    if not isinstance(told, dict) or not (task is None or isinstance(task, str) and task in TASKS):
        raise DataError(
            f"{path} tells of no settings that are known here (task = {task!r}): expected weights that fit has "
            "written; a newer version of resflow_lite may read it"
        )
    try:
        return read_settings(told, task)
    except SettingsError as error:
        raise SettingsError(f"the settings in {path}: {error}") from error


def _shape(path: Path, facts: dict[str, Any], experiment: Training) -> tuple[int, ...]:
    if "shape" not in facts:
        return tuple(load_images(experiment.dataset).images.shape[1:])
    shape = facts["shape"]
    good = isinstance(shape, list) and shape and all(type(n) is int and n > 0 for n in shape)
    if not good or math.prod(shape) > LARGEST:
        raise DataError(f"{path}: shape = {shape!r}, expected whole numbers whose product is {LARGEST:,} at most")
    return tuple(shape)


def _expect_sound(path: Path, tensors: Mapping[str, Tensor], flow: Flow) -> None:
    """Raises DataError for numbers that no training has written: the flow would compute something else without a
    word."""
    own = {name: t.dtype.is_floating_point for name, t in flow.state_dict().items()}
    for name, t in tensors.items():
        if t.dtype.is_floating_point != own.get(name, t.dtype.is_floating_point):
            raise DataError(f"{path}: {name} holds {t.dtype}, which no training writes there: fetch the file again")
        known = t.dtype.is_floating_point and not name.endswith("_extra_state")  # where nan is a rate not measured yet
        if known and not t.isfinite().all():
            raise DataError(f"{path}: {name} holds a number that is not finite: take weights of an earlier step")
        if known and (largest := float(t.abs().amax()) if t.numel() else 0.0) > HUGE:
            raise DataError(
                f"{path}: {name} holds {largest:.1e}, which no training writes: take weights of an earlier step"
            )
        weight = tensors.get(f"{name.rpartition('.')[0]}.weight")
        if name.endswith((".vector", ".right")) and t.numel() and not t.any() and weight is not None and weight.any():
            raise DataError(f"{path}: {name} holds zeros alone, a vector that no norm can be told by: fetch it again")


def _common(flow: Flow, experiment: Training) -> dict[str, Any]:
    return dict(experiment=experiment.as_dict(), task=task_of(experiment).name, shape=flow.event_shape)


def facts_of(path: Path) -> dict[str, Any]:
    """What save_flow and save_state were told beside the weights, without reading those."""
    return _possible(path, read_facts(path))


def save_state(path: Path, state: TrainingState, experiment: Training, **facts: Any) -> None:
    """Write everything that training needs to go on, atomically; and further facts, such as on what it ran."""
    tensors = {f"flow.{name}": t for name, t in state.flow.state_dict().items()}
    tensors |= {f"averaged.{i}": t for i, t in enumerate(state.averaged)}
    for i, moments in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{name}": t for name, t in moments.items()}
    tensors |= dict(data=state.data.get_state(), draws=state.draws.get_state(), seen=state.seen)
    tensors |= dict(terms=torch.tensor(state.draws.terms, dtype=torch.float64))
    write_sealed(
        path, tensors, {name: getattr(state, name) for name in PLAIN} | _common(state.flow, experiment) | facts
    )


def load_state_(path: Path, state: TrainingState) -> None:
    """Set a fresh state to the one in the file. Raises DataError for a damaged file."""
    tensors, facts = _read(path)
    if "draws" not in tensors:
        raise SettingsError(f"{path} is of an older version: start a new run from its weights (fit, source or --from)")
    try:
        state.flow.load_state_dict(_under(tensors, "flow."))
        averaged = _in_order(_under(tensors, "averaged."), state.flow)
        state.averaged = [found.to(t) for found, t in zip(averaged, state.averaged)]
        moments = _moments(tensors, state, facts["step"])
        groups = state.optimizer.state_dict()["param_groups"]
        state.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        state.data.set_state(tensors["data"])
        state.draws.set_state(tensors["draws"])
        state.draws.terms[:] = tensors["terms"].tolist()
        if "seen" not in tensors:  # written while every loss was kept
            tensors["seen"] = torch.tensor([facts["step"], 0, facts["gradient_norm"], sum(facts["losses"])])
            facts["since"] = len(facts["losses"])
        for name in ("seen", "terms"):
            if tensors[name].dim() != 1 or not tensors[name].isfinite().all():
                raise ValueError(f"{name} = {tensors[name].tolist()}, which no training writes")
        if (noted := float(tensors["seen"][0])) != facts["step"]:
            raise ValueError(f"step = {facts['step']}, but its losses end at {noted:.0f}")
        state.seen.copy_(tensors["seen"])
        for name in PLAIN:
            setattr(state, name, facts[name])
    except Exception as error:
        raise unreadable(path, error) from error


def _in_order(averaged: Mapping[str, Tensor], flow: Flow) -> list[Tensor]:
    """The averaged parameters, by their numbers. Raises ValueError where they are not those of the flow."""
    if {name: t.shape for name, t in averaged.items()} != {str(i): p.shape for i, p in enumerate(flow.parameters())}:
        raise ValueError("its averaged weights are not of the model that its settings make")
    return [averaged[str(i)] for i in range(len(averaged))]


def _moments(tensors: Mapping[str, Tensor], state: TrainingState, step: int) -> dict[int, dict[str, Tensor]]:
    """Adam's running means, by parameter. Raises ValueError for such as no training has after so many steps."""
    parameters, found = [p for group in state.optimizer.param_groups for p in group["params"]], {}
    shapes = {str(i): p.shape for i, p in enumerate(parameters)}
    for name, t in _under(tensors, "optimizer.").items():
        i, kind = name.split(".")
        good = t.numel() == 1 and t <= step if kind == "step" else t.shape == shapes.get(i)
        if not good or i not in shapes or not t.isfinite().all() or kind != "exp_avg" and (t < 0).any():
            raise ValueError(f"optimizer.{name} is not what Adam has after {step} steps")
        found.setdefault(int(i), {})[kind] = t
    if step and not found:
        raise ValueError(f"it has no running means of Adam after {step} steps")
    return found


@torch.no_grad()
def copy_parameters_(flow: Flow, values: list[Tensor]) -> None:
    for parameter, value in zip(flow.parameters(), values):
        parameter.copy_(value)


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and facts, as save_flow and save_state were given them. Raises DataError."""
    tensors, facts = read_sealed(path)
    return tensors, _possible(path, facts)


def _possible(path: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """These facts. Raises DataError for a value that no training has."""
    try:
        _expect_possible(facts)
    except SettingsError as error:
        raise unreadable(path, error) from None
    return facts


def _expect_possible(facts: Mapping[str, Any]) -> None:
    for name in FACTS.keys() & facts.keys():
        FACTS[name](name, facts[name])
    steps = told.get("steps") if isinstance(told := facts.get("experiment"), dict) else None
    limits = [("step", steps if type(steps) is int else None)]
    limits += [("since", facts.get("step")), ("recorded", facts.get("seconds"))]
    for name, most in limits:
        if None not in (most, found := facts.get(name)) and found > most:
            raise SettingsError(f"{name} = {found}: expected {most} at most, as its training has no more")


def pretrained(name: str) -> Flow:
    """A small trained flow that the project ships, in evaluation mode: "digits", "checkerboard-resflow", ...

    Its settings: load_flow(shipped(f"models/{name}.safetensors")). Raises DataError for another name, with all names.
    """
    names = sorted(path.stem for path in shipped("models").glob("*.safetensors"))
    if name not in names:
        raise DataError(f"there is no trained model {name!r}; there are: {', '.join(names)}")
    return load_flow(shipped(f"models/{name}.safetensors"))[0]
