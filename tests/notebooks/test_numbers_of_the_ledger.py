"""What the text of a page says of the ledger, computed again from the ledger: verdicts, counts, steps and seconds."""

from pathlib import Path
from statistics import fmean

import nbformat
import pytest

import resflow_lite as rf
from resflow_lite.lab import COMPARED, by_seed, group, hybrid_weights, paired_interval, read_entries
from resflow_lite.lab.claims import difference
from resflow_lite.lab.ledger import read_ledger

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "data" / "results"


def text(page):
    cells = nbformat.read(ROOT / "notebooks" / f"{page}.ipynb", 4).cells
    return " ".join(" ".join(cell.source for cell in cells if cell.cell_type == "markdown").split())


def verdicts(found, base, score, sign, family):
    """What the seeds say of every group beside the base: (better, worse, ties), names in the order of the groups."""
    words = [], [], []
    for name, entries in found.items():
        if name == base:
            continue
        difference, half = paired_interval(by_seed(entries, score), by_seed(found[base], score), family=family)
        words[2 if abs(difference) <= half else 0 if sign * difference > 0 else 1].append(name)
    return words


def told(words, labels):
    better, worse, ties = (", ".join(labels[name] for name in names) or "none" for names in words)
    return f"better {better}; worse {worse}; ties {ties}"


def test_chapter_6_says_by_how_much_lipswish_is_ahead():
    pair, family = COMPARED["LipSwish, not ELU"], len(COMPARED)
    mean, half, seeds = difference(read_ledger(RESULTS), "ablation", pair, family=family)
    assert seeds == 5 and f"by {-mean:.3f} ± {half:.3f} bits/dim (five seeds;" in text("06_activations_and_norms")


LABELS = {name: system.label for name, system in rf.systems.items()}


def by_system(sweep):
    found = group(read_entries(RESULTS / sweep), lambda entry: entry["settings"]["system"])
    return {name: found[name] for name in rf.systems if name in found}


@pytest.mark.parametrize("sweep", ["systems", "systems_steps"])
def test_chapter_8_says_what_the_six_systems_came_to(sweep):
    found = by_system(sweep)
    equal = {"systems": "Equal time", "systems_steps": "Equal steps"}[sweep]
    words = told(verdicts(found, "resflow", "bits_per_dim", -1, len(found) - 1), LABELS)
    assert f"{equal}, compared with the Residual Flow: {words}." in text("08_image_flows")


def test_chapter_8_says_how_they_were_run():
    page, found = text("08_image_flows"), by_system("systems")
    (seeds,) = {len(entries) for entries in found.values()}
    sizes = [entry["parameters"] for entries in found.values() for entry in entries]
    assert f"{seeds} seeds" in page and f"about {round(fmean(sizes), -4):,.0f} parameters each" in page
    assert max(sizes) < 1.05 * min(sizes)
    seconds = [fmean(entry["cpu_seconds"] for entry in entries) for entries in found.values()]
    assert f"{min(seconds):.0f} to {max(seconds):.0f} CPU seconds" in page
    assert len({e["commit"] for e in read_entries(RESULTS / "systems")}) == 1
    assert {e["estimator"]["evaluation"] for e in found["resflow"] + found["iresnet"]} == {"Exact()"}


def hybrids():
    """(kind, lambda) -> entries."""
    names = {weight: name for name, weight in hybrid_weights("digits").items()}
    found = [e for e in read_entries(RESULTS / "hybrid") if e["settings"]["profile"] == "laptop"]
    return group(found, lambda e: (e["settings"]["kind"], names[e["settings"]["weight"]]))


def word(one, other, score, sign):
    difference, half = paired_interval(by_seed(one, score), by_seed(other, score))
    return "not decided" if abs(difference) <= half else "better" if sign * difference > 0 else "worse"


@pytest.mark.parametrize("page", ["09_hybrid_models", "reproduction/hybrid"])
@pytest.mark.parametrize("weight", ["0", "1/D", "1"])
def test_the_pages_of_hybrids_say_how_residual_blocks_compare_with_couplings(page, weight):
    found = hybrids()
    pair = found["residual", weight], found["coupling", weight]
    told = f"accuracy {word(*pair, 'accuracy', 1)}"
    if weight != "0":
        told += f", bits/dim {word(*pair, 'bits_per_dim', -1)}"
    assert f"$\\lambda={weight}$, residual beside coupling: {told}." in text(page)


def test_the_pages_of_hybrids_say_how_they_were_run():
    found = hybrids()
    seconds = [fmean(entry["cpu_seconds"] for entry in entries) for entries in found.values()]
    for page in ("09_hybrid_models", "reproduction/hybrid"):
        assert f"{min(seconds):.0f} to {max(seconds):.0f} CPU seconds" in text(page)
    assert len({e["commit"] for e in read_entries(RESULTS / "hybrid")}) == 1


def test_the_hybrid_page_says_what_each_change_did():
    base = hybrids()["residual", "1/D"]
    changed = read_ledger(RESULTS)
    for name in dict.fromkeys(entry.label for entry in changed if entry.sweep == "hybrid_causes"):
        entries = [entry.facts for entry in changed if (entry.sweep, entry.label) == ("hybrid_causes", name)]
        told = f"accuracy {word(entries, base, 'accuracy', 1)}, bits/dim {word(entries, base, 'bits_per_dim', -1)}"
        assert f"*{name}*: {told}" in text("reproduction/hybrid")
