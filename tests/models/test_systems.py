"""The six systems: exact densities in float64, samples, sizes, refused settings."""

import pytest
import torch
from torch import nn

import resflow_lite as rf
from resflow_lite.checks import check_bijection
from resflow_lite.estimators.linearization import AutogradLinearization
from resflow_lite.estimators.logdet import dense_jacobian
from resflow_lite.models.flow import standard_normal_log_prob

RESIDUAL = ("iresnet", "resflow")


def exact(flow):
    """Exact log-determinants, and no part of a coupling at zero, so that each counts."""
    for module in flow.modules():
        if isinstance(module, rf.ResidualBlock):
            module.train_estimator = module.eval_estimator = rf.Exact()
        elif isinstance(module, rf.ContinuousFlow):
            module.divergence, module.adjoint, module.tol = "exact", False, 1e-7
        elif isinstance(module, (rf.AffineCoupling, rf.MixtureCoupling)):
            nn.init.normal_(module.net[-1].weight, std=0.2)
            nn.init.normal_(module.net[-1].bias, std=0.2)
    return flow


def toy(name):
    flow, x = exact(rf.toy_system(name, 1000, n_blocks=3)), rf.toy_data("moons", 200).double()
    flow.initialize_(x)
    return flow, x


def image(name):
    model = rf.ImageModel((1, 4, 4), blocks=(2, 1))
    flow, x = exact(rf.systems[name].image(model, 5)), torch.rand(20, 1, 4, 4)
    flow.initialize_(x)
    return flow, x


@pytest.fixture(params=[toy, image], ids=["toy", "image"])
def build(request):
    return request.param


@pytest.fixture(params=rf.systems)
def name(request):
    return request.param


def test_density_inverse_and_samples(build, name):
    flow, x = build(name)
    tol = 1e-5 if name == "ffjord" else 1e-8
    check_bijection(flow.bijection, x[:2], tol)
    z, log_det = flow.encode(x[:2])
    assert torch.allclose(flow.log_prob(x[:2]), standard_normal_log_prob(z) + log_det)
    assert (flow.decode(z) - x[:2]).abs().max() < 10 * tol
    samples = flow.sample(3, torch.Generator().manual_seed(0))
    assert samples.shape == (3, *flow.event_shape)
    noise = torch.randn((3, *flow.latent_shape), generator=torch.Generator().manual_seed(0))
    assert torch.allclose(flow.encode(samples)[0], noise, atol=10 * tol)


def test_gradients_reach_every_parameter(build, name):
    flow, x = build(name)
    flow.log_prob(x[:5], torch.Generator().manual_seed(0)).mean().backward()
    for label, parameter in flow.named_parameters():
        assert torch.isfinite(parameter.grad).all() and parameter.grad.abs().max() > 0, label


def test_ffjord_trains_on_images_as_it_is_built():
    """With Hutchinson's estimate; for the same probe, backpropagation and the adjoint equation give one gradient."""
    flow, x = rf.image_system("ffjord", (1, 4, 4), 5_000), torch.rand(20, 1, 4, 4)
    flow.initialize_(x)
    equations = [m for m in flow.modules() if isinstance(m, rf.ContinuousFlow)]
    assert all(m.divergence == "hutchinson" for m in equations)
    gradients = []
    for adjoint in (True, False):
        for equation in equations:
            equation.adjoint, equation.tol = adjoint, 1e-8
        log_prob = flow.log_prob(x[:3], torch.Generator().manual_seed(0)).mean()
        gradients.append(torch.autograd.grad(log_prob, list(flow.parameters())))
    for a, b in zip(*gradients):
        assert torch.allclose(a, b, atol=1e-5 * float(1 + b.abs().max()))


@pytest.mark.parametrize("budget", [5_000, 20_000, 100_000])
def test_toy_systems_keep_to_their_budget(name, budget):
    count = sum(p.numel() for p in rf.toy_system(name, budget).parameters())
    assert abs(count - budget) <= 0.05 * budget


@pytest.mark.parametrize(("shape", "blocks"), [((1, 8, 8), (4, 4)), ((3, 16, 16), (2, 2, 2))])
def test_image_systems_keep_to_their_budget(name, shape, blocks):
    flow = rf.image_system(name, shape, 300_000, blocks)
    assert abs(sum(p.numel() for p in flow.parameters()) - 300_000) <= 0.05 * 300_000
    assert flow.event_shape == shape


def test_the_systems_are_what_their_names_say():
    def layers(name):
        return [type(m) for m in rf.image_system(name, (1, 8, 8)).modules()]

    def blocks(name):
        return [m for m in rf.toy_system(name).modules() if isinstance(m, rf.ResidualBlock)]

    assert layers("realnvp").count(rf.AffineCoupling) == 8 and rf.InvertibleLinear not in layers("realnvp")
    assert layers("glow").count(rf.AffineCoupling) == 8 == layers("glow").count(rf.InvertibleLinear)
    assert layers("flow++").count(rf.MixtureCoupling) == 8
    assert layers("ffjord").count(rf.ContinuousFlow) == 2
    assert all(isinstance(b.train_estimator.terms, rf.Truncated) for b in blocks("iresnet"))
    assert all(isinstance(b.train_estimator.terms, rf.Roulette) for b in blocks("resflow"))
    assert any(isinstance(m, rf.ELU) for b in blocks("iresnet") for m in b.modules())
    for b in [*blocks("iresnet"), *blocks("resflow")]:
        assert isinstance(b.eval_estimator.terms, rf.Roulette), "evaluation must not be biased"


def jacobian(flow, x):
    def flat(v):
        return flow.bijection.transform(v.view(x.shape)).flatten(1)

    return dense_jacobian(AutogradLinearization(flat, x.flatten(1)))


def test_the_couplings_of_real_nvp_take_turns():
    """Every output depends on more than one input: none was left alone by all couplings."""
    for flow, x in (toy("realnvp"), image("realnvp")):
        assert ((jacobian(flow, x[:1]) != 0).sum(2) > 1).all()


@pytest.mark.parametrize("parameters", [2, 30, 31, 110, 10_100])
def test_with_budget_finds_the_closest_width(parameters):
    sizes = {w: w * w + w for w in range(1, 200)}
    best = min(sizes, key=lambda w: abs(sizes[w] - parameters))
    assert rf.with_budget(lambda w: nn.Linear(w, w), parameters).in_features == best


def test_counting_draws_no_random_numbers():
    torch.manual_seed(5)
    found = rf.with_budget(lambda w: nn.Linear(w, w), 110)
    torch.manual_seed(5)
    assert torch.equal(found.weight, nn.Linear(10, 10).weight)


def test_wrong_settings_are_refused():
    with pytest.raises(rf.SettingsError, match="'nice': expected one of realnvp, glow"):
        rf.toy_system("nice")
    with pytest.raises(rf.SettingsError, match="'nice'"):
        rf.image_system("nice", (1, 8, 8))
    with pytest.raises(rf.SettingsError, match="n_blocks = 0: expected a whole number from 1"):
        rf.toy_system("glow", n_blocks=0)
    with pytest.raises(rf.SettingsError, match="parameters=10: the closest model has"):
        rf.toy_system("realnvp", 10)
    with pytest.raises(rf.SettingsError, match="divisible by 4"):
        rf.image_system("glow", (1, 6, 6))
    with pytest.raises(rf.SettingsError, match="positive number of blocks"):
        rf.image_system("ffjord", (1, 8, 8), blocks=())
