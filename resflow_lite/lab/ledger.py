"""The ledger: what was measured, where, by which settings. One immutable JSON file per run."""

import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..errors import DataError
from .data.images import FOLDER, image_names, load_images
from .files import read_json, write_json
from .home import home, make_folder
from .package_data import shipped
from .runs import ENTRY, Run, read_events, sha256
from .runs import folder as a_folder
from .schema import OPTIONAL, SCHEMAS, SELECTION, validate_entry
from .scoring import residual_blocks
from .tasks.registry import completed, task_of

UNKNOWN = dict(device="unknown", name="unknown", processes=1)
"""Hardware of weights whose file does not tell."""


def provenance() -> dict[str, Any]:
    """What an entry says of the code and the machine's software."""
    commit, dirty = _commit()
    versions = dict(python=platform.python_version(), torch=version("torch"), numpy=version("numpy"))
    return dict(commit=commit, dirty=dirty, command=_command(sys.argv), versions=versions)


def write_entry(run: Run, found: Mapping[str, Any]) -> dict[str, Any]:
    """The entry of a scored run, written to its ledger.json. found: the fields that its task has scored, with passes
    and evaluation, the words for how. Raises DataError for an entry that cannot be right."""
    experiment, task = run.experiment, task_of(run.experiment).name
    last, hardware = (run.history or [{}])[-1], run.facts.get("hardware") or UNKNOWN
    blocks, seconds = residual_blocks(run.flow), last.get("seconds", 0.0)
    source = run.facts.get("source") or {}  # of weights that were not trained here
    training = repr(blocks[0].train_estimator) if blocks else found["evaluation"]
    training = source.get("training", training)
    chosen = SELECTION["released" if source else run.weights]
    settings = experiment.as_json()
    if settings["dataset"].startswith(FOLDER):  # an entry tells nothing of its machine's folders
        settings["dataset"] = FOLDER + Path(settings["dataset"]).name
    facts = provenance() | dict(
        task=task,
        settings=settings,
        parameters=sum(p.numel() for p in run.flow.parameters()),
        steps=run.step,
        images_seen=run.step * experiment.batch_size,
        stop_rule=chosen if source else "fixed number of steps",
        selection_rule=chosen + ", averaged weights" * bool(experiment.ema),
        seed=experiment.seed,
        estimator=dict(training=training, evaluation=found["evaluation"], passes=found["passes"]),
        ema=experiment.ema,
        hardware=hardware,
        precision=experiment.precision,
        wall_seconds=seconds,
        cpu_seconds=last.get("cpu_seconds", 0.0),
        device_hours=seconds * hardware.get("processes", 1) / 3600,
        failures=[f"step {line['step']}: {line['event']}" for line in read_events(run.directory)],
        checkpoint_sha256=sha256(run.path),
    )
    curve = [[row["step"], row.get("claim"), row["truth"]] for row in run.history if "truth" in row]
    facts |= dict(curve=curve) if curve else {}
    facts |= dict(source=source) if source else {}
    facts |= {name: None if value != value else value for name, value in found.items()}  # nan: not known
    entry = {name: facts[name] for name in SCHEMAS[task] | OPTIONAL if name in facts}
    validate_entry(entry)
    write_json(run.directory / ENTRY, entry)
    return entry


def publish(run_dir: Path | str, folder: Path | None = None, label: str = "") -> Path:
    """Put a finished run's entry into the ledger, data/results/, under a name of its own; an entry is never replaced.

    label: of the run's setting in a sweep, for the name.
    Raises DataError for an entry that is not valid, not of all test images, or there already.
    """
    source, folder = a_folder(run_dir) / ENTRY, folder or home() / "data" / "results"
    if not source.exists():
        raise DataError(f"{source} is missing: evaluate the run first")
    entry = read_entry(source)
    settings = entry["settings"]
    if settings["dataset"] in image_names:
        whole = len(load_images(settings["dataset"], "test").images)
        if entry["split"] != "test" or entry["n_test"] != whole:
            raise DataError(
                f"{source} is about {entry['n_test']} {entry['split']} images, expected all {whole} test images"
            )
    words = (_word(settings["dataset"]), _word(label), _tail(entry))
    target = folder / ("-".join(word for word in words if word) + ".json")
    if target.exists():
        raise DataError(f"{target} is there already: an entry of the ledger is never replaced")
    write_json(make_folder(folder) / target.name, entry)
    return target


def _word(text: str) -> str:
    """A part of a file's name."""
    return re.sub(r"[^\w.+-]+", "-", text).strip(".-")


def _tail(entry: dict[str, Any]) -> str:
    return f"{entry['settings']['profile']}-seed{entry['seed']}-{entry['checkpoint_sha256'][:8]}"


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


@dataclass(frozen=True)
class Entry:
    """facts: a valid ledger entry.  sweep: the folder below data/results/ that it lies in, or "".  label: the name of
    its setting in that sweep, or ""."""

    facts: dict[str, Any]
    sweep: str = ""
    label: str = ""

    @property
    def task(self) -> str:
        return self.facts.get("task", "density")

    @cached_property
    def settings(self) -> dict[str, Any]:
        """All of them: a setting that is younger than the entry had its usual value."""
        return completed(self.facts["settings"], self.task)


def read_entry(path: Path) -> dict[str, Any]:
    """The facts in one file. Raises DataError, with the file and the field, where they cannot be right."""
    entry = read_json(path)
    try:
        validate_entry(entry)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return entry


def read_ledger(folder: Path | str | None = None) -> list[Entry]:
    """Every entry below a folder. None or "": of the project's own ledger, and of yours where that is another (`home`);
    an entry that both have counts once.

    Raises DataError, with the file's name, for a wrong one.
    """
    folders = [a_folder(folder)] if folder else [shipped("results"), home() / "data" / "results"]
    if folder and not folders[0].is_dir():
        raise DataError(f"there is no ledger {folder}: `python -m resflow_lite evaluate RUN_DIR --publish` starts one")
    # publish() ends a name with a hash of the settings and the seed: one name is one run
    found = {path.relative_to(place): path for place in folders for path in sorted(place.rglob("*.json"))}
    entries = []
    for name, path in found.items():
        facts = read_entry(path)
        # publish() names a file DATASET-LABEL-PROFILE-seedN-HASH
        label = path.stem.removesuffix(_tail(facts)).removeprefix(_word(facts["settings"]["dataset"])).strip("-")
        entries.append(Entry(facts, name.parent.as_posix().strip("."), label))
    return entries


def read_entries(folder: Path | str | None = None) -> list[dict[str, Any]]:
    """The facts of every entry below a folder; none where there is no folder. None: as for `read_ledger`."""
    there = folder is None or a_folder(folder).exists()
    return [entry.facts for entry in read_ledger(folder)] if there else []
