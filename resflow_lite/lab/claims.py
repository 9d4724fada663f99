"""The paper's claims, one by one: what the ledger shows of each, by how much, or what it would take to tell."""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from scipy.special import stdtrit

from .files import read_json
from .package_data import shipped
from .report import TARGETS, Entry
from .seeds import by_seed, paired_interval
from .tables import Table

COMPARED = {
    "roulette, not truncated (ELU)": ("elu-roulette", "elu-truncated"),
    "LipSwish, not ELU": ("lipswish-roulette", "elu-roulette"),
    "learned norms, not 2-norms": ("lipswish-roulette-mixed", "lipswish-roulette"),
    "CLipSwish, not LipSwish": ("clipswish-roulette", "lipswish-roulette"),
}
"""The family of the ablation: each setting with the one that it is held against."""
NOTHING = 0.02
"""Bits/dim between a claim and the truth that the claim's draws explain."""


def difference(
    entries: Sequence[Entry], sweep: str, pair: tuple[str, str], score: str = "bits_per_dim", family: int = 1
) -> tuple[float, float, int] | None:
    """New minus old setting of a sweep on digits: mean, half-width (paired_interval) and common seeds; None where the
    ledger lacks one of them, or has fewer than two common seeds."""
    new, old = (
        by_seed(
            [e.facts for e in entries if (e.sweep, e.label, e.settings["dataset"]) == (sweep, name, "digits")], score
        )
        for name in pair
    )
    n = len(new.keys() & old.keys())
    return (*paired_interval(new, old, family), n) if n > 1 else None


def verdict(found: tuple[float, float, int] | None, sign: int = -1, family: int = 1) -> str:
    """In words: whether the interval, one of a family, lies on the side of 0 that is better (sign: -1, lower), and what
    it would take: seeds after which 1.96 standard errors were as small as the difference."""
    if found is None:
        return "not in the ledger"
    mean, half, n = found
    if abs(mean) > half:
        return "shown here" if mean * sign > 0 else "refuted at this scale"
    if mean == 0:
        return "not resolved"
    sd = half / float(stdtrit(n - 1, 1 - 0.025 / family)) * math.sqrt(n)
    return f"not resolved: about {max(n + 1, math.ceil((1.96 * sd / mean) ** 2)):,} seeds"


def paper_claims(entries: Sequence[Entry]) -> Table:
    """A line for each claim of the paper: what the ledger and the measurements of this checkout say of it."""
    rows = [_unbiased(entries), _truncated(entries), _memory(), _lipswish(entries), _norms(entries), _hybrid(entries)]
    heads = ["claim of the paper", "here", "by how much, or what it would take", "page"]
    return Table(heads, [*rows, _densities(entries)])


def _told(found: tuple[float, float, int] | None, unit: str, digits: int = 3) -> str:
    return "-" if found is None else f"{found[0]:+.{digits}f} ± {found[1]:.{digits}f}{unit}, {found[2]} seeds"


def _of(entries: Sequence[Entry], sweep: str, label: str) -> list[dict[str, Any]]:
    return [e.facts for e in entries if (e.sweep, e.label) == (sweep, label)]


def _unbiased(entries: Sequence[Entry]) -> list[str]:
    """Two claims in one: that the estimate is unbiased, seed by seed, and that the model gets better by it."""
    claim, page = (
        "roulette makes the objective unbiased, and so maximum likelihood possible",
        "ablation; chapters 3 and 4",
    )
    gaps = {
        name: [e["objective"] - e["bits_per_dim"] for e in _of(entries, "truth", f"{name}-1")]
        for name in ("truncated", "roulette")
    }
    if not all(gaps.values()):
        return [claim, "not in the ledger", "-", page]
    unbiased = max(map(abs, gaps["roulette"])) < NOTHING < min(map(abs, gaps["truncated"]))
    found = difference(entries, "truth", ("roulette-1", "truncated-1"))
    biases = (f"{name} {fmean(of) + 0.0:+.2f}" for name, of in gaps.items())
    words = f"claim minus truth at one product: {', '.join(biases)} bits/dim; the roulette's model minus the truncated "
    words += f"one's: {_told(found, ' bits/dim')}"
    told = f"unbiased: {'shown here' if unbiased else 'not resolved'}; a better model: {verdict(found)}"
    family = len(COMPARED)
    three = difference(entries, "ablation", COMPARED["roulette, not truncated (ELU)"], family=family)
    if three is not None:
        told += f"; at three products (ELU): {verdict(three, family=family)}"
        words += f"; at three: {_told(three, ' bits/dim')}"
    return [claim, told, words, page]


def _truncated(entries: Sequence[Entry]) -> list[str]:
    """Of the course of each training: its last claim below its last truth, and that above the best truth on the way."""
    claim, page = "a truncated series reports too low bits/dim, while the density gets worse", "ablation; chapter 3"
    curves = [e["curve"] for e in _of(entries, "truth", "truncated-1") if e.get("curve")]
    if not curves:
        return [claim, "not in the ledger", "-", page]
    gaps = [claimed - truth for _, claimed, truth in (curve[-1] for curve in curves)]
    rises = [curve[-1][2] - min(truth for _, _, truth in curve) for curve in curves]
    shown = max(gaps) < -NOTHING and min(rises) > NOTHING
    words = f"one term, {len(curves)} seeds: claim minus truth at the end {min(gaps):+.2f} to {max(gaps):+.2f} bits/dim"
    words += f"; the truth is then {min(rises):.3f} to {max(rises):.3f} above its best on the way"
    return [claim, "shown here" if shown else "not resolved", words, page]


def _memory() -> list[str]:
    claim, page = "the Neumann gradient and backward-in-forward cut peak memory", "memory_and_time; chapter 5"
    rows = read_json(shipped("measurements/memory_and_time_laptop.json"))["bytes"]
    size = max((row["blocks"], row["terms"]) for row in rows)
    peaks = {
        (row["gradient"], row["memory"]): row["peak"]
        for row in rows
        if row["path"] == "own" and (row["blocks"], row["terms"], row["batch_size"], row["width"]) == (*size, 32, 64)
    }
    store = peaks["series", "store"]
    times, ours = (store / peaks["neumann", memory] for memory in ("backward_in_forward", "recompute"))
    words = f"{times:.1f} times less with {size[0]} blocks and {size[1]} terms; {ours:.1f} times with recompute, ours"
    return [claim, "shown here" if times > 1 else "refuted at this scale", words, page]


def _lipswish(entries: Sequence[Entry]) -> list[str]:
    family = len(COMPARED)
    found = difference(entries, "ablation", COMPARED["LipSwish, not ELU"], family=family)
    words = "LipSwish minus ELU on digits, both with a roulette: " + _told(found, " bits/dim")
    return ["LipSwish does not saturate, and helps", verdict(found, family=family), words, "ablation; chapter 6"]


def _norms(entries: Sequence[Entry]) -> list[str]:
    family = len(COMPARED)
    found = difference(entries, "ablation", COMPARED["learned norms, not 2-norms"], family=family)
    words = "learned minus 2-norms on digits: " + _told(found, " bits/dim")
    return ["induced mixed norms with learned orders help", verdict(found, family=family), words, "ablation; chapter 6"]


def _hybrid(entries: Sequence[Entry]) -> list[str]:
    """At the joint likelihood, where the claim is strongest; the better of the two coupling networks."""
    pairs = [
        difference(entries, "hybrid", ("residual-1", name), "accuracy") for name in ("coupling-1", "coupling+1x1-1")
    ]
    found = min((pair for pair in pairs if pair is not None), key=lambda pair: pair[0], default=None)
    words = "accuracy on digits at lambda = 1 in equal time, residual minus the better coupling: " + _told(found, "", 4)
    told = f"{verdict(found, 1)}, in equal time"
    return ["residual blocks beat coupling blocks in hybrid models", told, words, "hybrid; chapter 9"]


def _densities(entries: Sequence[Entry]) -> list[str]:
    missing = [target for target in TARGETS if not target.runs(entries)]
    claim, page = "densities as good as the best flows' of its time", "results; density; chapter 8"
    if not missing:
        return [claim, "see block 2", "every target was run", page]
    hours = sum(min(target.hours) for target in missing)
    words = f"{len(missing)} of {len(TARGETS)} trainings at full scale are missing, about {hours:,.0f} GPU hours"
    return [claim, "not resolved", words, page]
