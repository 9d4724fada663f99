"""Extreme inputs of the paper's part: a right number, or a sentence."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

import resflow_lite as rf
from resflow_lite.layers.lipschitz import LipschitzLayer, applied_together
from resflow_lite.numerics import kernels

ESTIMATORS = [rf.Exact(), rf.Krylov(), rf.PowerSeries()]
PLANE = torch.randn(4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


# what a batch is


def test_nested_tensors_are_called_what_they_are():
    parts = [torch.randn(1, 2), torch.randn(3, 2)]
    for layout in (torch.strided, torch.jagged):
        with pytest.raises(rf.SettingsError, match="x is nested"):
            rf.toy_flow(1, (4,)).log_prob(torch.nested.nested_tensor(parts, layout=layout))


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("shape", [(3,), (3, 0), (3, 1, 0, 4)])
def test_events_have_entries(estimator, shape):
    for call in (
        lambda x: rf.log_det(torch.sin, x, estimator),
        lambda x: rf.invert(rf.ResidualBlock(nn.Identity(), estimator), x),
    ):
        with pytest.raises(rf.SettingsError, match=r"\(batch, \.\.\.\), events of one entry or more"):
            call(torch.zeros(shape))


@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (rf.ActNorm(2), [[1.0, 2.0]]),
        (rf.Chain([rf.Squeeze()]), np.zeros((2, 1, 4, 4))),
        (rf.Logit(0.05), [0.5]),
        (rf.InvertibleLinear(2).float(), torch.zeros(3, 2, dtype=torch.float64)),
        (rf.ResidualBlock(nn.Linear(2, 2)), torch.zeros(3, 2, dtype=torch.int64)),
        (rf.ResidualBlock(nn.Identity(), rf.Exact()), torch.zeros(3)),
    ],
)
def test_a_layer_by_itself_says_what_it_takes(layer, x):
    with pytest.raises(rf.SettingsError, match="x=.*expected a tensor|x is .*expected"):
        layer(x)


def test_a_layer_s_own_failure_stays_its_own():
    class Broken(rf.Bijection):
        def forward(self, x, generator=None):
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        Broken()(torch.zeros(3, 2))


@pytest.mark.parametrize(("event", "latent"), [((2,), (2, 2)), ((2,), (4,))])
def test_a_flow_whose_shapes_are_not_those_of_its_bijection(event, latent):
    flow = rf.Flow(rf.Chain([rf.Logit(0.05)]), event, latent)
    with pytest.raises(rf.SettingsError, match="latent_shape = .* but the bijection gives"):
        flow.log_prob(torch.full((3, *event), 0.5))
    with pytest.raises(rf.SettingsError, match="event_shape = .* but the bijection gives"):
        flow.sample(3)


def test_a_flow_without_parameters_takes_both_precisions():
    torch.set_default_dtype(torch.float32)
    flow = rf.Flow(rf.Logit(0.05), (2,), (2,))
    truth = 2 * (math.log(0.9) - 2 * math.log(0.5)) - math.log(2 * math.pi)
    for dtype in (torch.float32, torch.float64):
        assert torch.allclose(flow.log_prob(torch.full((3, 2), 0.5, dtype=dtype)), torch.tensor(truth, dtype=dtype))


# numbers


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.bool, torch.complex64])
def test_bits_are_made_of_nats_in_single_or_double_precision(dtype):
    """In float16 1,000 nats of a colour image were infinitely many bits."""
    with pytest.raises(rf.SettingsError, match="expected a tensor, .* float32 or float64"):
        rf.bits_per_dim(torch.ones(3).to(dtype), (3, 64, 64), 256)


@pytest.mark.parametrize("n_levels", [2, 17, 255, 256, 257, 2**16])
def test_noise_next_to_one_stays_in_its_level(n_levels, monkeypatch):
    """Level 254 of 256 and a noise of 1 - 2^-24 were taken for level 255."""
    below_one = lambda shape, like, generator: torch.full(shape, 1 - 2**-24, dtype=like.dtype)  # noqa: E731
    monkeypatch.setattr("resflow_lite.models.dequantize.draw_uniform", below_one)
    levels = torch.arange(n_levels)
    x = rf.uniform_dequantize(levels, n_levels)
    assert torch.equal((x.double() * n_levels).floor().long(), levels) and bool((x < 1).all())


def test_levels_between_which_there_is_no_room_for_noise_are_refused():
    with pytest.raises(rf.SettingsError, match="n_levels = 16777216: expected a whole number from 2 to 65,536"):
        rf.uniform_dequantize(torch.arange(2**23, 2**23 + 9), 2**24)


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.uint64])
def test_wide_unsigned_levels_are_levels(dtype):
    levels = torch.tensor([[0, 300, 65_535]]).to(dtype)
    assert torch.equal((rf.uniform_dequantize(levels, 2**16).double() * 2**16).floor().long(), levels.long())
    with pytest.raises(rf.DataError, match="0 to 65535: expected integers from 0 to 255"):
        rf.uniform_dequantize(levels, 256)


@pytest.mark.parametrize("alpha", [1e-300, 1e-45, 0.4999999])
def test_an_alpha_that_single_precision_cannot_tell_from_its_limits(alpha):
    """log p of black pixels was NaN at 1e-300, and off by two nats at 0.4999999."""
    for make in (rf.Logit, lambda a: rf.ImageModel((1, 4, 4), alpha=a), lambda a: rf.Experiment(alpha=a)):
        with pytest.raises(rf.SettingsError, match=r"alpha.*expected a number in \[1e-30, 0.49\]"):
            make(alpha)


@pytest.mark.parametrize("alpha", [1e-30, 0.49])
def test_at_the_ends_of_alpha_single_precision_is_right_at_the_ends_of_the_pixels(alpha):
    model = rf.ImageModel((1, 2, 2), (1,), 4, 0, alpha=alpha, eval_estimator=rf.Exact())
    flow = rf.image_flow(model).float().eval()
    flow.initialize_(torch.rand(8, 1, 2, 2, dtype=torch.float32))
    x = torch.tensor([0.0, 1e-30, 0.5, 1.0]).view(4, 1, 1, 1).expand(4, 1, 2, 2)
    with torch.no_grad():
        found, truth = flow.log_prob(x.float()).double(), copy.deepcopy(flow).double().log_prob(x.double())
    assert torch.allclose(found, truth, rtol=1e-4)


def test_a_block_whose_bound_is_no_number_is_the_worst():
    """The largest of (0.5, NaN) was 0.5, and went into the ledger as a proof."""
    for bounds in ({"a": 0.5, "b": math.nan}, {"b": math.nan, "a": 0.5}):
        name, bound = rf.Certificate(bounds).worst
        assert name == "b" and math.isnan(bound) and not rf.Certificate(bounds).holds


# maps


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_complex_map_is_refused(estimator):
    """Its log-determinant was 0."""
    with pytest.raises(rf.SettingsError, match="complex128: .* real numbers"):
        rf.log_det(lambda x: 0.5j * x, PLANE, estimator)
    with pytest.raises(rf.SettingsError, match="one device"):
        rf.log_det(lambda x: (0.5 * x).to("meta"), PLANE, estimator)


class Normed(nn.Sequential):
    def __init__(self, **settings):
        super().__init__(nn.Linear(2, 4), nn.BatchNorm1d(4, **settings), nn.Linear(4, 2))

    def forward(self, x):
        return 0.05 * super().forward(x)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_branch_that_mixes_the_samples_of_a_batch_is_refused(estimator):
    """Batch norm in training mode: every log-determinant was 0."""
    block = rf.ResidualBlock(Normed(), estimator, estimator)
    with pytest.raises(rf.SettingsError, match="BatchNorm1d in training mode"):
        block(PLANE)
    with torch.no_grad():
        x = PLANE[:1]
        assert torch.equal(block.eval()(PLANE, torch.Generator())[0][:1], block(x, torch.Generator())[0])
    with pytest.raises(rf.SettingsError, match="BatchNorm1d in training mode"):
        rf.ResidualBlock(Normed(track_running_stats=False), estimator, estimator).eval()(PLANE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_krylov_at_an_eigenvalue_of_minus_one_says_so(dtype):
    """log 0 was -34 nats in float64, and another library's error in float32."""
    with pytest.raises(rf.NotContractiveError, match="eigenvalue of -1 or below"):
        rf.log_det(lambda x: -x, PLANE.to(dtype), rf.Krylov())


def test_a_singular_weight_has_no_inverse():
    layer = rf.InvertibleLinear(2)
    layer.weight.data.zero_()
    for y in (PLANE, torch.zeros(3, 2, 4, 4)):
        with pytest.raises(rf.InverseError, match="singular"):
            layer.inverse(y)


# what checks and samplers take


def test_checks_refuse_single_precision_and_not_the_layer():
    flow = rf.toy_flow(1, (4,)).float()
    with pytest.raises(rf.SettingsError, match="expected float64"):
        rf.check_bijection(flow.bijection, PLANE.float())


@pytest.mark.parametrize("activation", [kind() for kind in rf.layers.activations.ACTIVATIONS.values()])
def test_the_activations_are_right_as_far_as_they_may_be_asked(activation):
    """Softplus was refused beyond 20, LipSwish at 1e30, where its derivatives are right."""
    for reach in (0.001, 100.0, 10_000.0):
        rf.check_activation(activation, reach)
    for reach in (1e-30, 1e30):
        with pytest.raises(rf.SettingsError, match="reach"):
            rf.check_activation(activation, reach)


def test_own_samplers_give_as_many_points_as_they_are_asked_for_and_numbers():
    with pytest.raises(rf.DataError, match="3 points: expected 4"):
        rf.toy_data(lambda n, generator: torch.zeros(n - 1, 2), 4)
    with pytest.raises(rf.DataError, match="NaN or infinite"):
        rf.toy_data(lambda n, generator: torch.full((n, 2), math.nan), 4)


def test_an_estimator_is_no_law_of_terms():
    with pytest.raises(rf.SettingsError, match=r"terms=.*PowerSeries.*: an estimator; expected Truncated or Roulette"):
        rf.PowerSeries(rf.PowerSeries())


def test_an_exact_log_determinant_under_autocast_is_that_of_the_rounded_jacobian():
    layer, x = nn.Linear(3, 3).float(), torch.randn(4, 3, dtype=torch.float32)
    layer.weight.data.mul_(0.3)
    with torch.autocast("cpu", torch.bfloat16):
        found = rf.log_det(layer, x, rf.Exact()).value
    exact = torch.linalg.slogdet(torch.eye(3) + layer.weight.detach().double())[1]
    assert found.dtype == torch.float32 and float((found - exact).detach().abs().max()) < 0.02


@pytest.mark.parametrize("tol", [-1, 0, float("nan"), "1e-3"])
def test_norms_want_a_tolerance_and_a_model(tol):
    with pytest.raises(rf.SettingsError, match="tol"):
        rf.update_norms_(nn.Linear(2, 2), tol=tol)
    with pytest.raises(rf.SettingsError, match="model = 'x': expected an object of the class Module"):
        rf.update_norms_("x")


@pytest.mark.parametrize("value", [3e38, math.inf, math.nan])
def test_weights_whose_norm_is_no_number_are_not_proven(value):
    """They were divided by infinity and left nothing: Lip(g) <= 0, proven."""
    flow = rf.toy_flow(1, (8,)).float()
    flow.initialize_(torch.randn(8, 2, dtype=torch.float32))
    layer = next(m for m in flow.modules() if isinstance(m, rf.LipschitzLinear))
    layer.weight.data.fill_(value)
    for verb in (flow.certify, flow.enforce_):
        with pytest.raises(rf.SettingsError, match="the norm of its weight is no number in torch.float32"):
            verb()


class Doubled(rf.LipschitzLinear):
    def forward(self, z):
        return 2 * super().forward(z)


class Bent(rf.Tanh):
    def forward(self, z):
        return super().forward(z) / 2


class Halved(rf.LipschitzBranch):
    def forward(self, x):
        return super().forward(x) / 2


@pytest.mark.parametrize(
    ("layer", "activation", "branch"),
    [
        (Doubled, rf.Tanh, rf.LipschitzBranch),
        (rf.LipschitzLinear, Bent, rf.LipschitzBranch),
        (rf.LipschitzLinear, rf.Tanh, Halved),
    ],
)
def test_a_forward_of_ones_own_that_a_branch_would_not_call_is_refused(layer, activation, branch):
    """The log-determinant was that of the map without it. As a plain module it is right."""
    steps, x = [layer(2, 4, 0.4), activation(), rf.LipschitzLinear(4, 2, 0.4)], torch.randn(3, 2)
    block = rf.ResidualBlock(branch(steps), rf.Exact())
    for verb in (block.branch, block, block.inverse, lambda _: block.branch.lipschitz_bound()):
        with pytest.raises(rf.SettingsError, match="has a forward of its own, which a LipschitzBranch does not call"):
            verb(x)
    if branch is not Halved:
        assert rf.check_bijection(rf.ResidualBlock(torch.nn.Sequential(*steps)).double(), x.double())


def test_a_hook_that_a_branch_would_not_call_is_refused():
    branch = rf.LipschitzBranch([rf.LipschitzLinear(2, 2)])
    branch.steps[0].register_forward_hook(lambda *_: None)
    with pytest.raises(rf.SettingsError, match="LipschitzLinear has a hook on its forward pass"):
        branch(torch.ones(1, 2))


# weights


@pytest.mark.parametrize("kinds", [(), ("cpu",)], ids=["convolutions", "matrix products"])
def test_weights_whose_squares_overflow_are_divided_by_their_norm_all_the_same(monkeypatch, kinds):
    """The norm was infinite from 1e19 on, in float32: the weight as applied was 0, and the layer proven."""
    torch.set_default_dtype(torch.float32)
    monkeypatch.setattr(kernels, "MATRICES", kinds)
    model = rf.ImageModel((1, 4, 4), (1, 1), 24, 1, 8, train_estimator=rf.PowerSeries(rf.Truncated(3)))
    flow, x = rf.image_flow(model), torch.rand(6, 1, 4, 4)
    flow.initialize_(x)
    rf.update_norms_(flow)
    with torch.no_grad():
        for layer in (m for m in flow.modules() if isinstance(m, LipschitzLayer)):
            layer.weight.mul_(1e30)
    rf.update_norms_(flow)
    with torch.no_grad(), applied_together(flow):
        found = flow.log_prob(x, torch.Generator().manual_seed(0))
    exact = copy.deepcopy(flow).double().log_prob(x, torch.Generator().manual_seed(0)).detach()
    assert (found - exact).abs().max() < 1e-3
    assert 0.5 < flow.certify().worst[1] < 1
