"""The ablation notebook through papermill, 35 tiny runs and its own two; and its prose against the ledger."""

import json
import re
from itertools import product
from pathlib import Path
from statistics import fmean

import nbformat
import pytest
from scipy.special import stdtrit

import resflow_lite as rf
from resflow_lite.lab import COMPARED, PENALISED, by_seed, group, independent_pixels, paired_interval, report
from resflow_lite.lab.claims import difference
from resflow_lite.lab.ledger import validate_entry

NOTEBOOK = "ablation.ipynb"
ROOT = Path(__file__).parents[2]


WRONG = [("profile", "smkoe"), ("steps", "0"), ("profle", "smoke")]


def test_the_smoke_profile_trains_what_the_ledger_lacks(run_page, tmp_path):
    finished = tmp_path / "runs" / "ablation-smoke" / "elu-roulette-seed1" / "ledger.json"
    assert run_page(NOTEBOOK, ("profile", "smoke"), ("steps", "5")) == 0
    entries = [json.loads(path.read_text()) for path in (tmp_path / "runs").rglob("ledger.json")]
    assert len(entries) == 35 and finished.exists()
    for entry in entries:
        validate_entry(entry)
    cells = nbformat.read(tmp_path / "page" / "notebook.ipynb", as_version=4).cells
    told = "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", []))
    assert "truth: 0 of 10 runs in the ledger" in told and "ablation: 0 of 10 runs in the ledger" in told
    bits = [e["bits_per_dim"] for e in entries if e["settings"].get("activation") == "clipswish"]
    shown = float(re.search(r"clipswish-roulette +(\S+) \+- ", told)[1])
    assert abs(shown - sum(bits) / 2) < 5.1e-5


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_wrong_parameters_are_refused_before_anything_trains(run_page, tmp_path, capsys, name, value):
    assert run_page(NOTEBOOK, (name, value)) in (1, 2)
    told = capsys.readouterr().err
    assert "profle" in told or ("SettingsError" in told and (value in told or name in told))
    assert not (tmp_path / "runs").exists()


PAIRS = [("truncated", "roulette"), ("truncated", "stratified"), ("roulette", "stratified")]
PAIRS += [("roulette", "control-variate")]


def ends(entries, sweep):
    """What the page may say of a sweep of claims: name -> text."""
    score, found = ("nats" if sweep == "truth_plane" else "bits_per_dim"), {}
    of = group([e for e in entries if e.sweep == sweep], lambda entry: entry.label)
    scores = {setting: by_seed([e.facts for e in members], score) for setting, members in of.items()}
    for setting, members in of.items():
        claims = [e.facts["objective"] for e in members]
        found[f"{sweep} {setting}: claims"] = " / ".join(f"{claim:.2f}" for claim in claims)
        found[f"{sweep} {setting}: claim"] = f"{fmean(claims):.2f}"
        found[f"{sweep} {setting}: truth"] = f"{fmean(scores[setting].values()):.{2 if score == 'nats' else 3}f}"
    for n, (new, old) in product((1, 3, 5), PAIRS):
        one, other = (scores.get(f"{name}-{n}", {}) for name in (new, old))
        if len(one.keys() & other.keys()) > 1:
            mean, half = paired_interval(one, other)
            found[f"{sweep} {new} over {old} at {n}"] = f"{abs(mean):.3f} ± {half:.3f}"
    return found


def numbers():
    """What the page's prose says in numbers, from the ledger, as it is printed there."""
    entries = report.read_ledger(ROOT / "data" / "results")
    found = {}
    for sweep in ("truth", "truth_long", "truth_mnist", "truth_plane"):
        found |= ends(entries, sweep)
    for step, pair in COMPARED.items():
        mean, half, n = difference(entries, "ablation", pair, family=len(COMPARED))
        found[step] = f"{mean:+.3f} ± {half:.3f}"
    for step, pair in PENALISED.items():
        mean, half, _ = difference(entries, "ablation_norms", pair, family=len(PENALISED))
        found[step] = f"by {abs(mean):.3f} ± {half:.3f}"
    found["quantile"] = f"{stdtrit(n - 1, 1 - 0.025 / len(COMPARED)):.2f}"
    found["plain quantile"] = f"{stdtrit(n - 1, 0.975):.2f}"
    images = (rf.load_images("digits", split) for split in ("train", "validation"))
    found["pixels"] = f"{float(independent_pixels(*images).mean()):.2f}"
    facts = [e.facts for e in entries if (e.sweep, e.label) == ("ablation", "elu-truncated")]
    found["three terms: claim"] = f"{fmean(entry['objective'] for entry in facts):.2f}"
    found["three terms: truth"] = f"{fmean(entry['bits_per_dim'] for entry in facts):.2f}"
    for name in ("elu-truncated", "elu-roulette", "lipswish-roulette"):
        paths = (ROOT / "data" / "superseded" / "ablation_mnist").glob(f"mnist-{name}-*.json")
        found[f"mnist {name}"] = f"{fmean(json.loads(path.read_text())['bits_per_dim'] for path in paths):.3f}"
    proofs = json.loads((ROOT / "data" / "measurements" / "proof_ablation.json").read_text())["bits_per_dim"]
    found |= {f"proof {name}": f"{fmean(costs):.3f}" for name, costs in proofs.items()}
    return found


OTHERS = {"0.5", "0.05", "0.93", "0.1", "0.03", "0.01", "0.001", "1.690", "2.378"}
OTHERS |= {"1.05", "1.00", "0.97", "3.45", "3.40", "3.39", "0.003"}
"""Of the prose, and not of this ledger: laws, rates, a quantile of five seeds, the paper, the pixels of MNIST."""


def test_every_number_in_the_prose_is_that_of_the_ledger():
    cells = nbformat.read(ROOT / "notebooks" / "reproduction" / NOTEBOOK, as_version=4).cells
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    known = {number for told in numbers().values() for number in re.findall(r"\d+\.\d+", told)} | OTHERS
    said = set(re.findall(r"(?<![\d.,])\d+\.\d+", prose))
    assert said <= known, f"not in the ledger: {sorted(said - known)}"
    needed = [f"truth {name}-{n}: truth" for n in (1, 3, 5) for name in ("truncated", "roulette")]
    needed += [f"truth {name}" for name in ("stratified-1: truth", "truncated-1: claims", "control-variate-1: truth")]
    kinds = ("truncated-1", "roulette-1", "stratified-1")
    needed += [f"{sweep} {name}: truth" for sweep in ("truth_mnist", "truth_plane") for name in kinds]
    needed += [f"truth_mnist {name} at 1" for name in ("truncated over roulette", "roulette over stratified")]
    for name in (*needed, *COMPARED, *PENALISED):
        assert numbers()[name] in prose, name


def test_learned_orders_have_hardly_moved():
    told = json.loads((ROOT / "data" / "measurements" / "orders_ablation.json").read_text())["orders"]
    ends = [order for pairs in told.values() for pair in pairs for order in pair]
    assert len(ends) == 2 * 2 * 5 and max(abs(order - 2) for order in ends) < 0.1


def test_penalised_norms_are_of_one_commit_and_scored_by_the_truth():
    found = [e.facts for e in report.read_ledger(ROOT / "data" / "results") if e.sweep == "ablation_norms"]
    assert len({entry["commit"] for entry in found}) == 1 and not any(entry["dirty"] for entry in found)
    assert {entry["estimator"]["evaluation"] for entry in found} == {"Exact()"}
    assert {entry["settings"]["norm_penalty"] for entry in found} == {0.0, 0.01}


def test_the_page_and_its_ledger_agree_on_sizes():
    entries = [e for e in report.read_ledger(ROOT / "data" / "results") if e.sweep in ("truth", "ablation")]
    sizes = {entry.facts["parameters"] for entry in entries}
    assert max(sizes) - min(sizes) < 0.01 * max(sizes)
    assert len({entry.facts["commit"] for entry in entries if entry.sweep == "ablation"}) == 1
    assert not any(entry.facts["dirty"] for entry in entries)
    assert {entry.facts["estimator"]["evaluation"] for entry in entries} == {"Exact()"}
