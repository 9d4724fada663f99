"""What the ledger holds, beside what the paper reports, in three blocks that never mix.

Paper: cited numbers. Same protocol: our runs of the paper's models by the paper's recipe, which may be compared with
the paper's numbers. Scaled down: everything smaller, compared with nothing but its own kind.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, stdev
from typing import Any

from scipy.special import stdtrit

from ..expect import one_of
from ..models.presets import recipes
from ..models.systems import systems
from .hours import estimated_hours
from .ledger import Entry, read_ledger
from .names import PROFILES
from .reported import REPORTED
from .schema import SELECTION
from .seeds import Comparison, compare, group
from .tasks.density import Experiment
from .tasks.registry import TASKS

__all__ = ["Entry", "Setting", "Target", "TARGETS", "TOLERANCE", "is_released", "outcome", "read_ledger"]
__all__ += ["scaled_down"]

TOLERANCE = 0.01
"""Bits/dim: the smallest step between two systems in the paper's table."""

NO_MATTER = ("seed", "precision", "memory", "accumulation", "evaluations", "truth_images")
"""Settings that change the cost or the noise of a result, not what is being estimated."""
OF_THE_FLOW = ("system", "blocks", "width", "n_dense", "dense_width", "activation", "norms", "coeff", "alpha")
OF_THE_FLOW += ("factor_out", "squeeze_first", "padding")
"""Settings that make the model, whatever it was trained by."""


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

    @cached_property
    def experiment(self) -> Experiment:
        return Experiment(dataset=self.dataset, profile="paper", precision="bf16", **dict(self.changes))

    @cached_property
    def _expected(self) -> dict[str, Any]:
        return {name: value for name, value in self.experiment.as_json().items() if name not in NO_MATTER}

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
        return estimated_hours(self.experiment), estimated_hours(self.experiment, "stratified")

    def differing(self, settings: Mapping[str, Any]) -> list[str]:
        """The settings that matter and are not the target's."""
        return [name for name, value in self._expected.items() if settings.get(name) != value]

    def epochs(self, run: Mapping[str, Any]) -> tuple[float, int]:
        """How many a run has seen, and how many the recipe has."""
        whole, experiment = recipes[f"paper/{self.dataset}"].epochs, self.experiment
        return whole * run["images_seen"] / (experiment.steps * experiment.batch_size), whole

    def runs(self, entries: Iterable[Entry]) -> list[dict[str, Any]]:
        """The finished runs by this protocol: every setting is the target's, those in NO_MATTER aside."""
        return [e.facts for e in self._trained(entries) if _finished(e) and not self.differing(e.settings)]

    def under_way(self, entries: Iterable[Entry]) -> list[Entry]:
        """Other trainings of this model, which are no result: stopped before the end, shorter, or with other settings;
        the longest first."""
        others = [e for e in self._trained(entries) if not _finished(e) or self.differing(e.settings)]
        return sorted(others, key=lambda entry: -entry.facts["images_seen"])

    def small(self, found: Mapping[tuple[str, str, str], Sequence["Setting"]]) -> list["Setting"]:
        """Of `scaled_down`: the settings that are this model made small, best first."""
        names = {"activation", "norms", "system"}
        alike = [s for (_, data, score), s in found.items() if (data, score) == (self.dataset, "bits_per_dim")]
        mine = [s for settings in alike for s in settings if self._is_like(s.entries[0], names)]
        return sorted(mine, key=lambda setting: setting.comparison.mean)

    def released(self, entries: Iterable[Entry]) -> list[dict[str, Any]]:
        """The authors' own models, scored here."""
        return [e.facts for e in entries if is_released(e) and self._is_like(e, OF_THE_FLOW)]

    def _trained(self, entries: Iterable[Entry]) -> list[Entry]:
        """Trainings of this model here, from its first step on."""
        return [e for e in entries if self._is_like(e, OF_THE_FLOW) and not is_released(e) and not _continued(e)]

    def _is_like(self, entry: Entry, names: Iterable[str]) -> bool:
        """Whether it has these settings and the data, and trains by the same kind of estimator."""
        if entry.task != "density" or {"dataset", *names} & set(self.differing(entry.settings)):
            return False
        truncated = [told.get("train_estimator") == "truncated" for told in (entry.settings, dict(self.changes))]
        return truncated[0] == truncated[1]


def is_released(entry: Entry) -> bool:
    """Whether the weights are the authors', and not of a training here."""
    return entry.facts.get("source", {}).get("kind") == "released"


def _finished(entry: Entry) -> bool:
    return not entry.facts["selection_rule"].startswith(SELECTION["unfinished"])


def _continued(entry: Entry) -> bool:
    """Whether the training began with the weights of another run, whose steps it does not count."""
    return any("starts from the weights of" in event for event in entry.facts["failures"])


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

    A seed that was run twice counts once, by its first file; the authors' models do not count. Raises SettingsError for
    an unknown profile.
    """
    one_of(PROFILES)("profile", profile)
    entries = [entry for entry in entries if entry.settings["profile"] == profile and not is_released(entry)]
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
