"""Several seeds of one setting become a mean with an error bar, and two settings a paired difference."""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from scipy.special import stdtrit

from ..errors import DataError
from ..expect import integer, number

SCORE = number("(-inf, inf)")
Facts = Mapping[str, Any]
"""Of a ledger entry."""


@dataclass(frozen=True)
class Comparison:
    """One setting beside the first: scores over seeds.

    mean, error: of the seeds' scores, and its standard error (nan for one seed).  difference, half_width: this setting
    minus the first, from paired_interval; None for the first itself.
    """

    name: str
    seeds: int
    mean: float
    error: float
    difference: float | None = None
    half_width: float | None = None

    def __str__(self) -> str:
        line = f"{self.name:28} {self.seeds:3} seeds  {self.mean:8.4f} +- {self.error:.4f}"
        return line if self.difference is None else f"{line}  {self.difference:+9.4f} +- {self.half_width:.4f}"


def group(entries: Iterable[Facts], key: Callable[[Facts], Hashable]) -> dict[Hashable, list[Facts]]:
    """Entries by key(entry), in the order in which the keys appear.

    Example: group(entries, lambda entry: entry["settings"]["system"])
    """
    groups: dict[Hashable, list[Facts]] = {}
    for entry in entries:
        groups.setdefault(key(entry), []).append(entry)
    return groups


def by_seed(entries: Iterable[Facts], score: str) -> dict[int, float]:
    """Seed -> score. Raises DataError where two entries have the same seed: they are not of one setting."""
    found: dict[int, float] = {}
    for entry in entries:
        if entry["seed"] in found:
            raise DataError(f"two entries of seed {entry['seed']} in one group: give group() a finer key")
        if not SCORE.fits(value := entry.get(score)):
            raise DataError(f"{score} = {value!r} in the entry of seed {entry['seed']}: expected {SCORE.words}")
        found[entry["seed"]] = value
    return found


def mean_and_error(values: Iterable[float]) -> tuple[float, float]:
    """The mean and its standard error, s / sqrt(n); nan for a single value, which has no spread."""
    values = [SCORE("value", value) for value in values]
    if not values:
        raise DataError("there are no values: expected one or more")
    return fmean(values), stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def paired_interval(a: Mapping[int, float], b: Mapping[int, float], family: int = 1) -> tuple[float, float]:
    """Mean of a - b over the seeds that both have, and the half-width of its 95 % t-interval.

    a, b: seed -> score (by_seed).  family: of how many intervals this is one, that all hold their truth together in
    95 cases of 100 (Bonferroni: each alone in 1 - 0.05 / family).
    half_width = t(1 - 0.025 / family, n - 1) s / sqrt(n), s of the differences: what a seed does to both drops out.
    Infinite for one common seed. Raises DataError for none.
    """
    integer(1)("family", family)
    differences = [a[seed] - b[seed] for seed in a if seed in b]
    if not differences:
        raise DataError(f"no common seeds: {sorted(a)} and {sorted(b)}")
    mean, error = mean_and_error(differences)
    n = len(differences)
    return mean, float(stdtrit(n - 1, 1 - 0.025 / family)) * error if n > 1 else math.inf


def compare(groups: Mapping[str, Sequence[Facts]], score: str) -> list[Comparison]:
    """Each group's mean over seeds, and its paired difference to the first group."""
    rows, first = [], None
    for name, entries in groups.items():
        values = by_seed(entries, score)
        pair = paired_interval(values, first) if first and values.keys() & first.keys() else ()
        rows.append(Comparison(name, len(values), *mean_and_error(values.values()), *pair))
        first = first or values
    return rows
