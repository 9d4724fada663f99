"""Every control of an explorer changes its picture, and the pictures show trained flows."""

import matplotlib

matplotlib.use("Agg")


import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import resflow_lite as rf
from resflow_lite.book import explorers
from resflow_lite.book.explorers import series, widgets
from resflow_lite.book.figures import chapter07


@pytest.fixture
def controls_of():
    """The controls by name and the picture of an explorer."""

    def taken_apart(explorer):
        row, picture = explorer.children
        return {control.description: control for control in row.children}, picture

    return taken_apart


def move(control):
    """Another value, as a reader would choose it."""
    if hasattr(control, "index"):
        control.index = 1 if control.index == 0 else 0
    elif isinstance(control.value, bool):
        control.value = not control.value
    else:
        control.value = control.max if control.value < control.max else control.min


@pytest.mark.parametrize("name", widgets.__all__)
def test_every_control_changes_the_picture(name, controls_of):
    controls, picture = controls_of(getattr(explorers, name)())
    assert bytes(picture.value[:4]) == b"\x89PNG"
    for label, control in controls.items():
        if control.disabled:
            continue
        before = picture.value
        move(control)
        assert picture.value != before, label
    assert plt.get_fignums() == []


def test_a_control_that_does_nothing_is_greyed_out(controls_of):
    controls, picture = controls_of(explorers.truncated_against_roulette())
    for law, enabled in (("Poisson", {"rate"}), ("Matched", set()), ("Geometric", {"p"})):
        controls["law"].value = law
        assert {name for name in ("p", "rate") if not controls[name].disabled} == enabled
    assert controls["truncated at"].disabled
    controls["equal cost"].value = False
    assert not controls["truncated at"].disabled
    before = picture.value
    controls["truncated at"].value = 20
    assert picture.value != before


def test_the_race_takes_the_blocks_of_a_checkpoint(controls_of):
    flow = rf.lab.pretrained("digits")
    blocks = series.block_jacobians(flow.double(), torch.rand(1, 1, 8, 8))
    controls, picture = controls_of(explorers.truncated_against_roulette(blocks))
    assert list(controls["block"].options) == list(blocks) and len(blocks) == 10
    before = picture.value
    controls["block"].value = list(blocks)[3]
    assert picture.value != before


def test_the_race_takes_matrices_for_blocks(controls_of):
    source = {"one": np.diag([-0.8, -0.7, -0.6]), "two": np.diag([0.3, 0.2, 0.1])}
    controls, picture = controls_of(explorers.truncated_against_roulette(source))
    assert set(controls) >= {"block", "probe noise", "law"} and "r" not in controls
    for name in ("probe noise", "block"):
        before = picture.value
        move(controls[name])
        assert picture.value != before, name


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
