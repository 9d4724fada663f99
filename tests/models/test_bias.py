"""The report of estimators' bias against dense Jacobians."""

import math

import pytest
import torch

import resflow_lite as rf
from resflow_lite.estimators.logdet import dense_jacobian
from resflow_lite.models.bias import bias_report


@pytest.fixture(scope="module")
def flow():
    """A flow of the plane whose blocks contract little."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(3)
    flow = rf.toy_flow(3, hidden=(16, 16), coeff=0.95)
    for block in flow.modules():
        if isinstance(block, rf.LipschitzLinear):
            block.weight.data *= 4  # at its largest norm
    flow.initialize_(torch.randn(200, 2))
    return flow


def jacobians(flow, x):
    """The Jacobian of g at what arrives at every block."""
    for layer in flow.bijection.layers:
        if isinstance(layer, rf.ResidualBlock):
            yield dense_jacobian(rf.linearize(layer.branch, x)).detach()
        x = layer.transform(x).detach()


def truncated(j, n):
    """sum_(k <= n) (-1)^(k+1) / k tr(J^k)."""
    powers = [torch.linalg.matrix_power(j, k).diagonal(dim1=1, dim2=2).sum(1) for k in range(1, n + 1)]
    return sum((-1) ** (k + 1) / k * p for k, p in enumerate(powers, 1))


def test_the_report_agrees_with_dense_jacobians(flow):
    """The truncated series' bias is found block by block; roulette's is zero to its error, Krylov's far smaller."""
    x = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    report = bias_report(flow, x, products=2, n_draws=400)
    assert [row.block for row in report.rows] == ["bijection.layers.1", "bijection.layers.3", "bijection.layers.5"]
    total = 0.0
    for row, j in zip(report.rows, jacobians(flow, x)):
        exact = torch.linalg.slogdet(torch.eye(2) + j)[1]
        bias = float((truncated(j, 2) - exact).mean())
        total += bias
        assert row.exact and row.dimensions == 2 and row.log_det == pytest.approx(float(exact.mean()), rel=1e-9)
        for name, truth in (("truncated", bias), ("roulette", 0.0), ("krylov", 0.0)):
            error, standard_error = row.errors[name]
            # two steps span the plane: Krylov is exact to its quadrature
            assert abs(error - truth) < 4 * standard_error + 1e-9, (row.block, name)
        assert abs(row.errors["truncated"][0]) > 10 * row.errors["truncated"][1] > 0
    off, standard_error = report.total["truncated"]
    assert abs(off + total / (2 * math.log(2))) < 4 * standard_error


def test_a_large_block_is_held_against_a_converged_krylov_estimate(flow, monkeypatch):
    import resflow_lite.models.bias as bias

    x = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    known = bias_report(flow, x, products=3, n_draws=200)
    monkeypatch.setattr(bias, "EXACT", 1)
    estimated = bias_report(flow, x, products=3, n_draws=200)
    for a, b in zip(known.rows, estimated.rows):
        assert not b.exact and a.errors == b.errors and abs(a.log_det - b.log_det) < 0.1


def test_it_prints_as_a_table_and_is_data(flow):
    report = bias_report(flow, torch.randn(4, 2), n_draws=3)
    lines = str(report).splitlines()
    assert len(lines) == 6 and "krylov" in lines[1] and lines[-1].startswith("reported bits/dim off by")
    assert report.as_dict()["rows"][0]["errors"].keys() == {"truncated", "roulette", "krylov"}


def test_it_leaves_the_flow_as_it_was(flow):
    flow = flow.float()
    bias_report(flow, torch.randn(2, 2), n_draws=2)
    assert next(flow.parameters()).dtype == torch.float32
    flow.double()
