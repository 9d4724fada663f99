"""The leaderboard: beside each number of the paper, what was measured here, by what, and what it took.

What stands for a result never mixes: the authors' model scored here, a whole training here, and one that is under way,
which is shown with its epochs and is no result.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import DataError
from ..models.systems import systems
from .released import DATA
from .report import TARGETS, Entry, Setting, Target, is_released, outcome, scaled_down
from .seeds import group
from .tables import TITLES, Table, mean_words, reported

BEGIN, END = "<!-- results: begin; `make report` writes this from data/results/ -->", "<!-- results: end -->"


def leaderboard(entries: Sequence[Entry]) -> Table:
    """A line for each target: the paper's number, the authors' model scored here, a training here, a small one."""
    small = scaled_down(entries, "laptop")
    rows = []
    for target in TARGETS:
        name, data, digits = target.model.split(" (")[0], TITLES[target.dataset], reported(target.model, target.dataset)
        cells = _released(target, entries), _trained(target, entries), _small(target, small)
        rows.append([name, data, digits, *cells])
    header = ["model", "data set", "paper", "the authors' model, scored here", "trained here, full scale"]
    return Table([*header, "here, scaled down"], rows)


def _released(target: Target, entries: Sequence[Entry]) -> str:
    if not (runs := target.released(entries)):
        return "-" if target.changes or target.dataset not in DATA else "not scored"
    told = {run["source"]["reported"] for run in runs} - {None}
    words = [_judged(target, runs), *(f"its file says {bits:.4f}" for bits in sorted(told)), _commits(runs)]
    return "; ".join(words)


def _trained(target: Target, entries: Sequence[Entry]) -> str:
    """The result of whole trainings; or how far the longest of the others has come; or what one would take."""
    if runs := target.runs(entries):
        n = f"{len(runs)} runs; " if len(runs) > 1 else ""
        return f"{_judged(target, runs)}; {n}{_took(runs)}"
    usual, stratified = target.hours
    faster = f", {stratified:,.0f} with stratified draws" if stratified < usual else ""
    hours = f"a whole training takes about {usual:,.0f} GPU hours{faster}"
    if not (others := target.under_way(entries)):
        return f"**not run**: {hours}"
    run, (done, whole) = others[0].facts, target.epochs(others[0].facts)
    changed = [f"{name} {others[0].settings.get(name)}" for name in target.differing(others[0].settings)]
    words = f"**no result yet**: {_number(done)} of {whole:,} epochs" + (f", {', '.join(changed)}" if changed else "")
    return f"{words}: {run['bits_per_dim']:.3f} ± {run['standard_error']:.3f}; {_took([run])}"


def _small(target: Target, found: Mapping[tuple[str, str, str], Sequence[Setting]]) -> str:
    if not (settings := target.small(found)):
        return "-"
    best = settings[0]
    runs = [entry.facts for entry in best.entries]
    seeds = f"{len(runs)} seeds" if len(runs) > 1 else "1 seed"
    return f"{mean_words(best)} ({best.mean('parameters'):,.0f} parameters, {seeds}; {_took(runs)})"


def _judged(target: Target, runs: Sequence[Mapping[str, Any]]) -> str:
    status, mean, half = outcome(target.reported, runs)
    return f"{mean:.4f}, difference {mean - target.reported:+.4f} ± {half:.4f}, **{status}**"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _took(runs: Sequence[Mapping[str, Any]]) -> str:
    """What stands behind a number."""
    return f"{_hours(runs)} on {_machines(runs)}, {_commits(runs)}"


def _hours(runs: Sequence[Mapping[str, Any]]) -> str:
    """Of all trainings together, times their processes."""
    hours = sum(run["device_hours"] for run in runs)
    return f"{_number(hours)} h" if hours >= 2 else f"{_number(60 * hours)} min"


def _machines(runs: Sequence[Mapping[str, Any]]) -> str:
    found = {(run["hardware"]["processes"], str(run["hardware"]["name"])) for run in runs}
    return ", ".join(f"{n} x {name}" if n != 1 else name for n, name in sorted(found, key=str))


def _commits(runs: Sequence[Mapping[str, Any]]) -> str:
    found = sorted({run["commit"][:7] + " with changes" * run["dirty"] for run in runs})
    return f"commit{'s' * (len(found) > 1)} {', '.join(found)}"


def sweep_hours(entries: Sequence[Entry]) -> Table:
    """What stands behind the numbers of each sweep: trainings, the time of all together, machines, commits."""
    rows = []
    for (sweep, dataset), members in group(entries, lambda e: (e.sweep, _data(e))).items():
        runs = [entry.facts for entry in members if not is_released(entry)]
        if runs:
            told = str(len(runs)), _hours(runs), _machines(runs), _commits(runs)
            rows.append([sweep or "single runs", dataset, *told])
    return Table(["sweep", "data", "trainings", "time, all together", "on", "commits"], rows)


BUDGETS = dict(systems=", equal time", systems_steps=", equal steps")
"""What is equal beside the parameters, by sweep."""


def _data(entry: Entry) -> str:
    return "the plane" if entry.task == "toy" else TITLES.get(entry.settings["dataset"], entry.settings["dataset"])


def systems_table(entries: Sequence[Entry]) -> Table:
    """For each of the six systems the paper's numbers and the laptop's, in equal time and in equal steps."""
    laptop = {
        TITLES.get(dataset, dataset) + BUDGETS.get(sweep, ""): {s.system: s for s in reversed(settings)}
        for (sweep, dataset, score), settings in scaled_down(entries, "laptop").items()
        if score == "bits_per_dim" and any(s.system for s in settings)
    }
    rows = []
    for name, system in systems.items():
        model = f"{system.label} ({system.source})"
        found = (settings.get(name) for settings in laptop.values())
        small = [f"{mean_words(s)} ({s.comparison.seeds} seeds)" if s else "not run" for s in found]
        rows.append([model, *(reported(model, dataset) for dataset in ("mnist", "cifar10")), *small])
    small = [f"here, scaled down: {title}" for title in laptop]
    return Table(["bits/dim", "paper: MNIST", "paper: CIFAR-10", *small], rows)


def update_readme(text: str, entries: Iterable[Entry]) -> str:
    """The README's text with its tables made afresh. Raises DataError where the marks around them are missing."""
    before, found, rest = text.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not (found and closed):
        raise DataError(f"README.md: expected the lines {BEGIN!r} and {END!r} around the tables of results")
    entries = list(entries)
    return f"{before}{BEGIN}\n{leaderboard(entries)}\n\n{systems_table(entries)}\n{END}{after}"
