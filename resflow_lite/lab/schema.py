"""What a ledger entry holds, and whether it can be right."""

import math
import re
from typing import Any

from ..errors import DataError
from .names import PROFILES

NUMBER, PERHAPS = (float,), (float, type(None))

COMMON: dict[str, tuple[type, ...]] = {
    "commit": (str,),
    "dirty": (bool,),
    "command": (str,),
    "settings": (dict,),
    "data_sha256": (str,),
    "split": (str,),
    "n_test": (int,),
    "parameters": (int,),
    "steps": (int,),
    "images_seen": (int,),
    "stop_rule": (str,),
    "selection_rule": (str,),
    "seed": (int,),
    "estimator": (dict,),
    "lipschitz_bound": PERHAPS,  # flows without residual blocks have none to prove
    "reconstruction_error": NUMBER,
    "hardware": (dict,),
    "versions": (dict,),
    "precision": (str,),
    "wall_seconds": NUMBER,
    "device_hours": NUMBER,
    "failures": (list,),
    "checkpoint_sha256": (str,),
}

DENSITY = {
    "preprocessing": (str,),
    "ema": NUMBER,
    "bits_per_dim": NUMBER,
    "standard_error": NUMBER,
    "data_error": PERHAPS,  # one pass cannot tell noise from data
    "noise_error": PERHAPS,
    "last_step": (list,),
}

# nats: mean log-likelihood of fresh points by exact log-determinants, and by the estimator where the system has one.
# objective: what training itself would report on these points.  cpu_seconds: of training.
TOY = {
    "task": (str,),
    "nats": NUMBER,
    "standard_error": NUMBER,
    "estimated_nats": PERHAPS,
    "estimator_error": PERHAPS,
    "objective": NUMBER,
    "cpu_seconds": NUMBER,
}

# accuracy: a fraction.  label_nats: mean -log p(y | x).  calibration_error: expected, ten bins.  bits_per_dim: None
# where log p(x) was not trained (lambda = 0).  shifted_auroc: of log p(x) between test images and altered ones.
HYBRID = {
    "task": (str,),
    "preprocessing": (str,),
    "ema": NUMBER,
    "accuracy": NUMBER,
    "accuracy_error": NUMBER,
    "label_nats": NUMBER,
    "calibration_error": NUMBER,
    "shifted_auroc": PERHAPS,
    "bits_per_dim": PERHAPS,
    "standard_error": PERHAPS,
    "cpu_seconds": NUMBER,
}

# infinite_variance: the blocks whose estimator had it when the model was scored.  largest_share: of one sample in the
# mean, at most.  objective: what the training's estimator says of the same images.  curve: rows of step, claim, truth
# in the course of the training, about held-out images.  cpu_seconds: of training.  source: of weights that were not
# trained here (released.py): which file, and the score that it tells.
OPTIONAL = {"infinite_variance": (list,), "largest_share": NUMBER, "objective": NUMBER, "curve": (list,)}
OPTIONAL |= {"cpu_seconds": NUMBER, "source": (dict,)}
LEAST = {"n_test": 1, "parameters": 0}
PARTS = {"estimator": ("training", "evaluation"), "hardware": ("device", "name", "processes")}
PARTS |= {"source": ("kind", "file", "sha256", "reported")}
PATH_UP = re.compile(r"^[/\\~]|(^|[/\\])\.\.([/\\]|$)|[\x00-\x1f]")

SCHEMAS = {"density": COMMON | DENSITY, "toy": COMMON | TOY, "hybrid": COMMON | HYBRID}
SIGNED = ("bits_per_dim", "nats", "estimated_nats", "objective")

SELECTION = {
    "last": "last step",
    "best": "best on held-out training images",
    "unfinished": "last checkpoint of an unfinished run",
    "released": "the authors' choice",
}


def validate_entry(entry: dict[str, Any]) -> None:
    """Raises DataError where an entry misses a field, has one too many, or holds a value that cannot be right."""
    if not isinstance(entry, dict):
        raise DataError(f"ledger entry: {type(entry).__name__}, expected names and values")
    task = entry.get("task", "density")
    if not isinstance(task, str) or task not in SCHEMAS:
        raise DataError(f"ledger entry: task = {task!r}, expected one of {', '.join(SCHEMAS)}")
    schema = SCHEMAS[task]
    wrong = sorted(set(schema) ^ (set(entry) - (set(OPTIONAL) - set(schema))))
    if wrong:
        raise DataError(f"ledger entry with missing or unknown fields: {', '.join(wrong)}")
    for name, types in ({name: OPTIONAL[name] for name in OPTIONAL if name in entry} | schema).items():
        value = entry[name]
        if not isinstance(value, types) or isinstance(value, bool) != (bool in types):
            raise DataError(f"ledger entry: {name} = {value!r}, expected {types[0].__name__}")
        if isinstance(value, float) and not (math.isfinite(value) and (value >= 0 or name in SIGNED)):
            raise DataError(f"ledger entry: {name} = {value!r}, expected a finite number, 0 or more")
        if name.endswith("sha256") and not re.fullmatch("[0-9a-f]{64}", value):
            raise DataError(f"ledger entry: {name} = {value!r}, expected 64 hexadecimal digits")
        if types == (int,) and not LEAST.get(name, 0) <= value < 2**63:
            raise DataError(f"ledger entry: {name} = {value!r}, expected {LEAST.get(name, 0)} or more, below 2^63")
        for part in PARTS.get(name, ()):
            if part not in value:
                raise DataError(f"ledger entry: {name} = {value!r}, expected {', '.join(PARTS[name])} in it")
    _validate_settings(entry["settings"])


def _validate_settings(settings: dict[str, Any]) -> None:
    """Those that reports and the names of files are made of."""
    dataset, system = settings.get("dataset"), settings.get("system")
    if not isinstance(dataset, str) or not dataset or PATH_UP.search(dataset):
        raise DataError(f"ledger entry: settings: dataset = {dataset!r}, expected the name of a data set")
    if settings.get("profile") not in PROFILES:
        told = f"ledger entry: settings: profile = {settings.get('profile')!r}"
        raise DataError(f"{told}, expected one of {', '.join(PROFILES)}")
    if not isinstance(system, str | None):
        raise DataError(f"ledger entry: settings: system = {system!r}, expected a name or null")
