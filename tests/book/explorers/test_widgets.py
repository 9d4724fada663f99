"""The widgets: what they give a notebook, and the trained flows that they show."""

import matplotlib

matplotlib.use("Agg")

import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import resflow_lite as rf
from resflow_lite.book import explorers
from resflow_lite.book.explorers import mass, memory, series
from resflow_lite.book.figures import chapter07


def test_where_no_kernel_runs_a_picture_with_its_description_stands_in():
    explorer = explorers.truncation()
    data, metadata = explorer._repr_mimebundle_()
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == explorer.model_id
    assert explorer.png[:4] == b"\x89PNG" and len(explorer.png) < 100_000
    assert len(metadata["image/png"]["alt"]) > 100 and plt.get_fignums() == []


def test_the_explorers_mathematics_is_free_of_torch():
    program = "import sys; from resflow_lite.book import explorers; explorers.truncated_against_roulette();"
    program += "from resflow_lite.book.explorers import balls, cobwebs, mass, memory; print('torch' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"


def test_the_race_takes_the_blocks_of_a_checkpoint():
    flow = rf.lab.pretrained("digits")
    blocks = series.block_jacobians(flow.double(), torch.rand(1, 1, 8, 8))
    data = explorers.truncated_against_roulette(blocks).data["blocks"]
    assert list(data) == list(blocks) and len(blocks) == 10
    for name, J in blocks.items():
        assert np.array_equal(data[name]["jacobian"], J) and np.shape(data[name]["probes"]) == J.shape
        assert data[name]["truth"] == pytest.approx(np.linalg.slogdet(np.eye(64) + J)[1] / 64)


def test_an_interval_keeps_its_mass_and_the_density_of_x_has_area_1():
    for heights in (mass.HEIGHTS, (-3.0, -0.5, 0.0, 2.4, 2.5)):
        found = mass.through_map(heights, -0.5, 1.5)
        inside = (found["x"] >= -0.5 - 1e-9) & (found["x"] <= 1.0 + 1e-9)
        assert np.trapezoid(found["density"][inside], found["x"][inside]) == pytest.approx(found["mass"], abs=1e-3)
        assert (found["slope"] > 0).all() and np.allclose(np.gradient(found["f"], found["x"]), found["slope"], atol=0.1)
        wide = mass.through_map(heights, -40, 80)
        assert wide["mass"] == pytest.approx(1)
    assert mass.through_map((-2, -1, 0, 1, 2))["area"] == pytest.approx(1, abs=1e-5)  # f(x) = x


def test_a_map_that_falls_is_refused():
    with pytest.raises(rf.SettingsError, match="expected five that rise"):
        mass.through_map((0, 1, 0.5, 2, 3))


def test_only_the_backpropagated_series_pays_for_its_terms():
    one, many = (memory.peaks(n, 16, 134e6, 786e3) for n in (1, 5))
    rising = [way for way in one if many[way] > one[way]]
    assert rising == ["series, store"] and many["series, store"] == pytest.approx(16 * 23 * 134e6)
    assert many["neumann, recompute"] == pytest.approx(16 * 3 * 786e3 + 7 * 134e6)


def test_a_grid_goes_through_every_block_of_a_flow():
    flow = rf.toy_system("realnvp", 1000, n_blocks=2)
    points = rf.toy_data("moons", 40, torch.Generator().manual_seed(0))
    flow.initialize_(points)
    stages = explorers.grid_through(flow, points)
    assert [label for label, _, _ in stages] == ["the data", "after 1 block", "after 2 blocks"]
    assert torch.allclose(stages[-1][2], flow.bijection.transform(points))
    first, last = chapter07.pushed_grid(stages, (0, 2)).axes
    assert [ax.get_title(loc="left")[:7] for ax in (first, last)] == ["depth 0", "depth 2"]
    drawn = np.concatenate([np.array(c.get_segments()) for c in last.collections[:2]])
    assert np.allclose(drawn, stages[2][1], atol=1e-6)


def test_the_kept_flows_are_trained():
    for flow in explorers.deep_flows().values():
        x = rf.toy_data("pinwheel", 2000, torch.Generator().manual_seed(5)).float()
        with torch.no_grad():
            assert float(flow.log_prob(x, torch.Generator().manual_seed(0)).mean()) > -2.6
        assert flow.certify().holds
