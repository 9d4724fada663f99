"""Learning rates of a sweep, by short trials scored on validation data: as many rates for every setting.

`python -m resflow_lite reproduce SWEEP --rates` makes the trials and writes them to the file of data/measurements/ that
the sweep's profile names (rates: rates_systems.json); `planned` reads the choices out of it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from ..errors import DataError, ResflowError
from .data.images import images_label
from .files import read_json, write_json
from .home import make_folder
from .machine import connect
from .tasks.registry import task_of
from .tasks.task import Training
from .training import train_toy

LADDER = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 9e-1)
FIRST, WIDE = (4, 5), 4
"""Of the ladder, the two rates that every setting begins with; and how many each has at least."""
SEED, SHARE, LEAST, IMAGES = 9, 3, 12, 200
"""Of the trials: the seed, which no run of a sweep has; one SHARE-th of a run's steps, LEAST at least; and so many
held-out images."""


def window(loss: Callable[[float], float]) -> dict[float, float]:
    """Rate -> loss of WIDE or more neighbours on the LADDER, whose best is neither the first nor the last of them,
    where the ladder allows it. loss: is asked once for each rate.

    It climbs from the two in the middle: the next rate is the one beyond the best where that stands at an edge, else
    the one beyond its better neighbour. So a rate that is far too large, at which some systems crawl, is not asked for.
    """
    known = {place: loss(LADDER[place]) for place in FIRST}
    while True:
        best, low, high = min(known, key=known.__getitem__), min(known), max(known)
        if best in (low, high):
            following = best + (1 if best == high else -1)
        elif len(known) < WIDE:
            following = low - 1 if known[best - 1] <= known[best + 1] else high + 1
        if len(known) >= WIDE and low < best < high or not 0 <= following < len(LADDER):
            return {LADDER[place]: known[place] for place in sorted(known)}
        known[following] = loss(LADDER[following])


def try_rates(runs: Sequence[Any], path: Path) -> dict[str, Any]:
    """Trials for every setting and data set of planned runs; written to path after each, so that the same call goes on.

    {"trials": {setting: {data set: {"steps", "milliseconds", "losses": {rate: loss}}}}}. loss: of validation data, by
    the task's best estimator; null for a training that went astray.  milliseconds: of the processor for a step, the
    median of all trials.
    """
    found: dict[str, Any] = read_json(path) if path.exists() else dict(trials={})
    for run in runs:
        dataset, of = images_label(run.experiment.dataset), found["trials"].setdefault(run.setting, {})
        if dataset not in of:
            of[dataset] = _trials(run.experiment)
            print(f"{run.setting:14} {dataset:14} {of[dataset]}", flush=True)
            write_json(make_folder(path.parent) / path.name, found)
    return found


def _trials(experiment: Training) -> dict[str, Any]:
    steps = max(LEAST, experiment.steps // SHARE)
    trial = replace(experiment, seed=SEED, steps=steps, warm_up=experiment.warm_up * steps // experiment.steps)
    trial = replace(trial, validation=IMAGES) if hasattr(trial, "evaluations") else trial
    seconds: list[float] = []
    losses = window(lambda rate: validation_loss(replace(trial, lr=rate), seconds))
    shown = {f"{rate:g}": loss if math.isfinite(loss) else None for rate, loss in losses.items()}
    return dict(steps=steps, milliseconds=round(1000 * median(seconds), 1), losses=shown)


def validation_loss(experiment: Training, seconds: list[float]) -> float:
    """The loss of held-out data after the training; infinite where that went astray. seconds: gets each step's."""
    task = task_of(experiment, connect(task_of(experiment).device))
    try:
        flow, history = train_toy(experiment)
        loss = task.validate(flow.eval())
    except ResflowError:
        return math.inf
    seconds += [b - a for (a, _), (b, _) in pairwise(history)]
    return loss if math.isfinite(loss) else math.inf


def chosen_rates(path: Path) -> Mapping[tuple[str, str], float]:
    """(setting, data set) -> the rate with the lowest validation loss. Raises DataError for what is no such file."""
    found = read_json(path)
    try:
        trials = {(s, d): tried["losses"] for s, of in found["trials"].items() for d, tried in of.items()}
        finite = {key: {float(r): float(x) for r, x in of.items() if x is not None} for key, of in trials.items()}
        return {key: min(losses, key=losses.__getitem__) for key, losses in finite.items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        told = "expected trials as `reproduce SWEEP --rates` writes them"
        raise DataError(f"{path}: {told} ({type(error).__name__}: {error})") from None
