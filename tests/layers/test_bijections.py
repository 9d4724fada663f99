"""Every bijection: inverse, and log-determinant against the exact Jacobian."""

import copy
from functools import partial

import pytest
import torch

import resflow_lite as rf
from resflow_lite.checks import check_bijection
from resflow_lite.layers.continuous import dense_velocity


def exact_blocks(module):
    for block in module.modules():
        if isinstance(block, rf.ResidualBlock):
            block.train_estimator = block.eval_estimator = rf.Exact()


def test_actnorm():
    layer = rf.ActNorm(3)
    x = 2 + 3 * torch.randn(50, 3, 4, 4)
    layer.initialize_(x)
    y = layer.transform(x)
    assert torch.allclose(y.mean((0, 2, 3)), torch.zeros(3), atol=1e-12)
    assert torch.allclose(y.var((0, 2, 3), unbiased=False), torch.ones(3), atol=1e-12)
    check_bijection(layer, x[:4])
    flat = rf.ActNorm(5)
    flat.initialize_(torch.randn(20, 5) * 4)
    check_bijection(flat, torch.randn(4, 5))


@pytest.mark.parametrize("alpha", [1e-6, 0.05])
def test_logit(alpha):
    check_bijection(rf.Logit(alpha), torch.rand(4, 1, 3, 3))


@pytest.mark.parametrize("alpha", [1e-6, 0.05])
def test_logit_in_float32_is_that_of_float64_up_to_both_ends_of_the_unit_interval(alpha):
    """At the same x. By 1 - s, which cancels, an image of ones was off by 2 parts in a thousand."""
    eps = torch.finfo(torch.float32).eps
    near = torch.tensor([0.0, 1e-7, 1e-3, 1 - 1e-3, 1 - 2 * eps, 1 - eps / 2, 1.0], dtype=torch.float32)
    for x in (near, torch.ones(3, dtype=torch.float32), torch.rand(1000).float()):
        x = x.view(-1, 1, 1, 1)
        for found, right in zip(rf.Logit(alpha)(x), rf.Logit(alpha)(x.double())):
            assert torch.isfinite(found).all()
            torch.testing.assert_close(found.double(), right, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("alpha", [1e-8, 1e-6, 0.05, 0.4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_point_of_the_line_comes_from_a_number_that_logit_maps_back(alpha, dtype):
    """Logit(1e-6) sent y = 18 to 1.0000011 in float32, and that to infinity."""
    layer, y = rf.Logit(alpha), torch.linspace(-60, 60, 4801, dtype=dtype).view(-1, 1, 1, 1)
    back, log_det = layer(layer.inverse(y))
    assert torch.isfinite(back).all() and torch.isfinite(log_det).all()
    assert (back.diff(dim=0) >= 0).all()
    inner = y.abs() < (9 if dtype == torch.float32 else 20)
    torch.testing.assert_close(back[inner], y[inner], rtol=0, atol=1e-3 if dtype == torch.float32 else 1e-5)
    assert layer.inverse(torch.full_like(y[:1], torch.nan)).isnan().all()


def test_a_flow_has_a_log_probability_for_all_of_its_own_samples():
    """Black and white images spread the ActNorm so far that a third of the samples saturate; and twice as hot."""
    torch.set_default_dtype(torch.float32)
    model = rf.ImageModel((1, 4, 4), blocks=(1,), width=4, n_dense=0, eval_estimator=rf.PowerSeries(rf.Truncated(5)))
    flow = rf.image_flow(model)
    flow.initialize_((torch.rand(200, 1, 4, 4) > 0.5) * (1 - 1e-5 * torch.rand(200, 1, 4, 4)))
    flow.eval()
    for temperature in (1.0, 2.0):
        x = flow.sample(500, torch.Generator().manual_seed(0), temperature)
        assert (x > 1).any(), "no sample beyond the images"
        log_prob = flow.log_prob(x, torch.Generator().manual_seed(1)).detach()
        right = copy.deepcopy(flow).double().log_prob(x.double(), torch.Generator().manual_seed(1)).detach()
        assert torch.isfinite(log_prob).all()
        torch.testing.assert_close(log_prob.double(), right, rtol=1e-4, atol=0.5)


def test_squeeze_and_flatten():
    x = torch.randn(2, 3, 4, 6)
    check_bijection(rf.Squeeze(), x)
    check_bijection(rf.Flatten((3, 4, 6)), x)
    with pytest.raises(rf.SettingsError, match="even height"):
        rf.Squeeze()(torch.randn(1, 1, 3, 4))


def test_factor_out_passes_half_of_the_channels_through_the_rest(strong_conv):
    shape = (2, 4, 4)
    block = rf.ResidualBlock(strong_conv(2, coeff=0.9), rf.Exact(), rf.Exact())
    layer = rf.FactorOut(rf.Chain([block, rf.ActNorm(2), rf.Flatten(shape)]), kept=shape)
    x = torch.randn(4, 4, 4, 4)
    layer.initialize_(x)
    check_bijection(layer, x)
    y, log_det = layer(x)
    assert torch.equal(y[:, :32], x[:, 2:].flatten(1)) and log_det.abs().min() > 0.5
    kept = y[:, 32:].view(4, 2, 16)
    assert torch.allclose(kept.mean((0, 2)), torch.zeros(2), atol=1e-12), "initialize_ did not reach the rest"
    layer.measure_contraction_(x)
    assert 0.3 < block.contraction < 1
    with pytest.raises(rf.SettingsError, match="twice as many channels"):
        layer(torch.randn(4, 3, 4, 4))


def test_noise_channels_stand_beside_the_image_and_are_dropped():
    layer, x = rf.NoiseChannels(2), torch.rand(500, 1, 2, 2)
    y, log_det = layer(x, torch.Generator().manual_seed(1))
    assert torch.equal(y[:, :1], x) and torch.equal(layer.inverse(y), x) and not log_det.any()
    noise = y[:, 1:]
    assert noise.shape == (500, 2, 2, 2) and 0 <= float(noise.min()) < 0.01 and 0.99 < float(noise.max()) < 1
    assert torch.equal(layer(x, torch.Generator().manual_seed(1))[0], y)
    assert not torch.equal(layer(x, torch.Generator().manual_seed(2))[0], y)
    assert torch.equal(layer.transform(x), layer.transform(x))


@pytest.mark.parametrize("preactivation", [False, True])
def test_residual_blocks(strong_dense, strong_conv, preactivation):
    for branch, x in (
        (strong_dense(coeff=0.9, preactivation=preactivation), torch.randn(4, 4)),
        (strong_conv(2, coeff=0.9, preactivation=preactivation), torch.randn(4, 2, 4, 4)),
    ):
        check_bijection(rf.ResidualBlock(branch, rf.Exact(), rf.Exact()), x, tol=1e-9)


def test_toy_and_image_flows():
    flow = rf.toy_flow(n_blocks=3, hidden=(8, 8))
    x = rf.toy_data("moons", 50).double()
    flow.initialize_(x)
    exact_blocks(flow)
    check_bijection(flow.bijection, x[:5], tol=1e-8)
    flow = rf.image_flow(rf.ImageModel((1, 4, 4), blocks=(2, 2), width=6, n_dense=1, dense_width=8))
    x = torch.rand(20, 1, 4, 4)
    flow.initialize_(x)
    exact_blocks(flow)
    check_bijection(flow.bijection, x[:5], tol=1e-8)


def test_an_inverse_that_does_not_exist_is_an_error_with_advice():
    class Expanding(torch.nn.Module):
        def forward(self, x):
            return 3 * x

    block = rf.ResidualBlock(Expanding())
    with pytest.raises(rf.NotContractiveError, match="3.0.*coeff"):
        block.inverse(torch.ones(2, 3))


def test_an_inverse_that_runs_out_of_iterations_is_an_error():
    block = rf.ResidualBlock(torch.nn.Tanh())
    solution = rf.invert(block, torch.randn(3, 2), "banach", max_iter=2)
    assert not solution.converged.any() and solution.iterations == 2
    with pytest.raises(rf.SettingsError, match="banach"):
        rf.invert(block, torch.randn(3, 2), "newton")


class Scaled(torch.nn.Module):
    """g(x) = rate x: a plain module, every product by autograd."""

    def __init__(self, rate):
        super().__init__()
        self.rate = torch.nn.Parameter(torch.tensor(rate))

    def forward(self, x):
        return self.rate * x


@pytest.mark.parametrize("layer", ["plain", "own", "ffjord exact", "ffjord hutchinson"])
def test_inference_mode_changes_no_number_and_spoils_no_training(layer, strong_dense):
    if layer.startswith("ffjord"):
        block = rf.ContinuousFlow(dense_velocity(4, 8), layer.split()[1])
    else:
        branch = Scaled(0.5) if layer == "plain" else strong_dense()
        block = rf.ResidualBlock(branch, rf.PowerSeries(rf.Truncated(9)))
    x = torch.randn(3, 4)
    with torch.no_grad():
        expected = *block(x, torch.Generator().manual_seed(1)), block.inverse(x), block.transform(x)
    with torch.inference_mode():
        inside = x.clone()
        found = *block(inside, torch.Generator().manual_seed(1)), block.inverse(inside), block.transform(inside)
        assert all(torch.equal(a, b) for a, b in zip(found, expected)) and bool((found[1] != 0).all())
        block.measure_contraction_(inside)
    y, log_det = block(x, torch.Generator().manual_seed(1))
    (y.sum() + log_det.sum()).backward()
    assert torch.allclose(log_det, expected[1])
    if layer == "plain":
        assert block.contraction == pytest.approx(0.5)


def test_an_inverse_is_as_exact_under_autocast(strong_dense):
    torch.set_default_dtype(torch.float32)
    block, x = rf.ResidualBlock(strong_dense().float()), torch.randn(3, 4)
    with torch.no_grad():
        y = block.transform(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert float((block.inverse(y) - x).abs().max()) < 1e-4


@pytest.mark.parametrize("rate", [1.0, 1.5, 2.0])
def test_a_block_that_expands_is_named_where_its_contraction_is_measured(rate):
    """log det(I + 2 I) of a series is 6.8e7 nats and more, without a word."""
    flow, x = rf.Flow(rf.Chain([rf.ActNorm(3), rf.ResidualBlock(Scaled(rate))]), (3,), (3,)), torch.randn(5, 3)
    for measure in (flow.measure_contraction_, flow.variance_report, partial(rf.bias_report, flow)):
        with pytest.raises(rf.NotContractiveError, match=rf"bijection.layers.1 \({rate:.3f}\).*lower coeff"):
            measure(x)
    with pytest.raises(rf.NotContractiveError, match=rf"the block \({rate:.3f}\)"):
        rf.check_unbiased(rf.PowerSeries(), Scaled(rate), x, calls=2)
