"""The paper's claims, one by one: what the ledger shows of each, by how much, or what it would take to tell."""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from scipy.special import stdtrit

from .data.sources import MADE_HERE
from .files import read_json
from .package_data import shipped
from .report import TARGETS, Entry
from .seeds import by_seed, paired_interval
from .tables import Table

CLAIMS = {
    "roulette makes the objective unbiased, and so maximum likelihood possible": "ablation; chapters 3 and 4",
    "a truncated series reports too low bits/dim, while the density gets worse": "ablation; chapter 3",
    "the Neumann gradient and backward-in-forward cut peak memory": "memory_and_time; chapter 5",
    "LipSwish does not saturate, and helps": "ablation; chapter 6",
    "induced mixed norms with learned orders help": "ablation; chapter 6",
    "residual blocks beat coupling blocks in hybrid models": "hybrid; chapter 9",
    "densities as good as the best flows' of its time": "results; density; chapter 8",
}
"""Each with the pages about it, in the order of `paper_claims`."""
COMPARED = {
    "roulette, not truncated (ELU)": ("elu-roulette", "elu-truncated"),
    "LipSwish, not ELU": ("lipswish-roulette", "elu-roulette"),
    "learned norms, not 2-norms": ("lipswish-roulette-mixed", "lipswish-roulette"),
    "CLipSwish, not LipSwish": ("clipswish-roulette", "lipswish-roulette"),
}
"""The family of the ablation: each setting with the one that it is held against."""
PENALISED = {
    "learned norms, penalised, not 2-norms": ("learned-penalty", "spectral"),
    "learned norms, penalised, not plain": ("learned-penalty", "learned"),
}
"""Learned norms as the paper's public code has them (norm_penalty): a family of its own, of ablation_norms.yaml."""
ROULETTE = {
    "at one, 800 steps": ("truth_long", ("roulette-1", "truncated-1"), 1),
    "at one, MNIST 14x14": ("truth_mnist", ("roulette-1", "truncated-1"), 1),
    "at three, 800 steps": ("truth_long", ("roulette-3", "truncated-3"), 1),
    "at three, ELU": ("ablation", COMPARED["roulette, not truncated (ELU)"], len(COMPARED)),
}
"""Where else a roulette is held against a truncated series of as many products: sweep, settings, size of the family."""
FAMILY = len(COMPARED)
MISSING = "not in the ledger", "-"
NOTHING = 0.02
"""Bits/dim between a claim and the truth that the claim's draws explain."""


Interval = tuple[float, float, int] | None
"""Mean of paired differences, half-width of its interval, common seeds; None where the ledger does not have it."""


def difference(
    entries: Sequence[Entry], sweep: str, pair: tuple[str, str], score: str = "bits_per_dim", family: int = 1
) -> Interval:
    """New minus old setting of a sweep on small images: mean, half-width (paired_interval) and common seeds; None where
    the ledger lacks one of them, or has fewer than two common seeds."""
    new, old = (
        by_seed([facts for facts in _of(entries, sweep, name) if facts["settings"]["dataset"] in MADE_HERE], score)
        for name in pair
    )
    n = len(new.keys() & old.keys())
    return (*paired_interval(new, old, family), n) if n > 1 else None


def verdict(found: Interval, sign: int = -1, family: int = 1) -> str:
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
    lipswish = ("LipSwish, not ELU", "LipSwish minus ELU on digits, both with a roulette")
    found = [_unbiased(entries), _truncated(entries), _memory(), _ablated(entries, *lipswish)]
    found += [_norms(entries), _hybrid(entries), _densities(entries)]
    rows = [[claim, *told, page] for (claim, page), told in zip(CLAIMS.items(), found, strict=True)]
    return Table(["claim of the paper", "here", "by how much, or what it would take", "page"], rows)


def _told(found: Interval, unit: str, digits: int = 3) -> str:
    return "-" if found is None else f"{found[0]:+.{digits}f} ± {found[1]:.{digits}f}{unit}, {found[2]} seeds"


def _of(entries: Sequence[Entry], sweep: str, label: str) -> list[dict[str, Any]]:
    return [entry.facts for entry in entries if (entry.sweep, entry.label) == (sweep, label)]


def _unbiased(entries: Sequence[Entry]) -> tuple[str, str]:
    """Two claims in one: that the estimate is unbiased, seed by seed, and that the model gets better by it."""
    runs = {name: _of(entries, "truth", f"{name}-1") for name in ("truncated", "roulette")}
    gaps = {name: [e["objective"] - e["bits_per_dim"] for e in found] for name, found in runs.items()}
    if not all(gaps.values()):
        return MISSING
    unbiased = max(map(abs, gaps["roulette"])) < NOTHING < min(map(abs, gaps["truncated"]))
    found = difference(entries, "truth", ("roulette-1", "truncated-1"))
    biases = (f"{name} {fmean(of) + 0.0:+.2f}" for name, of in gaps.items())
    words = f"claim minus truth at one product: {', '.join(biases)} bits/dim; the roulette's model minus the truncated "
    words += f"one's: {_told(found, ' bits/dim')}"
    told = f"unbiased: {'shown here' if unbiased else 'not resolved'}; a better model: {verdict(found)}"
    for where, (sweep, pair, family) in ROULETTE.items():
        more = difference(entries, sweep, pair, family=family)
        if more is not None:
            told += f"; {where}: {verdict(more, family=family)}"
            words += f"; {where}: {_told(more, ' bits/dim')}"
    return told, words


def _truncated(entries: Sequence[Entry]) -> tuple[str, str]:
    """Of the course of each training: its last claim below its last truth, and that above the best truth on the way."""
    curves = [e["curve"] for e in _of(entries, "truth", "truncated-1") if e.get("curve")]
    if not curves:
        return MISSING
    gaps = [claimed - truth for _, claimed, truth in (curve[-1] for curve in curves)]
    rises = [curve[-1][2] - min(truth for _, _, truth in curve) for curve in curves]
    shown = max(gaps) < -NOTHING and min(rises) > NOTHING
    words = f"one term, {len(curves)} seeds: claim minus truth at the end {min(gaps):+.2f} to {max(gaps):+.2f} bits/dim"
    words += f"; the truth is then {min(rises):.3f} to {max(rises):.3f} above its best on the way"
    return "shown here" if shown else "not resolved", words


def _memory() -> tuple[str, str]:
    rows = read_json(shipped("measurements/memory_and_time_laptop.json"))["bytes"]
    size = max((row["blocks"], row["terms"]) for row in rows)
    where = dict(path="own", blocks=size[0], terms=size[1], batch_size=32, width=64)
    peaks = {(row["gradient"], row["memory"]): row["peak"] for row in rows if row | where == row}
    store = peaks["series", "store"]
    times, ours = (store / peaks["neumann", memory] for memory in ("backward_in_forward", "recompute"))
    words = f"{times:.1f} times less with {size[0]} blocks and {size[1]} terms; {ours:.1f} times with recompute, ours"
    return "shown here" if times > 1 else "refuted at this scale", words


def _ablated(entries: Sequence[Entry], name: str, words: str) -> tuple[str, str]:
    """One of COMPARED."""
    found = difference(entries, "ablation", COMPARED[name], family=FAMILY)
    return verdict(found, family=FAMILY), f"{words}: {_told(found, ' bits/dim')}"


def _norms(entries: Sequence[Entry]) -> tuple[str, str]:
    """As we learn orders, and as the paper's public code does."""
    told, words = _ablated(entries, "learned norms, not 2-norms", "learned minus 2-norms on digits")
    pair, family = PENALISED["learned norms, penalised, not 2-norms"], len(PENALISED)
    found = difference(entries, "ablation_norms", pair, family=family)
    if found is None:
        return told, words
    told += f"; with the public code's penalty: {verdict(found, family=family)}"
    return told, f"{words}; with the public code's penalty: {_told(found, ' bits/dim')}"


def _hybrid(entries: Sequence[Entry]) -> tuple[str, str]:
    """At the joint likelihood, where the claim is strongest; the better of the two coupling networks."""
    others = ("coupling-1", "coupling+1x1-1")
    pairs = [difference(entries, "hybrid", ("residual-1", other), "accuracy") for other in others]
    found = min((pair for pair in pairs if pair is not None), key=lambda pair: pair[0], default=None)
    words = "accuracy on digits at lambda = 1 in equal time, residual minus the better coupling: " + _told(found, "", 4)
    return f"{verdict(found, 1)}, in equal time", words


def _densities(entries: Sequence[Entry]) -> tuple[str, str]:
    missing = [target for target in TARGETS if not target.runs(entries)]
    if not missing:
        return "see block 2", "every target was run"
    hours = sum(min(target.hours) for target in missing)
    words = f"{len(missing)} of {len(TARGETS)} trainings at full scale are missing, about {hours:,.0f} GPU hours"
    return "not resolved", words
