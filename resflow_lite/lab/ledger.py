"""The ledger: what was measured, where, by which settings. One immutable JSON file per run."""

import hashlib
import json
import math
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..layers.residual import ResidualBlock
from .checkpoints import facts_of, write_whole
from .data.images import image_names, load_images
from .home import home
from .runs import BEST, CHECKPOINT, EVENTS, LAST, SETTINGS, Run, read_lines
from .tasks.density import ESTIMATORS
from .tasks.task import TaskSettings

__all__ = ["SCHEMAS", "provenance", "publish", "save_entry", "training_facts", "validate_entry", "write_entry"]

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

SCHEMAS = {"density": COMMON | DENSITY, "toy": COMMON | TOY, "hybrid": COMMON | HYBRID}
SIGNED = ("bits_per_dim", "nats", "estimated_nats", "objective")

SELECTION = {
    "last": "last step, averaged weights",
    "best": "best on held-out training images, averaged weights",
    "unfinished": "last checkpoint of an unfinished run, averaged weights",
}


def validate_entry(entry: dict[str, Any]) -> None:
    """Raises DataError where an entry misses a field, has one too many, or holds a value that cannot be right."""
    task = entry.get("task", "density")
    if task not in SCHEMAS:
        raise DataError(f"ledger entry: task = {task!r}, expected one of {', '.join(SCHEMAS)}")
    schema = SCHEMAS[task]
    wrong = sorted(set(schema) ^ set(entry))
    if wrong:
        raise DataError(f"ledger entry with missing or unknown fields: {', '.join(wrong)}")
    for name, types in schema.items():
        value = entry[name]
        if not isinstance(value, types) or isinstance(value, bool) != (bool in types):
            raise DataError(f"ledger entry: {name} = {value!r}, expected {types[0].__name__}")
        if isinstance(value, float) and not (math.isfinite(value) and (value >= 0 or name in SIGNED)):
            raise DataError(f"ledger entry: {name} = {value!r}, expected a finite number, 0 or more")
        if name.endswith("sha256") and not re.fullmatch("[0-9a-f]{64}", value):
            raise DataError(f"ledger entry: {name} = {value!r}, expected 64 hexadecimal digits")


def write_entry(run: Run, result: Any) -> Path:
    """Collect the entry of an Evaluation of a run, and write it to the run's ledger.json."""
    experiment, directory = run.experiment, run.directory
    weights = directory / {"last": LAST, "best": BEST, "unfinished": CHECKPOINT}[run.weights]
    seconds = run.history[-1]["seconds"] if run.history else 0.0
    hardware = facts_of(weights).get("hardware", {})
    entry = provenance() | dict(
        settings=json.loads((directory / SETTINGS).read_text()),
        data_sha256=load_images(experiment.dataset, result.split).sha256(),
        split=result.split,
        preprocessing="uniform dequantisation",
        n_test=result.n_test,
        parameters=sum(p.numel() for p in run.flow.parameters()),
        steps=run.step,
        images_seen=run.step * experiment.batch_size,
        stop_rule="fixed number of steps",
        selection_rule=SELECTION[run.weights],
        seed=experiment.seed,
        estimator=dict(training=_training(run), evaluation=result.estimator, passes=result.passes),
        ema=experiment.ema,
        bits_per_dim=result.bits_per_dim,
        standard_error=result.standard_error,
        data_error=_or_none(result.data_error),
        noise_error=_or_none(result.noise_error),
        last_step=list(result.last_step),
        lipschitz_bound=result.lipschitz_bound,
        reconstruction_error=result.reconstruction_error,
        hardware=hardware,
        precision=experiment.precision,
        wall_seconds=seconds,
        device_hours=seconds * hardware.get("processes", 1) / 3600,
        failures=[f"step {line['step']}: {line['event']}" for line in read_lines(directory / EVENTS)],
        checkpoint_sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
    )
    return save_entry(entry, directory)


def _training(run: Run) -> str:
    """The estimator of the training steps, by its own words; that of the evaluation where layers have one for all. One
    of a user's own stands in the settings: a run that was read from its folder does not have it."""
    block = next((m for m in run.flow.modules() if isinstance(m, ResidualBlock)), None)
    named = json.loads((run.directory / SETTINGS).read_text()).get("train_estimator")
    if block is None:
        return "as in the evaluation"
    return repr(block.train_estimator) if named is None or named in ESTIMATORS else named


def provenance() -> dict[str, Any]:
    """What an entry says of the code and the machine's software."""
    commit, dirty = _commit()
    versions = dict(python=platform.python_version(), torch=version("torch"), numpy=version("numpy"))
    return dict(commit=commit, dirty=dirty, command=_command(sys.argv), versions=versions)


def training_facts(experiment: TaskSettings, weights: Path, hardware: dict[str, Any]) -> dict[str, Any]:
    """What an entry says of a training that runs all its steps in fp32. weights: the file that it wrote."""
    return provenance() | dict(
        settings=experiment.as_json(),
        steps=experiment.steps,
        images_seen=experiment.steps * experiment.batch_size,
        stop_rule="fixed number of steps",
        seed=experiment.seed,
        hardware=hardware,
        precision="fp32",
        failures=[],
        checkpoint_sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
    )


def save_entry(entry: dict[str, Any], directory: Path) -> Path:
    """Write a run's ledger.json. Raises DataError for an entry that cannot be right."""
    validate_entry(entry)
    path = directory / "ledger.json"
    write_whole(path, json.dumps(entry, indent=1).encode())
    return path


def publish(run_dir: Path | str, folder: Path | None = None, label: str = "") -> Path:
    """Put a finished run's entry into the ledger, data/results/, under a name of its own; an entry is never replaced.

    label: of the run's setting in a sweep, for the name.
    Raises DataError for an entry that is not valid, not of all test images, or there already.
    """
    source, folder = Path(run_dir) / "ledger.json", folder or home() / "data" / "results"
    if not source.exists():
        raise DataError(f"{source} is missing: evaluate the run first")
    entry = json.loads(source.read_text())
    validate_entry(entry)
    settings = entry["settings"]
    if settings["dataset"] in image_names:
        whole = len(load_images(settings["dataset"], "test").images)
        if entry["split"] != "test" or entry["n_test"] != whole:
            raise DataError(
                f"{source} is about {entry['n_test']} {entry['split']} images, expected all {whole} test images"
            )
    words = (settings["dataset"], label, settings["profile"], f"seed{entry['seed']}", entry["checkpoint_sha256"][:8])
    target = folder / ("-".join(word for word in words if word) + ".json")
    if target.exists():
        raise DataError(f"{target} is there already: an entry of the ledger is never replaced")
    folder.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(entry, indent=1) + "\n")
    return target


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _command(words: Sequence[str]) -> str:
    """What was typed, of files the names alone: an entry tells nothing of its machine's folders."""
    program, *rest = [Path(word).name if Path(word).is_absolute() else word for word in words]
    return " ".join(["python -m resflow_lite" if program == "__main__.py" else program, *rest])


def _commit() -> tuple[str, bool]:
    """The commit of the source tree and whether it has changes; ("unknown", True) outside a repository."""

    def git(*words: str) -> str:
        source = str(Path(__file__).resolve().parent)
        return subprocess.run(["git", "-C", source, *words], capture_output=True, text=True, check=True).stdout

    try:
        return git("rev-parse", "HEAD").strip(), bool(git("status", "--porcelain").strip())
    except (OSError, subprocess.CalledProcessError):
        return "unknown", True
