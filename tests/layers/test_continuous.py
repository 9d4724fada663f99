"""Continuous flows against the exact Jacobian of the solved map, against matrix exponentials, and their gradients."""

import pytest
import torch
from torch import nn

import resflow_lite as rf
from resflow_lite.checks import check_bijection, exact_log_det, z_score
from resflow_lite.layers.continuous import conv_velocity, dense_velocity


def strong(velocity):
    """Weights that move points by about their own size."""
    for parameter in velocity.parameters():
        nn.init.normal_(parameter, std=0.6 if parameter.dim() == 2 else 0.3)
    return velocity


class Linear(nn.Module):
    """dz/dt = A z, which ends at exp(A) z with log det = tr(A)."""

    def __init__(self, matrix):
        super().__init__()
        self.matrix = nn.Parameter(matrix)

    def forward(self, t, z):
        return z @ self.matrix.T


@pytest.mark.parametrize("adjoint", [False, True])
def test_a_linear_equation_is_a_matrix_exponential(adjoint):
    matrix = torch.randn(3, 3)
    layer, x = rf.ContinuousFlow(Linear(matrix), tol=1e-10, adjoint=adjoint), torch.randn(5, 3)
    y, log_det = layer(x)
    assert torch.allclose(y, x @ torch.linalg.matrix_exp(matrix).T, atol=1e-7)
    assert torch.allclose(log_det, matrix.trace().expand(5), atol=1e-7)


@pytest.mark.parametrize(
    ("build", "size", "shape"),
    [(dense_velocity, (2, 8), (2,)), (conv_velocity, (1, 4), (1, 2, 2))],
    ids=["2-D", "images"],
)
def test_log_determinant_and_inverse(build, size, shape):
    layer = rf.ContinuousFlow(strong(build(*size)), tol=1e-7)
    x = torch.randn(2, *shape)
    check_bijection(layer, x, tol=1e-5)
    assert layer(x)[1].abs().max() > 0.05 and layer.evaluations(x) > 20


@torch.no_grad()
def test_the_error_follows_the_tolerance():
    """The tolerance is that of one step, so the whole solve may have a few times more."""
    velocity, x = strong(dense_velocity(2, 8)), torch.randn(4, 2)
    truth = rf.ContinuousFlow(velocity, tol=1e-12)(x)
    errors, evaluations = [], []
    for tol in (1e-3, 1e-6, 1e-9):
        layer = rf.ContinuousFlow(velocity, tol=tol)
        errors.append(max(float((a - b).abs().max()) for a, b in zip(layer(x), truth)))
        evaluations.append(layer.evaluations(x))
    assert errors[1] < 1e-2 * errors[0] and errors[2] < 1e-2 * errors[1] and errors[0] < 0.01
    assert evaluations[0] < evaluations[1] < evaluations[2]


def test_hutchinson_is_right_on_average_and_its_map_does_not_depend_on_the_probe():
    torch.manual_seed(1)
    velocity = strong(conv_velocity(1, 4))
    layer, x = rf.ContinuousFlow(velocity, "hutchinson", tol=1e-6), 0.1 * torch.randn(1, 1, 2, 2)
    y, draws = layer(x.expand(400, -1, -1, -1), torch.Generator().manual_seed(0))
    truth = exact_log_det(rf.ContinuousFlow(velocity, tol=1e-7), x)
    error = float(draws.detach().std()) / len(draws) ** 0.5
    assert abs(float(z_score(draws.detach(), truth))) < 4 and 0 < 10 * error < abs(float(truth))
    assert torch.allclose(y[0], layer.transform(x)[0], atol=1e-4)
    again = layer(x.expand(400, -1, -1, -1), torch.Generator().manual_seed(0))[1]
    assert torch.equal(draws, again)


@pytest.mark.parametrize("divergence", ["exact", "hutchinson"])
def test_both_gradients_agree_with_finite_differences(divergence):
    velocity, x = strong(dense_velocity(2, 6)), torch.randn(4, 2, requires_grad=True)

    def loss(adjoint):
        layer = rf.ContinuousFlow(velocity, divergence, tol=1e-10, adjoint=adjoint)
        y, log_det = layer(x, torch.Generator().manual_seed(0))
        return (y.square().sum(1) - log_det).sum()

    weight, step = velocity.layers[1].weight, 1e-5
    plain = torch.autograd.grad(loss(False), [*velocity.parameters(), x])
    adjoint = torch.autograd.grad(loss(True), [*velocity.parameters(), x])
    for a, b in zip(plain, adjoint):
        assert torch.allclose(a, b, atol=1e-6)
    with torch.no_grad():
        ends = []
        for sign in (1, -1):
            weight[0, 1] += sign * step
            ends.append(float(loss(False)))
            weight[0, 1] -= sign * step
    expected = (ends[0] - ends[1]) / (2 * step)
    assert float(plain[2][0, 1]) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_without_gradients_the_numbers_are_the_same():
    layer, x = rf.ContinuousFlow(strong(dense_velocity(2, 6))), torch.randn(4, 2)
    y, log_det = layer(x)
    with torch.no_grad():
        plain = layer(x)
    assert torch.equal(plain[0], y) and torch.equal(plain[1], log_det)
    assert not plain[0].requires_grad and not plain[1].requires_grad


def test_wrong_settings_and_equations_without_a_solution_are_refused():
    with pytest.raises(rf.SettingsError, match="divergence='approximate'"):
        rf.ContinuousFlow(dense_velocity(2, 4), "approximate")
    with pytest.raises(rf.SettingsError, match="tol=0"):
        rf.ContinuousFlow(dense_velocity(2, 4), tol=0)

    class Explosive(nn.Module):
        def forward(self, t, z):
            return 100 * z**2

    with pytest.raises(rf.ResflowError, match="too steep"):
        rf.ContinuousFlow(Explosive())(torch.ones(1, 2))
