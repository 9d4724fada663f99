"""Four ways to differentiate a block: against each other for the same draw, and against the exact gradient on average.

Losses weight every sample's log-determinant differently: code that takes one weight for all samples fails here.
"""

import gc
import itertools

import pytest
import torch

import resflow_lite as rf
from resflow_lite.checks import z_score

MEMORY = ("store", "backward_in_forward", "recompute")


@pytest.fixture(params=["dense", "dense-pre", "conv", "conv-pre"])
def branch_and_input(request, strong_dense, strong_conv):
    kind, _, pre = request.param.partition("-")
    if kind == "dense":
        return strong_dense(preactivation=bool(pre)), 0.3 * torch.randn(5, 4)
    return strong_conv(channels=2, preactivation=bool(pre)), 0.3 * torch.randn(5, 2, 4, 4)


def gradients(branch, module, x, estimator, mode, weights):
    """(y, log_det, gradient in x, gradients of all parameters) of a loss with one weight per sample."""
    gradient, memory = mode
    block = rf.ResidualBlock(module, estimator, estimator, gradient, memory)
    x = x.clone().requires_grad_()
    y, log_det = block(x, torch.Generator().manual_seed(3))
    loss = (weights * log_det).sum() + (torch.linspace(-1, 1, y.numel()).view(y.shape) * y).sum()
    tensors = [x, *branch.parameters()]
    return [y.detach(), log_det.detach(), *torch.autograd.grad(loss, tensors)]


def largest_difference(a, b):
    return max(float((p - q).abs().max() / (1e-9 + q.abs().max())) for p, q in zip(a, b))


ESTIMATORS = {
    "batch": rf.PowerSeries(rf.Roulette(rf.Geometric(0.5), 2)),
    "per-sample": rf.PowerSeries(rf.Roulette(rf.Poisson(2.0), 1, draws="sample"), probe="gaussian", n_probes=2),
    "truncated": rf.PowerSeries(rf.Truncated(4)),
}


@pytest.mark.parametrize("equal_weights", [True, False])
@pytest.mark.parametrize("gradient", ["series", "neumann"])
@pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
def test_all_memory_modes_and_both_paths_give_the_same_gradient(
    branch_and_input, estimator, gradient, equal_weights, as_plain_module
):
    branch, x = branch_and_input
    branch(x)  # sizes the singular vectors
    weights = torch.full((5,), 0.7) if equal_weights else torch.randn(5)
    modules = (branch, as_plain_module(branch))
    results = [
        gradients(branch, module, x, estimator, (gradient, memory), weights)
        for module, memory in itertools.product(modules, MEMORY)
    ]
    for other in results[1:]:
        assert largest_difference(other, results[0]) < 1e-10


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("plain", [False, True])
def test_the_gradient_is_exact_in_expectation(strong_dense, spectral_radius, as_plain_module, memory, plain):
    """Neumann gradients averaged over draws against the gradient of the exact log-determinant, weights random."""
    branch = strong_dense()
    x, weights = 0.2 * torch.randn(4, 4), torch.randn(4)
    assert spectral_radius(branch, x) > 0.8
    module = as_plain_module(branch) if plain else branch
    estimator = rf.PowerSeries(rf.Roulette(rf.Geometric(0.15), n_exact=2))
    exact = gradients(branch, branch, x, rf.Exact(), ("series", "store"), weights)
    block = rf.ResidualBlock(module, estimator, estimator, "neumann", memory)
    generator, draws = torch.Generator().manual_seed(0), []
    repeated, many = x.repeat(50, 1), weights.repeat(50)
    for _ in range(40):
        y, log_det = block(repeated, generator)
        loss = (many * log_det).sum() / 50 + (torch.linspace(-1, 1, x.numel()).view(x.shape) * y[:4]).sum()
        draws.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(branch.parameters()))]))
    expected = torch.cat([g.flatten() for g in exact[3:]])
    z = z_score(torch.stack(draws), expected)
    assert z[torch.isfinite(z)].abs().max() < 5


@pytest.mark.parametrize("kind", ["dense", "conv"])
@pytest.mark.parametrize("gradient", ["series", "neumann"])
@pytest.mark.parametrize("training", [True, False])
def test_the_returned_value_is_the_log_determinant(
    strong_dense, strong_conv, spectral_radius, kind, gradient, training
):
    """In both gradient modes, so training curves are real; Neumann code may return tr(J (I + J)^-1) instead."""
    branch = strong_dense() if kind == "dense" else strong_conv()
    x = torch.zeros(1, 4) if kind == "dense" else torch.zeros(1, 1, 4, 4)
    branch(x)
    assert spectral_radius(branch, x) > 0.8
    truth = rf.log_det(branch, x, rf.Exact()).value
    estimator = rf.PowerSeries(rf.Roulette(rf.Geometric(0.1), n_exact=2, draws="sample"))
    block = rf.ResidualBlock(branch, estimator, estimator, gradient).train(training)
    _, value = block(x.expand(4000, *x.shape[1:]).clone(), torch.Generator().manual_seed(1))
    assert abs(z_score(value.detach(), truth)) < 4
    with torch.no_grad():
        _, same = block(x.expand(4000, *x.shape[1:]).clone(), torch.Generator().manual_seed(1))
    assert torch.allclose(same, value.detach())


def test_a_users_estimator_works_in_every_memory_mode(strong_dense):
    """Two verbs are the whole contract."""
    from resflow_lite.estimators.linearization import per_sample_dot

    class FirstTerm:
        def draw(self, x, generator=None):
            return torch.randn(x.shape, generator=generator)

        def estimate(self, g, v):
            return rf.LogDetEstimate(per_sample_dot(v, g.vjp(v)), g.output, 1, 1)

    branch, x, weights = strong_dense(), torch.randn(5, 4), torch.randn(5)
    results = [gradients(branch, branch, x, FirstTerm(), ("neumann", memory), weights) for memory in MEMORY]
    for other in results[1:]:
        assert largest_difference(other, results[0]) < 1e-12


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("gradient", ["series", "neumann"])
@pytest.mark.parametrize("plain", [False, True])
def test_nothing_outlives_a_step(strong_dense, as_plain_module, memory, gradient, plain):
    """No tensor survives backward, without help from the garbage collector: a cycle through autograd is never freed."""
    branch = strong_dense()
    block = rf.ResidualBlock(as_plain_module(branch) if plain else branch, gradient=gradient, memory=memory)
    x = torch.zeros(7, 4)

    def tensors_of_seven_rows():
        return sum(1 for o in gc.get_objects() if type(o) is torch.Tensor and o.dim() and len(o) == 7)

    gc.collect()
    gc.disable()
    try:
        before = tensors_of_seven_rows()
        for _ in range(3):
            y, log_det = block(x)
            (y.sum() + log_det.sum()).backward()
        del y, log_det
        assert tensors_of_seven_rows() == before
    finally:
        gc.enable()


def test_unknown_modes_are_refused():
    with pytest.raises(rf.SettingsError, match="gradient='exact'.*neumann"):
        rf.ResidualBlock(torch.nn.Identity(), gradient="exact")
    with pytest.raises(rf.SettingsError, match="memory='none'.*recompute"):
        rf.ResidualBlock(torch.nn.Identity(), memory="none")


class Diagonal(torch.nn.Module):
    """g(x) = c tanh(x) with a linearization of its own: products by hand, everything else from the base class."""

    def __init__(self):
        super().__init__()
        self.c = torch.nn.Parameter(torch.tensor([0.5, -0.8, 0.7, 0.9]))

    def forward(self, x):
        return self.c * x.tanh()

    def linearize(self, x):
        return DiagonalLinearization(self, x)


class DiagonalLinearization(rf.Linearization):
    def __init__(self, g, x):
        self.output, self.slope = g(x), g.c * (1 - x.tanh() ** 2)

    def vjp(self, u):
        return self.slope * u

    jvp = vjp

    def trace(self):
        return self.slope.sum(1)


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("control", [False, True])
def test_a_linearization_of_ones_own_has_a_gradient_in_every_memory_mode(memory, control):
    """On a diagonal Jacobian, sign probes are exact: so is Neumann's gradient, up to what the series leaves out."""
    g, x, weights = Diagonal(), torch.randn(5, 4), torch.randn(5)
    estimator = rf.PowerSeries(rf.Truncated(200), n_probes=2, control_variate=control)
    found = gradients(g, g, x, estimator, ("neumann", memory), weights)
    exact = gradients(g, g.forward, x, rf.Exact(), ("series", "store"), weights)
    assert largest_difference(found, exact) < 1e-8


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("plain", [False, True])
def test_a_second_derivative_of_the_neumann_gradient_is_refused(strong_dense, as_plain_module, memory, plain):
    branch, x = strong_dense(), torch.zeros(2, 4, requires_grad=True)
    block = rf.ResidualBlock(as_plain_module(branch) if plain else branch, memory=memory)
    y, log_det = block(x)
    with pytest.raises(rf.SettingsError, match='create_graph=True.*gradient="series"'):
        torch.autograd.grad(y.sum() + log_det.sum(), x, create_graph=True)


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("plain", [False, True])
def test_second_derivatives_through_the_series_are_exact(branch_and_input, as_plain_module, memory, plain):
    """Hessian-vector products in x and in the parameters, against autograd through the same terms in plain code."""
    branch, x = branch_and_input
    branch(x)
    module = as_plain_module(branch) if plain else branch
    estimator, weights = rf.PowerSeries(rf.Truncated(3)), torch.randn(5)
    probe = estimator.draw(x, torch.Generator().manual_seed(3)).probes[0]

    def by_hand(x):
        y, value, w = as_plain_module(branch)(x), 0, probe
        for k in (1, 2, 3):
            (w,) = torch.autograd.grad(y, x, w, create_graph=True)
            value = value + (-1) ** (k + 1) / k * (w * probe).flatten(1).sum(1)
        return x + y, value

    block = rf.ResidualBlock(module, estimator, estimator, "series", memory)
    found = []
    for forward in (lambda x: block(x, torch.Generator().manual_seed(3)), by_hand):
        point = x.clone().requires_grad_()
        y, log_det = forward(point)
        inputs = [point, *branch.parameters()]
        loss = (weights * log_det).sum() + y.square().sum()
        slopes = torch.autograd.grad(loss, inputs, create_graph=True)
        directions = [torch.randn(t.shape, generator=torch.Generator().manual_seed(i)) for i, t in enumerate(inputs)]
        along = sum((slope * direction).sum() for slope, direction in zip(slopes, directions))
        found.append(torch.autograd.grad(along, inputs))
    assert largest_difference(*found) < 1e-9


@pytest.mark.parametrize(("gradient", "memory"), [("series", "store"), *(("neumann", memory) for memory in MEMORY)])
def test_a_tensor_that_the_branch_does_not_own_gets_its_gradient(gradient, memory):
    """A closure over a parameter of elsewhere, which no `branch.parameters()` knows."""
    elsewhere, x = torch.nn.Parameter(torch.tensor(0.6)), torch.randn(5, 4)
    estimator = rf.PowerSeries(rf.Truncated(100))

    class Closure(torch.nn.Module):
        def forward(self, x):
            return elsewhere * x.sin()

    block = rf.ResidualBlock(Closure(), estimator, estimator, gradient, memory)
    y, log_det = block(x)
    (found,) = torch.autograd.grad(log_det.sum() + y.sum(), elsewhere)
    exact = (x.cos() / (1 + 0.6 * x.cos())).sum() + x.sin().sum()
    assert torch.allclose(found, exact)


@pytest.mark.parametrize("memory", MEMORY)
def test_what_two_branches_share_and_the_loss_uses_too_gets_its_gradient(memory):
    """A context computed outside, with a graph of its own."""
    net, context, x = torch.nn.Linear(3, 4), torch.randn(5, 3), torch.randn(5, 4)
    estimator = rf.PowerSeries(rf.Truncated(60))  # on a diagonal Jacobian sign probes and sixty terms are exact

    def gradient_of(way, mode):
        shared = net(context).tanh()

        class Conditional(torch.nn.Module):
            def forward(self, x):
                return 0.5 * (x * shared).sin()

        blocks = [rf.ResidualBlock(Conditional(), estimator, estimator, way, mode) for _ in range(2)]
        y, log_det = rf.Chain(blocks)(x)
        return torch.autograd.grad(log_det.sum() + y.square().sum() + shared.sum(), list(net.parameters()))

    assert largest_difference(gradient_of("neumann", memory), gradient_of("series", "store")) < 1e-10


@pytest.mark.parametrize("memory", MEMORY)
def test_dropout_is_the_same_draw_in_both_passes(memory):
    branch = torch.nn.Sequential(torch.nn.Linear(4, 32), torch.nn.Tanh(), torch.nn.Dropout(), torch.nn.Linear(32, 4))
    x = torch.randn(5, 4)
    results = []
    for mode in ("store", memory):
        torch.manual_seed(5)
        found = gradients(branch, branch, x, ESTIMATORS["batch"], ("neumann", mode), torch.randn(5))
        results.append([*found, torch.rand(3)])  # what is drawn next does not depend on the mode either
    assert largest_difference(results[1], results[0]) < 1e-12


@pytest.mark.parametrize("memory", MEMORY)
def test_the_precision_of_a_plain_module_is_the_same_in_both_passes(memory, strong_dense, as_plain_module):
    """Under autocast in the forward pass; the backward pass is outside of it."""
    torch.set_default_dtype(torch.float32)
    branch = strong_dense().float()
    module, x, weights, seen = as_plain_module(branch), torch.randn(5, 4), torch.randn(5), []
    module.register_forward_hook(lambda *hooked: seen.append(hooked[2].dtype))
    block = rf.ResidualBlock(module, ESTIMATORS["batch"], memory=memory)
    block.measure_contraction_(x)  # or the block would look at its first inputs, in full precision
    seen.clear()
    with torch.autocast("cpu", torch.bfloat16):
        y, log_det = block(x, torch.Generator().manual_seed(3))
    (weights * log_det).sum().backward()
    assert set(seen) == {torch.bfloat16} and len(seen) == 1 + (memory == "recompute")
    assert y.dtype == log_det.dtype == torch.float32
