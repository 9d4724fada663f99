"""What a run writes: models, and all that it needs to go on as if nothing had happened. Safetensors, no pickles."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from ..errors import DataError, SettingsError
from ..estimators.noise import Noise
from ..models.flow import Flow
from .data.images import load_images
from .tasks.registry import read_settings, task_of
from .tasks.task import Training

__all__ = [
    "TrainingState",
    "save_flow",
    "load_flow",
    "load_toy",
    "save_state",
    "load_state_",
    "load_weights",
    "facts_of",
    "write_whole",
]


@dataclass
class TrainingState:
    """A run between two steps. data: the noise that chooses, flips and dequantises images; its state is the position in
    the data.  draws: that of the model's estimators (tasks/task.py, noises).

    measured: events at which the contraction of the blocks is measured, the same in every process.
    averaged: the parameters' running mean.  losses: of the steps since the last line of the record.
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
    losses: list[float] = field(default_factory=list)
    gradient_norm: float = math.nan
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    recorded: float = 0.0
    best: float = math.inf


PLAIN = ("step", "losses", "gradient_norm", "seconds", "cpu_seconds", "recorded", "best")
"""The parts of a TrainingState that are plain numbers."""


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, whatever happens meanwhile."""
    unfinished = path.with_name(path.name + ".unfinished")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)


def save_flow(path: Path, flow: Flow, experiment: Training, **facts: Any) -> None:
    """Write weights, settings and further facts to one file, atomically."""
    _write(path, flow.state_dict(), _common(flow, experiment) | facts)


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
    tensors, facts = _read(Path(path))
    try:
        experiment = experiment or read_settings(facts["experiment"], facts.get("task"))
    except KeyError as error:
        raise _unreadable(Path(path), error) from error
    flow = experiment.build(_shape(facts, experiment))
    averaged = [tensors.pop(name) for i in range(len(tensors)) if (name := f"averaged.{i}") in tensors]
    try:
        flow.load_state_dict(_under(tensors, "flow.") if averaged else tensors)
    except RuntimeError as error:
        told = f"the weights of {path} are not of the model that these settings make: {str(error).splitlines()[-1]}"
        raise SettingsError(f"{told.strip()}. The file was made with {facts['experiment']}") from error
    if averaged:
        copy_parameters_(flow, averaged)
    return flow.eval(), experiment, facts


def _shape(facts: dict[str, Any], experiment: Training) -> tuple[int, ...]:
    if "shape" in facts:
        return tuple(facts["shape"])
    return tuple(load_images(experiment.dataset).images.shape[1:])


def _common(flow: Flow, experiment: Training) -> dict[str, Any]:
    return dict(experiment=experiment.as_dict(), task=task_of(experiment).name, shape=flow.event_shape)


def facts_of(path: Path) -> dict[str, Any]:
    """What save_flow and save_state were told beside the weights, without reading those."""
    try:
        with Path(path).open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return {name: json.loads(value) for name, value in header["__metadata__"].items()}
    except Exception as error:
        raise _unreadable(path, error) from error


def save_state(path: Path, state: TrainingState, experiment: Training, **facts: Any) -> None:
    """Write everything that training needs to go on, atomically; and further facts, such as on what it ran."""
    tensors = {f"flow.{name}": t for name, t in state.flow.state_dict().items()}
    tensors |= {f"averaged.{i}": t for i, t in enumerate(state.averaged)}
    for i, moments in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{name}": t for name, t in moments.items()}
    tensors |= dict(data=state.data.get_state(), draws=state.draws.get_state())
    tensors |= dict(terms=torch.tensor(state.draws.terms, dtype=torch.float64))
    _write(path, tensors, {name: getattr(state, name) for name in PLAIN} | _common(state.flow, experiment) | facts)


def load_state_(path: Path, state: TrainingState) -> None:
    """Set a fresh state to the one in the file. Raises DataError for a damaged file."""
    tensors, facts = _read(path)
    if "draws" not in tensors:
        raise SettingsError(f"{path} is of an older version: start a new run from its weights (fit, source or --from)")
    try:
        state.flow.load_state_dict(_under(tensors, "flow."))
        state.averaged = [tensors[f"averaged.{i}"].to(t.device) for i, t in enumerate(state.averaged)]
        moments: dict[int, dict[str, Tensor]] = {}
        for name, t in _under(tensors, "optimizer.").items():
            i, kind = name.split(".")
            moments.setdefault(int(i), {})[kind] = t
        groups = state.optimizer.state_dict()["param_groups"]
        state.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        state.data.set_state(tensors["data"])
        state.draws.set_state(tensors["draws"])
        state.draws.terms[:] = tensors["terms"].tolist()
        for name in PLAIN:
            setattr(state, name, facts[name])
    except Exception as error:
        raise _unreadable(path, error) from error


@torch.no_grad()
def copy_parameters_(flow: Flow, values: list[Tensor]) -> None:
    for parameter, value in zip(flow.parameters(), values):
        parameter.copy_(value)


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _write(path: Path, tensors: Mapping[str, Tensor], facts: dict[str, Any]) -> None:
    plain = {name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in tensors.items()}
    write_whole(path, save(plain, {name: json.dumps(value) for name, value in facts.items()}))


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and facts. The whole file at once: another process may replace it meanwhile."""
    try:
        content = Path(path).read_bytes()
        size = int.from_bytes(content[:8], "little")
        facts = json.loads(content[8 : 8 + size])["__metadata__"]
        return load(content), {name: json.loads(value) for name, value in facts.items()}
    except Exception as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} is not a readable flow checkpoint ({error}): train it again, or fetch it again")
