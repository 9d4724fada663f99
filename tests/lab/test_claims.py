"""The paper's claims beside a made-up ledger: what is shown, refuted, or not resolved, and by how much."""

import pytest

from resflow_lite.lab import paper_claims, read_entries
from resflow_lite.lab.claims import difference, verdict
from resflow_lite.lab.ledger import Entry
from resflow_lite.lab.package_data import shipped


def made_up(sweep, label, scores, score="bits_per_dim"):
    settings = dict(dataset="digits", profile="laptop")
    found = [
        dict(settings=settings, seed=seed, objective=0.5, selection_rule="last step") | {score: value}
        for seed, value in enumerate(scores)
    ]
    task = "hybrid" if sweep == "hybrid" else "density"
    return [Entry(dict(facts, task=task), sweep, label) for facts in found]


def cells(entries, claim):
    (row,) = [row for row in paper_claims(entries).rows if claim in row[0]]
    return row


LIPSWISH = made_up("ablation", "lipswish-roulette", [2.0, 2.1, 2.2])


def test_a_difference_on_the_better_side_is_shown_and_on_the_worse_refuted():
    for elu, told in (([2.5, 2.6, 2.71], "shown here"), ([1.5, 1.6, 1.71], "refuted at this scale")):
        row = cells(LIPSWISH + made_up("ablation", "elu-roulette", elu), "LipSwish")
        assert row[1] == told and "3 seeds" in row[2]


def test_learned_norms_are_told_of_as_they_are_here_and_as_in_the_public_code():
    entries = LIPSWISH + made_up("ablation", "lipswish-roulette-mixed", [2.5, 2.6, 2.71])
    assert cells(entries, "induced")[1] == "refuted at this scale"
    entries += made_up("ablation_norms", "spectral", [2.0, 2.1, 2.2])
    entries += made_up("ablation_norms", "learned-penalty", [1.5, 1.6, 1.71])
    row = cells(entries, "induced")
    assert row[1] == "refuted at this scale; with the public code's penalty: shown here"
    assert row[2].endswith("; with the public code's penalty: -0.497 ± 0.021 bits/dim, 3 seeds")


def test_an_interval_with_zero_in_it_says_how_many_seeds_it_would_take():
    # differences -.1, 0, .2: mean 1/30, sd .1528; (1.96 * .1528 * 30)^2 = 80.7
    found = 1 / 30, 4.302653 * 0.152753 / 3**0.5, 3
    assert verdict(found) == "not resolved: about 81 seeds"
    of_four = 1 / 30, 8.860261 * 0.152753 / 3**0.5, 3  # t(1 - .025 / 4, 2): a wider interval of the same differences
    assert verdict(of_four, family=4) == verdict(found)
    assert verdict(None) == "not in the ledger"


def test_accuracy_is_better_the_higher_and_the_better_coupling_is_what_counts():
    entries = made_up("hybrid", "residual-1", [0.9, 0.91, 0.92], "accuracy")
    entries += made_up("hybrid", "coupling-1", [0.5, 0.51, 0.53], "accuracy")
    assert cells(entries, "hybrid")[1] == "shown here, in equal time"
    entries += made_up("hybrid", "coupling+1x1-1", [0.95, 0.96, 0.98], "accuracy")
    assert cells(entries, "hybrid")[1] == "refuted at this scale, in equal time"


def test_an_unbiased_claim_and_a_better_model_are_told_apart():
    """Claims of 0.5: of the truncated 1.8 and 1.9 below the truth; of the roulette, at most 0.01."""
    entries = made_up("truth", "truncated-1", [2.3, 2.4]) + made_up("truth", "roulette-1", [0.5, 0.51])
    row = cells(entries, "unbiased")
    assert row[1] == "unbiased: shown here; a better model: shown here"
    assert "truncated -1.85, roulette -0.01 bits/dim" in row[2] and "-1.845" in row[2]
    longer = made_up("truth_long", "truncated-1", [2.3, 2.4]) + made_up("truth_long", "roulette-1", [2.1, 2.21])
    row = cells(entries + longer, "unbiased")
    assert row[1].endswith("; at one, 800 steps: shown here") and "at one, 800 steps: -0.195" in row[2]
    entries = made_up("truth", "truncated-1", [0.5, 0.5]) + made_up("truth", "roulette-1", [0.5, 0.51])
    assert cells(entries, "unbiased")[1].startswith("unbiased: not resolved; a better model: not resolved")


def test_truncation_is_shown_to_harm_only_where_every_seed_claims_too_little_and_has_become_worse():
    entries = made_up("truth", "truncated-1", [2.3, 2.4])
    assert cells(entries, "truncated series")[1] == "not in the ledger"
    for last, told in ((2.25, "shown here"), (2.2, "not resolved")):  # the second seed rises by 0.05, or by nothing
        for entry, end in zip(entries, (2.3, last)):
            entry.facts["curve"] = [[50, 2.1, 2.4], [100, 1.9, 2.2], [150, 1.0, end]]
        row = cells(entries, "truncated series")
        assert row[1] == told and "2 seeds: claim minus truth at the end -1.30" in row[2]


def test_every_claim_has_a_line_even_with_an_empty_ledger():
    rows = paper_claims([]).rows
    assert len(rows) == 7 and all(len(row) == 4 for row in rows)
    assert cells([], "LipSwish")[1] == "not in the ledger" and "7 of 7" in cells([], "densities")[2]


def test_one_common_seed_says_nothing():
    assert difference(LIPSWISH + made_up("ablation", "x", [1.0]), "ablation", ("lipswish-roulette", "x")) is None


def test_superseded_entries_are_readable_and_no_results():
    old = read_entries(shipped("superseded"))
    current = {entry["checkpoint_sha256"] for entry in read_entries(shipped("results"))}
    assert old and not current & {entry["checkpoint_sha256"] for entry in old}


@pytest.mark.parametrize("name", ["control variate", "stratified"])
def test_no_claim_is_about_what_is_ours(name):
    assert not any(name in row[0] for row in paper_claims([]).rows)
