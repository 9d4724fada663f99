"""Sweeps: a YAML file of settings and seeds becomes runs, every one checked before the first of them trains.

task: density                             # density, toy or hybrid
seeds: [0, 1, 2, 3, 4]
datasets: [digits]                        # optional: every setting on each of them
profiles:                                 # what a profile adds to all settings; it may have seeds and datasets of
  smoke: {seeds: [0], steps: 4}           # its own, and, under settings, more for single ones
  laptop: {steps: 400, settings: {elu: {lr: 2e-3}}, only: [elu]}   # only: of the settings, those that it runs
                                          # rates: FILE of data/measurements/ gives every setting its own lr (rates.py)
settings:
  elu: {activation: elu}
"""

import re
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import SettingsError
from ..expect import Check, one_of
from .data.images import images_label
from .evaluation import carry_out
from .home import home
from .ledger import read_entries, read_entry
from .names import PROFILES, SWEEPS
from .package_data import shipped
from .rates import chosen_rates
from .runs import ENTRY
from .seeds import group
from .tasks.registry import TASKS, completed
from .values import expect_known, read_yaml

TAKEN = dict(seed="seeds", profile="--profile", dataset="datasets", lr="rates")
MEASUREMENTS = shipped("measurements")
LIST = Check(
    "a list without repetition, such as [0, 1]",
    lambda found: isinstance(found, list) and 0 < len(found) == len(set(map(str, found))),
)


@dataclass(frozen=True)
class Planned:
    """One run of a sweep.

    sweep: the file's name.  source: the file as it was asked for.  index: place in the sweep.  setting: its name in the
    file.  experiment: of the task's kind, checked.  directory: its folder, runs/SWEEP-PROFILE/SETTING-seedN; with the
    data set in the name where the sweep has several.
    """

    sweep: str
    source: str
    index: int
    task: str
    setting: str
    experiment: Any
    directory: Path

    def __str__(self) -> str:
        return f"{self.directory.parent.name}/{self.directory.name}"

    @property
    def entry(self) -> dict[str, Any] | None:
        """The ledger entry of a finished run, else None."""
        path = self.directory / ENTRY
        return read_entry(path) if path.exists() else None

    def key(self, besides: tuple[str, ...] = ()) -> Hashable:
        """Under which `by_settings` has the entries of the same settings."""
        return _key(self.task, self.experiment.as_json(), besides)

    def carry_out(self) -> dict[str, Any]:
        """Train and evaluate here and now; go on where that was interrupted. The ledger entry."""
        return carry_out(self.experiment, self.directory)


def sweep_names(profile: str | None = None) -> list[str]:
    """profile: only those that have it."""
    paths = sorted(SWEEPS.glob("*.yaml"))
    return [path.stem for path in paths if profile is None or profile in _read(path)["profiles"]]


def rates_file(source: str | Path, profile: str) -> Path | None:
    """The file of the trials that choose the rates of a sweep's profile, there or not; None where it has none."""
    name = _opened(source, profile)[2].get("rates")
    return None if name is None else MEASUREMENTS / str(name)


def planned(source: str | Path, profile: str, *, rated: bool = True) -> list[Planned]:
    """All runs of a sweep, checked. source: a name from notebooks/reproduction/sweeps, or a YAML file. rated: with the
    rates of the profile's file of trials, where it has one.

    Raises SettingsError for whatever is wrong in the file, with the place; nothing has trained then.
    """
    path, sweep, own = _opened(source, profile)
    task = TASKS[one_of(TASKS)(f"{path.name}: task", sweep["task"])]
    seeds = LIST(f"{path.name}: seeds", own.pop("seeds", sweep["seeds"]))
    datasets = own.pop("datasets", sweep.get("datasets"))
    datasets = [None] if datasets is None else LIST(f"{path.name}: datasets", datasets)
    settings, only = sweep["settings"], own.pop("only", None)
    if only is not None:
        names = dict.fromkeys(map(str, LIST(f"{path.name}: only", only)))
        settings = {name: settings[name] for name in _mapping(f"{path.name}, only", names, known=settings)}
    more = _mapping(f"{path.name}, profiles: {profile}, settings", own.pop("settings", {}), known=sweep["settings"])
    file = own.pop("rates", None)
    rates = chosen_rates(MEASUREMENTS / str(file)) if file is not None and rated else {}
    runs, folders = [], set()
    for setting, values in settings.items():
        where = f"{path.name}, setting {setting}"
        values = own | _mapping(where, values) | _mapping(where, more.get(setting, {}))
        taken = {"seed", "profile", *["dataset"] * (datasets != [None]), *["lr"] * (file is not None)}
        for name in taken & set(values):
            raise SettingsError(
                f"{where}: {name} = {values[name]!r}: {TAKEN[name]} gives it to every run, leave it out"
            )
        for dataset in datasets:
            for seed in seeds:
                chosen = values | dict(profile=profile, seed=seed) | ({} if dataset is None else dict(dataset=dataset))
                chosen |= dict(lr=_rate(where, rates, setting, dataset)) if rates else {}
                try:
                    experiment = task.settings.from_parameters(chosen)
                except SettingsError as error:
                    raise SettingsError(f"{where}: {error}") from None
                words = (setting, images_label(dataset) if len(datasets) > 1 else None, f"seed{experiment.seed}")
                folder = home() / "runs" / f"{path.stem}-{profile}" / "-".join(word for word in words if word)
                if folder in folders:
                    raise SettingsError(f"{where}: two runs would have the folder {folder.name}: name them apart")
                folders.add(folder)
                found = (path.stem, str(source), len(runs), sweep["task"], setting, experiment, folder)
                runs.append(Planned(*found))
    return runs


def _opened(source: str | Path, profile: str) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """The file of a sweep, its content, and a copy of what a profile adds. Raises SettingsError where that is not in
    it."""
    if not isinstance(source, str | Path):
        raise SettingsError(f"source = {source!r}: expected the name of a sweep or the path of a YAML file")
    path = Path(source) if Path(source).suffix in (".yaml", ".yml") else SWEEPS / f"{source}.yaml"
    sweep = _read(path)
    if one_of(PROFILES)("profile", profile) not in sweep["profiles"]:
        raise SettingsError(f"{path.name} has no profile {profile!r}: expected one of {', '.join(sweep['profiles'])}")
    return path, sweep, _mapping(f"{path.name}, profiles: {profile}", sweep["profiles"][profile])


def _rate(where: str, rates: Mapping[tuple[str, str], float], setting: str, dataset: Any) -> float:
    key = setting, images_label(dataset)
    if key not in rates:
        raise SettingsError(f"{where}: no trial chose its rate on {key[1]}: `reproduce SWEEP --rates` makes trials")
    return rates[key]


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise SettingsError(f"there is no sweep {path}: expected a YAML file, or one of {', '.join(sweep_names())}")
    content = read_yaml(path)
    needed = ("task", "seeds", "profiles", "settings")
    sweep = _mapping(path.name, content, known=(*needed, "datasets"))
    for name in needed:
        if name not in sweep:
            raise SettingsError(f"{path.name}: {name} is missing; expected {', '.join(needed)}")
    _mapping(f"{path.name}, profiles", sweep["profiles"], known=PROFILES)
    for setting in _mapping(f"{path.name}, settings", sweep["settings"]):
        if not isinstance(setting, str) or not re.fullmatch(r"\w[\w.+-]{,99}", setting):
            raise SettingsError(f"{path.name}: setting {setting!r}: its name becomes a folder's, such as elu-truncated")
    return sweep


def _mapping(where: str, found: Any, known: Iterable[str] | None = None) -> dict[str, Any]:
    """A copy of a mapping. Raises SettingsError for anything else, and for a key that is not known."""
    if not isinstance(found, dict):
        raise SettingsError(f"{where}: expected a mapping such as {{steps: 100}}, found {found!r}")
    expect_known(found if known is not None else (), known or (), f"{where}: ", "key")
    return dict(found)


def by_settings(
    entries: Iterable[dict[str, Any]], besides: tuple[str, ...] = ()
) -> dict[Hashable, list[dict[str, Any]]]:
    """Entries by their settings, those named `besides` left out, as `Planned.key` tells those of a run. A setting that
    an older entry does not have yet stands for its usual value."""

    def key(entry: dict[str, Any]) -> Hashable:
        task = entry.get("task", "density")
        return _key(task, completed(entry["settings"], task), besides)

    return group(entries, key)


def _key(task: str, values: Mapping[str, Any], besides: tuple[str, ...]) -> Hashable:
    names = (f.name for f in fields(TASKS[task].settings) if f.name not in besides)
    return task, *((name, _still(values.get(name))) for name in names)


def _still(value: Any) -> Hashable:
    if isinstance(value, list):
        return tuple(map(_still, value))
    return repr(value) if isinstance(value, dict) else value


def published(runs: list[Planned]) -> dict[int, dict[str, Any]]:
    """By index, the entries of these runs that the project's own ledger has under SWEEP."""
    found = {name: by_settings(read_entries(shipped("results") / name)) for name in {run.sweep for run in runs}}
    return {run.index: found[run.sweep][key][0] for run in runs if (key := run.key()) in found[run.sweep]}
