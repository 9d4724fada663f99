"""Banach and Anderson on maps whose fixed point is known."""

import pytest
import torch

from resflow_lite.numerics.fixed_point import anderson, banach

SOLVERS = [banach, anderson]


def affine(a, b):
    return lambda x: x @ a.T + b


def contraction(kind, d=20):
    if kind == "stiff":
        return torch.diag(torch.cat([torch.tensor([0.98, -0.97]), torch.full((d - 2,), 0.1)]))
    if kind == "spread":
        return torch.diag(torch.linspace(-0.95, 0.95, d))
    turn = 0.9 * torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    return torch.block_diag(*[turn] * (d // 2))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", ["stiff", "spread", "rotation"])
def test_the_fixed_point_is_found_within_the_error_bound(solver, kind):
    a, b = contraction(kind), torch.randn(6, 20)
    exact = torch.linalg.solve(torch.eye(20) - a, b.T).T
    lipschitz = float(torch.linalg.matrix_norm(a, 2))
    solution = solver(affine(a, b), torch.zeros(6, 20), 1e-10, 2000, lipschitz)
    assert solution.converged.all() and solution.residual.max() <= 1e-10
    error = (solution.x - exact).square().mean(1).sqrt()
    assert (error <= solution.error_bound * 1.001 + 1e-12).all()
    assert (solution.expansion <= lipschitz * 1.001).all()


def test_anderson_needs_far_fewer_evaluations_on_a_stiff_map():
    a, b = contraction("stiff"), torch.randn(6, 20)
    spent = [solver(affine(a, b), torch.zeros(6, 20), 1e-10, 5000).iterations for solver in SOLVERS]
    assert 5 * spent[1] < spent[0]


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_sample_has_its_own_verdict(solver):
    """One sample starts at its fixed point, one is far away, one has none."""

    def shifts_the_last(x):
        return torch.cat([0.5 * x[:2], x[2:] + 1])

    x = torch.tensor([[0.0], [1000.0], [0.0]])
    solution = solver(shifts_the_last, x, 1e-9, 200)
    assert solution.converged.tolist() == [True, True, False]
    assert solution.error_bound.isinf().all()  # no constant was given


@pytest.mark.parametrize("solver", SOLVERS)
def test_an_expanding_map_is_noticed(solver):
    solution = solver(lambda x: -3 * x + 1, torch.ones(2, 3), 1e-9, 50)
    assert solution.expansion == pytest.approx(torch.full((2,), 3.0))


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_map_that_breaks_down_does_not_converge(solver):
    solution = solver(lambda x: x * torch.nan, torch.ones(2, 3), 1e-9, 20)
    assert not solution.converged.any() and torch.isfinite(solution.x).all()


@pytest.mark.parametrize("solver", SOLVERS)
def test_autocast_does_not_round_what_is_solved(solver):
    """In bfloat16 Anderson's small system was singular."""
    torch.set_default_dtype(torch.float32)
    a, b = contraction("spread"), torch.randn(6, 20)
    plain = solver(affine(a, b), torch.zeros(6, 20), 1e-6, 5000)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = solver(affine(a, b), torch.zeros(6, 20), 1e-6, 5000)
    assert plain.converged.all() and torch.equal(mixed.x, plain.x)
