"""The mean norm of the layers in the objective of learned orders."""

import copy

import pytest
import torch

import resflow_lite as rf
from resflow_lite.layers.lipschitz import LipschitzLayer
from resflow_lite.layers.orders import LearnedOrder
from resflow_lite.layers.penalty import penalise_orders_


@pytest.fixture
def started():
    """Two branches, one of learned orders and one of 2-norms, with norms that have converged."""
    torch.manual_seed(0)
    model = torch.nn.ModuleList(rf.dense_branch((2, 16, 2), "lipswish", 0.9, norms=norms) for norms in NORMS)
    for module in model.modules():
        if isinstance(module, LearnedOrder):
            module.logit.data += torch.randn(())
    for branch in model:
        branch(torch.zeros(1, 2))
    return converged(model)


NORMS = ("learned", "spectral")


def converged(model):
    for _ in range(20):
        rf.update_norms_(model, 1e-12)
    return model


def mean_norm(model):
    layers = [m for m in model.modules() if isinstance(m, LipschitzLayer)]
    return sum(float(layer.sigma().detach()) for layer in layers) / len(layers)


def test_learned_orders_get_the_gradient_of_the_mean_norm_and_nothing_else_does(started):
    """Against finite differences of the mean of the norms themselves, with vectors found anew."""
    logits = [m.logit for m in started.modules() if isinstance(m, LearnedOrder)]
    logits[0].grad = torch.tensor(7.0)
    penalise_orders_(started, 0.5)
    found = []
    for i in range(len(logits)):
        ends = []
        for step in (-1e-4, 1e-4):
            moved = copy.deepcopy(started)
            [m.logit for m in moved.modules() if isinstance(m, LearnedOrder)][i].data += step
            ends.append(mean_norm(converged(moved)))
        found.append(0.5 * (ends[1] - ends[0]) / 2e-4)
    assert min(map(abs, found)) > 1e-3
    assert [logit.grad.item() for logit in logits] == pytest.approx([7.0 + found[0], found[1]], abs=1e-8)
    rest = [p for p in started.parameters() if all(p is not logit for logit in logits)]
    assert len(logits) == 2 and all(p.grad is None for p in rest)
