"""What a ledger entry holds, and whether it can be right."""

import math
import re
from typing import Any

from ..errors import DataError
from ..expect import FLAG, Check, integer
from .names import PROFILES

TEXT, NAMES = (
    Check(words, lambda value, kind=kind: isinstance(value, kind))
    for words, kind in (("text", str), ("names and values", dict))
)
TEXTS, ROWS, NUMBERS = (
    Check(words, lambda value, kind=kind: isinstance(value, list) and all(isinstance(item, kind) for item in value))
    for words, kind in (("a list of texts", str), ("a list of rows", list), ("a list of numbers", float | int))
)
HASH = Check("64 hexadecimal digits", lambda text: isinstance(text, str) and bool(re.fullmatch("[0-9a-f]{64}", text)))
COUNT, SIZE = integer(0, 2**63 - 1), integer(1, 2**63 - 1)
NUMBER = Check("a finite number, 0 or more", lambda x: isinstance(x, float) and 0 <= x < math.inf)
SIGNED = Check("a finite number", lambda x: isinstance(x, float) and math.isfinite(x))


def _with(*parts: str) -> Check:
    return Check(f"{', '.join(parts)} in it", lambda found: isinstance(found, dict) and set(parts) <= set(found))


COMMON = dict(commit=TEXT, dirty=FLAG, command=TEXT, settings=NAMES, data_sha256=HASH, split=TEXT, n_test=SIZE)
COMMON |= dict(parameters=COUNT, steps=COUNT, images_seen=COUNT, stop_rule=TEXT, selection_rule=TEXT, seed=COUNT)
COMMON |= dict(estimator=_with("training", "evaluation"), lipschitz_bound=NUMBER | None, reconstruction_error=NUMBER)
COMMON |= dict(hardware=_with("device", "name", "processes"), versions=NAMES, precision=TEXT, wall_seconds=NUMBER)
COMMON |= dict(device_hours=NUMBER, failures=TEXTS, checkpoint_sha256=HASH)
"""lipschitz_bound: None of a flow without residual blocks, which has none to prove."""

DENSITY = dict(preprocessing=TEXT, ema=NUMBER, bits_per_dim=SIGNED, standard_error=NUMBER, data_error=NUMBER | None)
DENSITY |= dict(noise_error=NUMBER | None, last_step=NUMBERS)
"""data_error, noise_error: None of one pass, which cannot tell noise from data."""

TOY = dict(task=TEXT, nats=SIGNED, standard_error=NUMBER, estimated_nats=SIGNED | None, estimator_error=NUMBER | None)
TOY |= dict(objective=SIGNED, cpu_seconds=NUMBER)
"""nats: mean log-likelihood of fresh points by exact log-determinants, and by the estimator where the system has one.
objective: what training itself would report on these points.  cpu_seconds: of training."""

HYBRID = dict(task=TEXT, preprocessing=TEXT, ema=NUMBER, accuracy=NUMBER, accuracy_error=NUMBER, label_nats=NUMBER)
HYBRID |= dict(calibration_error=NUMBER, shifted_auroc=NUMBER | None, bits_per_dim=SIGNED | None)
HYBRID |= dict(standard_error=NUMBER | None, cpu_seconds=NUMBER)
"""accuracy: a fraction.  label_nats: mean -log p(y | x).  calibration_error: expected, ten bins.  bits_per_dim: None
where log p(x) was not trained (lambda = 0).  shifted_auroc: of log p(x) between test images and altered ones."""

OPTIONAL = dict(infinite_variance=TEXTS, largest_share=NUMBER, objective=SIGNED, curve=ROWS, cpu_seconds=NUMBER)
OPTIONAL |= dict(source=_with("kind", "file", "sha256", "reported"))
"""infinite_variance: the blocks whose estimator had it when the model was scored.  largest_share: of one sample in the
mean, at most.  objective: what the training's estimator says of the same images.  curve: rows of step, claim, truth
in the course of the training, about held-out images.  cpu_seconds: of training.  source: of weights that were not
trained here (released.py): which file, and the score that it tells."""

PATH_UP = re.compile(r"^[/\\~]|(^|[/\\])\.\.([/\\]|$)|[\x00-\x1f]")

SCHEMAS = {"density": COMMON | DENSITY, "toy": COMMON | TOY, "hybrid": COMMON | HYBRID}

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
    for name, check in ({name: OPTIONAL[name] for name in OPTIONAL if name in entry} | schema).items():
        if not check.fits(entry[name]):
            raise DataError(f"ledger entry: {name} = {entry[name]!r}, expected {check.words}")
    if not integer(1).fits(entry["hardware"]["processes"]):
        raise DataError(f"ledger entry: hardware = {entry['hardware']!r}, expected 1 or more processes")
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
