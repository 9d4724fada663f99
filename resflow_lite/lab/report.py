"""What the ledger holds, beside what the paper reports, in three blocks that never mix.

Paper: cited numbers. Same protocol: our runs of the paper's models by the paper's recipe, which may be compared with
the paper's numbers. Scaled down: everything smaller, compared with nothing but its own kind.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any

from scipy.special import stdtrit

from ..errors import SettingsError
from ..estimators.series import Roulette
from ..models.systems import systems
from .hours import estimated_hours
from .ledger import Entry, read_ledger
from .reported import REPORTED
from .schema import SELECTION
from .seeds import Comparison, compare, group
from .tasks.density import Experiment
from .tasks.profiles import PROFILES
from .tasks.registry import TASKS

__all__ = ["Entry", "Setting", "Target", "TARGETS", "TOLERANCE", "outcome", "read_ledger", "scaled_down"]

TOLERANCE = 0.01
"""Bits/dim: the smallest step between two systems in the paper's table."""

UNFINISHED = SELECTION["unfinished"]
NO_MATTER = ("seed", "precision", "memory", "accumulation", "evaluations", "truth_images")
"""Settings that change the cost or the noise of a result, not what is being estimated."""


@dataclass(frozen=True)
class Target:
    """A number of the paper's table that this package has the model and the recipe for.

    model, dataset: keys of REPORTED.  changes: settings beside those of the paper profile. For the i-ResNet two, as in
    the paper's ablation; the models of Behrmann et al. differ in more (models/presets.py).
    """

    model: str
    dataset: str
    changes: tuple[tuple[str, str], ...] = ()

    @property
    def reported(self) -> float:
        return REPORTED[self.model][self.dataset]

    @property
    def experiment(self) -> Experiment:
        return Experiment(dataset=self.dataset, profile="paper", precision="bf16", **dict(self.changes))

    @property
    def commands(self) -> tuple[str, str]:
        """Train, on one GPU; measure and publish."""
        words = dict(dataset=self.dataset, profile="paper", precision="bf16") | dict(self.changes)
        folder = f"runs/{self.dataset}" + "-iresnet" * bool(self.changes)
        settings = " ".join(f"-p {name} {value}" for name, value in words.items())
        fit = f"python -m resflow_lite fit {settings} --run-dir {folder}"
        return fit, f"python -m resflow_lite evaluate {folder} --publish"

    @property
    def hours(self) -> tuple[float, float]:
        """As the paper draws, and with stratified draws: hours.py says what they come from."""
        experiment = self.experiment
        estimator = experiment.estimators()[0]
        if not isinstance(estimator.terms, Roulette):
            return estimated_hours(experiment), estimated_hours(experiment)
        stratified = replace(estimator, terms=replace(estimator.terms, draws="stratified"))
        return estimated_hours(experiment), estimated_hours(replace(experiment, train_estimator=stratified))

    def runs(self, entries: Iterable[Entry]) -> list[dict[str, Any]]:
        """The finished runs by this protocol: every setting is the target's, those in NO_MATTER aside."""
        expected = self.experiment.as_json()
        matter = [name for name in expected if name not in NO_MATTER]
        finished = [e for e in entries if e.task == "density" and not e.facts["selection_rule"].startswith(UNFINISHED)]
        return [e.facts for e in finished if all(e.settings.get(name) == expected[name] for name in matter)]


RESFLOW, IRESNET = "Residual Flow (Chen et al. 2019)", "i-ResNet (Behrmann et al. 2019)"
ELU_TRUNCATED = (("activation", "elu"), ("train_estimator", "truncated"))
TARGETS = (
    *(Target(RESFLOW, dataset) for dataset in REPORTED[RESFLOW]),
    *(Target(IRESNET, dataset, ELU_TRUNCATED) for dataset in REPORTED[IRESNET]),
)


def outcome(reported: float, runs: Sequence[dict[str, Any]]) -> tuple[str, float, float]:
    """Status, mean bits/dim and 95 % half-width of (our mean - reported).

    Both are of the same test images, so the choice of the images is no error here. What is left: one run, two errors of
    noise; n runs, t(0.975, n - 1) s sqrt(1 + 1/n), as the reported number is one more run. "matched": the whole
    interval is within TOLERANCE of zero. "differs": all of it is outside. "undecided": neither. "not run": no run.
    """
    if not runs:
        return "not run", float("nan"), float("nan")
    bits = [run["bits_per_dim"] for run in runs]
    n, mean = len(bits), fmean(bits)
    if n == 1:
        half = 2 * (runs[0]["standard_error"] if runs[0]["noise_error"] is None else runs[0]["noise_error"])
    else:
        half = float(stdtrit(n - 1, 0.975)) * stdev(bits) * (1 + 1 / n) ** 0.5
    distance = abs(mean - reported)
    status = "matched" if distance + half <= TOLERANCE else "differs" if distance - half > TOLERANCE else "undecided"
    return status, mean, half


@dataclass(frozen=True)
class Setting:
    """One setting of a sweep. entries: one a seed.  comparison: its score over seeds, beside that of the best."""

    name: str
    entries: tuple[Entry, ...]
    comparison: Comparison

    @property
    def system(self) -> str | None:
        return self.entries[0].settings.get("system")

    def mean(self, fact: str) -> float:
        return fmean(entry.facts[fact] for entry in self.entries)


def scaled_down(entries: Iterable[Entry], profile: str) -> dict[tuple[str, str, str], list[Setting]]:
    """(sweep, data set, score) -> settings, best first: runs of a profile that are of no target's protocol.

    A seed that was run twice counts once, by its first file. Raises SettingsError for an unknown profile.
    """
    if profile not in PROFILES:
        raise SettingsError(f"profile = {profile!r}: expected one of {', '.join(PROFILES)}")
    entries = [entry for entry in entries if entry.settings["profile"] == profile]
    full_scale = [run for target in TARGETS for run in target.runs(entries)]
    entries = [entry for entry in entries if entry.facts not in full_scale]
    found = {}
    for (sweep, task, dataset), members in group(entries, lambda e: (e.sweep, e.task, e.settings["dataset"])).items():
        for score in TASKS[task].scores:
            scored = [entry for entry in members if entry.facts[score] is not None]
            if scored:
                found[sweep, dataset, score] = _best_first(scored, score)
    return found


def _best_first(entries: list[Entry], score: str) -> list[Setting]:
    settings = {}
    for members in group(entries, _setting).values():
        seeds = {entry.facts["seed"]: entry for entry in reversed(members)}
        settings[_name(members[0], entries)] = [seeds[seed] for seed in sorted(seeds)]
    sign = 1 if score == "bits_per_dim" else -1
    ranked = sorted(settings, key=lambda name: sign * fmean(entry.facts[score] for entry in settings[name]))
    rows = compare({name: [entry.facts for entry in settings[name]] for name in ranked}, score)
    return [Setting(row.name, tuple(settings[row.name]), row) for row in rows]


def _setting(entry: Entry) -> str:
    return json.dumps({k: v for k, v in entry.settings.items() if k != "seed"} | {"label": entry.label})


def _name(entry: Entry, siblings: Iterable[Entry]) -> str:
    """The sweep's name for the setting, or the system's, and the settings in which others of that name differ."""
    title = _title(entry)
    alike = [other.settings for other in siblings if _title(other) == title]
    mine = entry.settings
    differing = [name for name in mine if name != "seed" and any(other.get(name) != mine[name] for other in alike)]
    return ", ".join([title] * bool(title) + [f"{name} {mine[name]}" for name in differing]) or "residual flow"


def _title(entry: Entry) -> str:
    name = entry.label or entry.settings.get("system") or ""
    return systems[name].label if name in systems else name
