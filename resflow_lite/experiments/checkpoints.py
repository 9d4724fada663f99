"""Saving and loading a trained flow: safetensors, no pickles."""

import json
import os
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save

from ..datasets.images import load_images
from ..errors import DataError
from ..models.flow import Flow
from .settings import ESTIMATORS, Experiment

__all__ = ["save_flow", "load_flow"]


def save_flow(path: Path, flow: Flow, experiment: Experiment) -> None:
    """Write weights and settings to one file, atomically: the file is whole or not there."""
    metadata = {"experiment": json.dumps(experiment.as_dict())}
    tensors = {name: t.detach().cpu().contiguous() for name, t in flow.state_dict().items()}
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(save(tensors, metadata))
    os.replace(unfinished, path)


def load_flow(path: Path) -> tuple[Flow, Experiment]:
    """The flow in evaluation mode and the experiment that made it. Raises DataError for a missing or damaged file,
    or one whose weights do not fit the model that it names."""
    try:
        with safe_open(path, framework="pt") as file:
            settings = json.loads(file.metadata()["experiment"])
            if settings["train_estimator"] not in ESTIMATORS:
                # an object of the user's own, of which the file knows the repr: the weights do not need it
                del settings["train_estimator"]
            experiment = Experiment.from_parameters(settings)
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        flow = experiment.build(tuple(load_images(experiment.dataset).images.shape[1:]))
        flow.load_state_dict(tensors)
    except Exception as error:
        raise DataError(
            f"{path} is not a readable flow checkpoint ({error}): train it again, or fetch it again"
        ) from error
    return flow.eval(), experiment
