"""The ledger: what was measured, where, by which settings. One immutable JSON file per run."""

import hashlib
import json
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ..datasets.images import load_images
from ..errors import DataError
from .settings import home

__all__ = ["SCHEMA", "write_entry", "validate_entry"]

SCHEMA: dict[str, tuple[type, ...]] = {
    "commit": (str,),
    "dirty": (bool,),
    "command": (str,),
    "settings": (dict,),
    "data_sha256": (str,),
    "split": (str,),
    "preprocessing": (str,),
    "n_test": (int,),
    "parameters": (int,),
    "steps": (int,),
    "images_seen": (int,),
    "stop_rule": (str,),
    "selection_rule": (str,),
    "seed": (int,),
    "estimator": (dict,),
    "ema": (float,),
    "bits_per_dim": (float,),
    "standard_error": (float,),
    "noise_error": (float,),
    "lipschitz_bound": (float,),
    "reconstruction_error": (float,),
    "hardware": (dict,),
    "versions": (dict,),
    "precision": (str,),
    "wall_seconds": (float,),
    "failures": (list,),
    "checkpoint_sha256": (str,),
}


def validate_entry(entry: dict[str, Any]) -> None:
    """Raises DataError where an entry misses a field, has one too many, or holds a value of the wrong type."""
    wrong = sorted(set(SCHEMA) ^ set(entry))
    if wrong:
        raise DataError(f"ledger entry with missing or unknown fields: {', '.join(wrong)}")
    for name, types in SCHEMA.items():
        if not isinstance(entry[name], types):
            raise DataError(f"ledger entry: {name} = {entry[name]!r}, expected {types[0].__name__}")


def write_entry(run: Any, result: dict[str, Any]) -> Path:
    """Collect the entry of an evaluated Run and write it to its ledger.json."""
    experiment = run.experiment
    images = load_images(experiment.dataset, result["split"]).images
    commit, dirty = _commit()
    entry = dict(
        commit=commit,
        dirty=dirty,
        command=" ".join(Path(word).name if i == 0 else word for i, word in enumerate(sys.argv)),
        settings=json.loads((run.directory / "experiment.json").read_text()),
        data_sha256=hashlib.sha256(images.numpy().tobytes()).hexdigest(),
        split=result["split"],
        preprocessing="uniform dequantisation",
        n_test=result["n_test"],
        parameters=sum(p.numel() for p in run.flow.parameters()),
        steps=experiment.steps,
        images_seen=experiment.steps * experiment.batch_size,
        stop_rule="fixed number of steps",
        selection_rule="last step, averaged weights",
        seed=experiment.seed,
        estimator=dict(evaluation=repr(run.flow.bijection.layers[2].eval_estimator), passes=result["passes"]),
        ema=experiment.ema,
        bits_per_dim=result["bits_per_dim"],
        standard_error=result["standard_error"],
        noise_error=result["noise_error"],
        lipschitz_bound=result["lipschitz_bound"],
        reconstruction_error=result["reconstruction_error"],
        hardware=dict(machine=platform.machine(), threads=torch.get_num_threads(), device="cpu"),
        versions=dict(python=platform.python_version(), torch=torch.__version__, numpy=version("numpy")),
        precision="float32",
        wall_seconds=run.history[-1]["seconds"] if run.history else float("nan"),
        failures=[],
        checkpoint_sha256=_sha256(run.directory / "model.safetensors"),
    )
    validate_entry(entry)
    path = run.directory / "ledger.json"
    path.write_text(json.dumps(entry, indent=1))
    return path


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def _commit() -> tuple[str, bool]:
    """The commit of the source tree and whether it has changes; ("unknown", True) outside a repository."""

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(home()), *words], capture_output=True, text=True, check=True).stdout

    try:
        return git("rev-parse", "HEAD").strip(), bool(git("status", "--porcelain").strip())
    except (OSError, subprocess.CalledProcessError):
        return "unknown", True
