"""Image flows of every shape: exact densities in float64 on tiny images, samples, refused settings."""

import pytest
import torch

import resflow_lite as rf
from resflow_lite.checks import check_bijection, exact_log_det
from resflow_lite.models.flow import standard_normal_log_prob

SMALL = dict(width=6, dense_width=8, train_estimator=rf.Exact(), eval_estimator=rf.Exact())
VARIANTS = {
    "plain": rf.ImageModel((1, 8, 8), blocks=(1, 1, 1), n_dense=1, **SMALL),
    "squeeze first": rf.ImageModel((1, 8, 8), blocks=(2,), n_dense=0, squeeze_first=True, **SMALL),
    "factor out": rf.ImageModel((1, 8, 8), blocks=(1, 1, 1), n_dense=1, factor_out=True, **SMALL),
    # as the paper's ImageNet64 and CelebA-HQ models, on colour images
    "imagenet64": rf.ImageModel((3, 4, 4), blocks=(2, 1), n_dense=1, squeeze_first=True, factor_out=True, **SMALL),
    "celebahq256": rf.ImageModel(
        (3, 4, 4), blocks=(1, 1), n_dense=0, activation="elu", squeeze_first=True, factor_out=True, **SMALL
    ),
}


@pytest.fixture(params=VARIANTS.values(), ids=VARIANTS.keys())
def model(request):
    return request.param


def initialized(model):
    """A flow with its batch of images; the blocks' weights are scaled up so that their log-determinants matter."""
    flow, x = rf.image_flow(model), torch.rand(20, *model.shape)
    for name, parameter in flow.named_parameters():
        if name.endswith("weight"):
            torch.nn.init.normal_(parameter, std=0.5)
    flow.initialize_(x)
    rf.update_norms_(flow, tol=1e-6)
    flow.initialize_(x)
    return flow, x


def test_log_determinant_and_inverse(model):
    flow, x = initialized(model)
    check_bijection(flow.bijection, x[:3], tol=1e-8)
    blocks = [block for block in flow.modules() if isinstance(block, rf.ResidualBlock)]
    assert len(blocks) == sum(model.blocks) + model.n_dense
    assert flow.certify().holds and len(flow.certify().bounds) == len(blocks)


def test_the_latent_is_one_event_from_which_samples_come(model):
    flow, x = initialized(model)
    z, log_det = flow.encode(x[:4])
    assert z.shape == (4, *flow.latent_shape) and log_det.shape == (4,)
    assert torch.allclose(flow.log_prob(x[:4]), standard_normal_log_prob(z) + log_det)
    samples = flow.sample(4, torch.Generator().manual_seed(0))
    assert samples.shape == (4, *model.shape)
    noise = torch.randn((4, *flow.latent_shape), generator=torch.Generator().manual_seed(0))
    assert torch.allclose(flow.encode(samples)[0], noise, atol=1e-6)


def test_a_state_dict_restores_the_flow(model):
    flow, x = initialized(model)
    flow.measure_contraction_(x)
    other = rf.image_flow(model)
    other.load_state_dict(flow.state_dict())
    assert torch.equal(flow.log_prob(x), other.log_prob(x))
    assert flow.variance_report().rows == other.variance_report().rows


def test_every_parameter_is_trained(model):
    flow, x = initialized(model)
    flow.log_prob(x).mean().backward()
    for name, parameter in flow.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_what_leaves_first_comes_first_in_the_latent():
    """At the first scale of factor-out, the leaving half of the squeezed channels is the head of z."""
    flow, x = initialized(VARIANTS["factor out"])
    first = rf.Chain(flow.bijection.layers[:-1]).transform(x)
    assert first.shape[1:] == (4, 4, 4)
    z, _ = flow.encode(x)
    assert torch.equal(z[:, :32], first[:, 2:].flatten(1)) and z.shape == (20, 64)


def test_noise_channels_give_the_density_of_the_pair():
    model = rf.ImageModel((1, 2, 2), blocks=(1, 1), n_dense=0, padding=2, **SMALL)
    flow, x = initialized(model)
    assert flow.latent_shape == (12, 1, 1)
    log_prob = flow.log_prob(x, torch.Generator().manual_seed(3))
    pair, _ = flow.bijection.layers[0](x, torch.Generator().manual_seed(3))
    rest = rf.Chain(flow.bijection.layers[1:])
    truth = standard_normal_log_prob(rest.transform(pair)) + exact_log_det(rest, pair)
    assert torch.allclose(log_prob, truth, atol=1e-9)
    samples = flow.sample(5, torch.Generator().manual_seed(0))
    assert samples.shape == (5, 1, 2, 2)
    assert torch.allclose(flow.decode(flow.encode(x)[0]), x, atol=1e-8)


def test_noise_channels_bound_a_density_of_the_data():
    """One pixel and one noise channel, by a grid: p(x) = the mean over u of p(x, u) integrates to 1, and what the flow
    returns, the mean over u of log p(x, u), is below its logarithm."""
    flow, _ = initialized(rf.ImageModel((1, 1, 1), blocks=(2,), n_dense=0, padding=1, alpha=1e-6, **SMALL))
    n = 200
    # a midpoint rule in logit space, fine where the density is steep
    t = torch.linspace(-12, 12, n + 1)
    t = (t[1:] + t[:-1]) / 2
    grid, weight = t.sigmoid(), 24 / n * t.sigmoid() * (-t).sigmoid()
    pairs = torch.cartesian_prod(grid, grid).view(-1, 2, 1, 1)
    log_joint = torch.cat(
        [
            standard_normal_log_prob(z) + log_det
            for z, log_det in map(rf.Chain(flow.bijection.layers[1:]), pairs.split(4000))
        ]
    ).detach()
    log_joint = log_joint.view(n, n)
    density = log_joint.exp() @ weight
    assert float(density @ weight) == pytest.approx(1, abs=1e-4)
    bound = log_joint @ weight / weight.sum()
    assert (bound < density.log()).all()
    x = grid[n // 2 : n // 2 + 1].expand(4000).view(-1, 1, 1, 1)
    draws = flow.log_prob(x, torch.Generator().manual_seed(0)).detach()
    error = draws.std() / len(draws) ** 0.5
    assert abs(draws.mean() - bound[n // 2]) < 4 * error and density[n // 2].log() - bound[n // 2] > 4 * error


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(shape=(1, 10, 10), blocks=(2, 2, 2)), "divisible by 4"),
        (dict(shape=(1, 12, 12), blocks=(2, 2, 2), squeeze_first=True), "divisible by 8"),
        (dict(blocks=(2, 0)), "positive number of blocks"),
        (dict(blocks=(2, 1.5)), "positive number of blocks"),
        (dict(blocks=()), "positive number of blocks"),
        (dict(width=0), "width=0"),
        (dict(n_dense=-1), "n_dense=-1"),
        (dict(padding=1.5), "padding=1.5"),
    ],
)
def test_wrong_settings_are_refused(wrong, message):
    with pytest.raises(rf.SettingsError, match=message):
        rf.ImageModel(**{"shape": (1, 8, 8), **wrong})
