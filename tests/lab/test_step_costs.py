"""Bytes of a training step: exact, repeatable, and what chapter 5 says of the modes."""

import json

import pytest
import torch

import resflow_lite as rf
from resflow_lite.lab.costs import MODES, StepCosts, allocations, measure_costs, set_modes, step_bytes

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def single_precision(double_precision):
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def study():
    return StepCosts(blocks=[1, 2], batch_sizes=[4], widths=[8], terms=[1, 3], rounds=1)


def test_allocations_counts_what_is_made_and_what_is_released():
    def run():
        kept = torch.zeros(1000)
        (kept + 1).sum()
        return kept

    _, changes = allocations(run)
    assert int(changes.sum()) == 4000  # what is returned still lives
    assert 8000 <= int(changes.cumsum(0).max()) < 9000


def test_the_same_step_takes_the_same_bytes_and_gradients_count(study):
    flow, x = study.build(2, 8, "own", CPU), study.images(4, CPU)
    set_modes(flow, "neumann", "recompute", 3)
    kept, peak = step_bytes(flow, x)
    assert step_bytes(flow, x) == (kept, peak)
    assert peak > kept + sum(4 * p.numel() for p in flow.parameters())


def test_both_paths_compute_the_same(study):
    x, found = study.images(4, CPU), []
    for path in ("own", "autograd"):
        flow = study.build(2, 8, path, CPU)
        set_modes(flow, "neumann", "store", 3)
        found.append(flow.log_prob(x, torch.Generator().manual_seed(0)))
    assert torch.allclose(*found, rtol=1e-5)


def test_a_measurement_has_all_modes_and_is_read_the_second_time(study, tmp_path):
    found = measure_costs(study, tmp_path, CPU)
    peaks = {
        (row["gradient"], row["memory"], row["terms"]): row["peak"]
        for row in found["bytes"]
        if row["path"] == "own" and row["blocks"] == 2
    }
    assert set(peaks) == {(*mode, terms) for mode in MODES for terms in (1, 3)}
    assert peaks["neumann", "recompute", 3] == peaks["neumann", "recompute", 1]
    assert peaks["series", "store", 3] > 1.3 * peaks["series", "store", 1]
    assert {(row["gradient"], row["memory"], row["terms"]) for row in found["seconds"]} == set(peaks)
    assert {"commit", "versions", "hardware", "settings"} <= set(found)
    (file,) = tmp_path.iterdir()
    file.write_text(json.dumps(found | dict(marked=True)))
    assert measure_costs(study, tmp_path, CPU)["marked"]
    with pytest.raises(rf.SettingsError, match="other settings"):
        measure_costs(StepCosts(), tmp_path, CPU)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("profile", "laptp"),
        ("terms", [2, 1]),
        ("terms", "[1, 2]"),
        ("widths", []),
        ("blocks", [0, 1]),
        ("batch_sizes", [1.5]),
        ("rounds", 0),
        ("seed", -1),
    ],
)
def test_wrong_settings_are_refused(name, value):
    with pytest.raises(rf.SettingsError, match=f"^{name} = "):
        StepCosts.from_parameters({name: value})


def test_a_misspelt_setting_is_refused():
    with pytest.raises(rf.SettingsError, match="did you mean 'terms'"):
        StepCosts.from_parameters(dict(term=[1]))
