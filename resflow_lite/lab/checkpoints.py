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
from ..layers.activations import ACTIVATIONS
from ..models.flow import Flow
from .data.images import load_images
from .tasks.density import ESTIMATORS, Experiment

__all__ = [
    "TrainingState",
    "save_flow",
    "load_flow",
    "save_state",
    "load_state_",
    "load_average",
    "facts_of",
    "write_whole",
]


@dataclass
class TrainingState:
    """A run between two steps. data: the noise that chooses, flips and dequantises images; its state is the position in
    the data.  draws: that of the model's estimators. Apart, so that two systems with one seed see the same batches.

    measured: events at which the contraction of the blocks is measured.
    averaged: the parameters' running mean.  losses: of the steps since the last line of the record, bits/dim.
    seconds: of training, interruptions left out.  best: bits/dim on held-out images.
    """

    flow: Flow
    averaged: list[Tensor]
    optimizer: torch.optim.Optimizer
    data: Noise
    draws: Noise
    measured: Tensor
    step: int = 0
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    best: float = math.inf


PLAIN = ("step", "losses", "seconds", "best")
"""The parts of a TrainingState that are plain numbers."""


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, whatever happens meanwhile."""
    unfinished = path.with_name(path.name + ".unfinished")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)


def save_flow(path: Path, flow: Flow, experiment: Experiment, **facts: Any) -> None:
    """Write weights, settings and further facts to one file, atomically."""
    facts = dict(experiment=experiment.as_dict(), shape=flow.event_shape, **facts)
    _write(path, flow.state_dict(), facts)


def load_flow(path: Path, experiment: Experiment | None = None) -> tuple[Flow, Experiment]:
    """The flow in evaluation mode and the experiment that made it. experiment: needed if its data set, estimator or
    activation is an object of one's own, of which the file knows the name only.

    Raises DataError for a missing or damaged file, or one whose weights do not fit the model that it names."""
    tensors, facts = _read(path)
    try:
        flow, experiment = _build(facts, experiment)
        flow.load_state_dict(tensors)
    except Exception as error:
        raise _unreadable(path, error) from error
    return flow.eval(), experiment


def facts_of(path: Path) -> dict[str, Any]:
    """What save_flow was told beside the weights."""
    return _read(path)[1]


def save_state(path: Path, state: TrainingState, experiment: Experiment, hardware: dict[str, Any]) -> None:
    """Write everything that training needs to go on, atomically; and on what it ran, for the record."""
    tensors = {f"flow.{name}": t for name, t in state.flow.state_dict().items()}
    tensors |= {f"averaged.{i}": t for i, t in enumerate(state.averaged)}
    for i, moments in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{name}": t for name, t in moments.items()}
    tensors |= dict(data=state.data.get_state(), draws=state.draws.get_state())
    facts = {name: getattr(state, name) for name in PLAIN}
    facts |= dict(experiment=experiment.as_dict(), shape=state.flow.event_shape, hardware=hardware)
    _write(path, tensors, facts)


def load_state_(path: Path, state: TrainingState) -> None:
    """Set a fresh state to the one in the file. Raises DataError for a damaged file."""
    tensors, facts = _read(path)
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
        for name in PLAIN:
            setattr(state, name, facts[name])
    except Exception as error:
        raise _unreadable(path, error) from error


def load_average(path: Path, experiment: Experiment | None = None) -> tuple[Flow, Experiment, int]:
    """The averaged weights of a checkpoint, as load_flow, and the step that it was written at."""
    tensors, facts = _read(path)
    try:
        flow, experiment = _build(facts, experiment)
        flow.load_state_dict(_under(tensors, "flow."))
        copy_parameters_(flow, [tensors[f"averaged.{i}"] for i, _ in enumerate(flow.parameters())])
    except Exception as error:
        raise _unreadable(path, error) from error
    return flow.eval(), experiment, facts["step"]


@torch.no_grad()
def copy_parameters_(flow: Flow, values: list[Tensor]) -> None:
    for parameter, value in zip(flow.parameters(), values):
        parameter.copy_(value)


def _build(facts: dict[str, Any], experiment: Experiment | None) -> tuple[Flow, Experiment]:
    if experiment is None:
        settings = facts["experiment"]
        if settings["train_estimator"] not in ESTIMATORS:
            # the repr of an object: take the profile's, which it may well be; no weight depends on it
            del settings["train_estimator"]
        if settings.get("activation") not in (None, *ACTIVATIONS):
            raise SettingsError(f"activation {settings['activation']}: pass the experiment that has this class")
        experiment = Experiment.from_parameters(settings)
    shape = facts.get("shape") or load_images(experiment.dataset).images.shape[1:]
    return experiment.build(tuple(shape)), experiment


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
