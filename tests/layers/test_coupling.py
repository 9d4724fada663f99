"""Couplings and linear maps: inverse and log-determinant against exact Jacobians, tails, refused settings."""

import pytest
import torch

import resflow_lite as rf
from resflow_lite.checks import check_bijection
from resflow_lite.layers.coupling import conv_net, dense_net, join_checkerboard, split_checkerboard

KINDS = (rf.AffineCoupling, rf.MixtureCoupling)


def randomized(layer, std=0.5):
    """Nothing at zero, so that every part of the layer counts."""
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return layer


def outputs(kind, channels):
    return kind.n_parameters * channels


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("swap", [False, True])
def test_couplings_of_vectors(kind, swap):
    for d, still in ((2, 1), (5, 2 if swap else 3)):
        layer = randomized(kind(dense_net(still, 8, outputs(kind, d - still)), swap=swap))
        x = 2 * torch.randn(6, d)
        check_bijection(layer, x)
        y, log_det = layer(x)
        kept = slice(d - still, d) if swap else slice(0, still)
        assert torch.equal(y[:, kept], x[:, kept])
        assert log_det.std() > 0.1 and (y - x).abs().max() > 0.1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("checkerboard", [False, True])
def test_couplings_of_images(kind, swap, checkerboard):
    channels = 1 if checkerboard else 2
    layer = randomized(kind(conv_net(channels, 6, outputs(kind, channels)), swap=swap, checkerboard=checkerboard))
    x = torch.randn(3, channels if checkerboard else 2 * channels, 4, 4)
    check_bijection(layer, x)
    still = layer(x)[0] == x
    if checkerboard:
        squares = (torch.arange(4)[:, None] + torch.arange(4)) % 2 == int(swap)
        assert torch.equal(still, squares.expand_as(still))
    else:
        assert still[:, channels:].all() == swap and still[:, :channels].all() == (not swap)


def test_a_checkerboard_is_split_into_its_colours_and_joined():
    x = torch.arange(24.0).view(1, 1, 4, 6)
    dark, light = split_checkerboard(x)
    assert dark[0, 0].tolist() == [[0, 2, 4], [7, 9, 11], [12, 14, 16], [19, 21, 23]]
    assert torch.equal(join_checkerboard(dark, light), x)


def test_an_affine_coupling_starts_as_the_identity():
    x = torch.randn(5, 2)
    y, log_det = rf.AffineCoupling(dense_net(1, 8, 2))(x)
    assert torch.equal(y, x) and not log_det.any()


def test_affine_scales_are_bounded():
    layer = randomized(rf.AffineCoupling(dense_net(1, 8, 2)), std=10)
    assert layer(100 * torch.randn(100, 2))[1].abs().max() <= 3


def test_a_mixture_is_its_definition():
    """logit of the mixture's distribution function, written out, and its derivative by autograd."""

    class OfThree(rf.MixtureCoupling):
        n_components, n_parameters = 3, 11

    layer, k = OfThree(dense_net(1, 8, 11)), 3
    x, p = torch.randn(50, 1, requires_grad=True), torch.randn(50, 1, 11)
    weight, centre = p[:, :, :k].softmax(2), p[:, :, k : 2 * k] + torch.tensor([-1.0, 0.0, 1.0])
    scale, end = (3 * (p[:, :, i] / 3).tanh() for i in (slice(2 * k, 3 * k), 9))
    cdf = (weight * ((x[:, :, None] - centre) / scale.exp()).sigmoid()).sum(2)
    expected = (cdf.log() - (1 - cdf).log()) * end.exp() + p[:, :, 10]
    y, log_slope = layer.move(x, p)
    assert torch.allclose(y, expected)
    (slope,) = torch.autograd.grad(expected.sum(), x)
    assert torch.allclose(log_slope, slope.log())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_mixture_is_exact_far_out_and_its_inverse_does_not_miss(dtype):
    """At 1,000 scales from every centre the distribution function has rounded to 0 or 1, its logit has not."""
    layer = randomized(rf.MixtureCoupling(dense_net(1, 8, 26)), std=0.3).to(dtype)
    x = torch.stack([torch.randn(81), torch.linspace(-1000, 1000, 81)], 1).to(dtype)
    y, log_det = layer(x)
    assert torch.isfinite(y).all() and torch.isfinite(log_det).all()
    eps = torch.finfo(dtype).eps
    error = ((layer.inverse(y) - x)[:, 1] * log_det.exp()).abs()
    assert (error <= 100 * eps * (1 + y[:, 1].abs())).all()


def test_couplings_look_at_a_context():
    """For every context a bijection of x, and another one for another context."""
    flat = randomized(rf.AffineCoupling(dense_net(1 + 3, 8, 2)))
    board = randomized(rf.AffineCoupling(conv_net(1 + 2 * 3, 6, 2), checkerboard=True))
    for layer, x, context in (
        (flat, torch.randn(4, 2), torch.randn(4, 3)),
        (board, torch.randn(4, 1, 4, 4), torch.randn(4, 3, 4, 4)),
    ):
        y, _ = layer(x, context=context)
        assert torch.allclose(layer.inverse(y, context), x)
        assert not torch.allclose(layer(x, context=context + 1)[0], y)


def test_the_invertible_linear_map():
    for layer, x in (
        (rf.InvertibleLinear(2), torch.randn(5, 2)),
        (rf.InvertibleLinear(4), torch.randn(5, 4, 3, 2)),
    ):
        assert torch.allclose(layer.weight @ layer.weight.T, torch.eye(len(layer.weight)))
        assert layer(x)[1].abs().max() < 1e-12, "a rotation keeps volumes"
        check_bijection(layer, x)
        check_bijection(randomized(layer, std=1), x, tol=1e-8)
        assert layer(x)[1].abs().min() > 1e-3
    y = layer.transform(x)
    expected = torch.nn.functional.conv2d(x, layer.weight[:, :, None, None])
    assert torch.allclose(y, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_parameter(kind):
    layer = randomized(kind(dense_net(1, 8, outputs(kind, 1))))
    y, log_det = layer(torch.randn(20, 2))
    (log_det - y.square().sum(1)).sum().backward()
    for name, parameter in layer.named_parameters():
        assert torch.isfinite(parameter.grad).all() and parameter.grad.abs().max() > 0, name


def test_wrong_events_and_nets_are_refused():
    with pytest.raises(rf.SettingsError, match="even width"):
        rf.AffineCoupling(conv_net(1, 4, 2), checkerboard=True)(torch.randn(1, 1, 4, 3))
    with pytest.raises(rf.SettingsError, match="even width"):
        rf.AffineCoupling(dense_net(1, 4, 2), checkerboard=True)(torch.randn(1, 2))
    with pytest.raises(rf.SettingsError, match="no two halves"):
        rf.AffineCoupling(conv_net(1, 4, 2))(torch.randn(1, 1, 4, 4))
    with pytest.raises(rf.SettingsError, match=r"gives Tensor of shape \(1, 3\), .*: expected \(1, 2\)"):
        rf.AffineCoupling(dense_net(1, 4, 3))(torch.randn(1, 2))
