"""Inverses of the trained digits model that the project ships."""

from pathlib import Path

import pytest
import torch

import resflow_lite as rf
from resflow_lite.lab.checkpoints import load_flow

CHECKPOINT = Path(__file__).parents[2] / "data" / "models" / "digits.safetensors"


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def flow_and_images(request):
    torch.set_default_dtype(torch.float32)
    flow, _ = load_flow(CHECKPOINT)
    data = rf.load_images("digits", "test")
    x = rf.uniform_dequantize(data.images[:64], data.n_levels, torch.Generator().manual_seed(0))
    return flow.to(request.param), x.to(request.param)


def test_it_is_certified(flow_and_images):
    certificate = flow_and_images[0].certify()
    assert certificate.holds and certificate.worst[1] > 0.9


def test_the_round_trip_is_exact_to_rounding(flow_and_images):
    flow, x = flow_and_images
    with torch.no_grad():
        z, _ = flow.encode(x)
    error = float((flow.decode(z) - x).abs().max())
    assert error <= (1e-5 if x.dtype == torch.float32 else 1e-10)


def test_anderson_spends_fewer_evaluations_than_banach(flow_and_images):
    """At equal residuals, summed over all blocks of the model on real activations."""
    flow, x = flow_and_images
    spent = {"anderson": 0, "banach": 0}
    with torch.no_grad():
        for layer in flow.bijection.layers:
            y = layer.transform(x)
            if isinstance(layer, rf.ResidualBlock):
                for solver in spent:
                    solution = rf.invert(layer, y, solver, tol=1e-5)
                    assert solution.converged.all() and 0 < solution.iterations < 200
                    spent[solver] += solution.iterations
            x = y
    assert spent["banach"] >= 1.3 * spent["anderson"]
