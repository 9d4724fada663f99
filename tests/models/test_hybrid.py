"""Hybrid models: the density is the flow's, the objective and its gradient are what they say."""

import math
from functools import partial

import pytest
import torch

import resflow_lite as rf
from resflow_lite.checks import check_bijection, exact_log_det
from resflow_lite.models.flow import standard_normal_log_prob

N_CLASSES = 3


@pytest.fixture(params=rf.hybrid_kinds)
def flow(request):
    flow = rf.hybrid_flow((1, 4, 4), N_CLASSES, (2, 1), width=5, kind=request.param, head_width=4, heads="normed")
    for module in flow.modules():
        if isinstance(module, rf.ResidualBlock):
            module.train_estimator = module.eval_estimator = rf.Exact()
        elif isinstance(module, rf.AffineCoupling):
            torch.nn.init.normal_(module.net[-1].weight, std=0.3)
    flow.initialize_(torch.rand(50, 1, 4, 4))
    return flow


def events(n=4):
    return torch.rand(n, 1, 4, 4), torch.arange(n) % N_CLASSES


def test_the_density_is_exact_and_samples_follow(flow):
    x, _ = events()
    check_bijection(flow.bijection, x, tol=1e-8)
    truth = standard_normal_log_prob(flow.bijection.transform(x)) + exact_log_det(flow.bijection, x)
    log_prob, logits = flow.joint(x)
    assert torch.allclose(log_prob, truth) and torch.allclose(flow.log_prob(x), truth)
    assert logits.shape == (4, N_CLASSES) and torch.allclose(flow.logits(x), logits)
    assert flow.sample(3, torch.Generator().manual_seed(0)).shape == (3, 1, 4, 4)


@pytest.mark.parametrize("weight", [0, 1 / 16, 1])
def test_the_objective_is_its_formula(flow, weight):
    x, labels = events()
    log_posterior = flow.logits(x).log_softmax(1)[torch.arange(4), labels]
    assert torch.allclose(flow.objective(x, labels, weight), weight * flow.log_prob(x) + log_posterior)


@pytest.mark.parametrize("weight", [0, 1])
def test_the_gradient_agrees_with_finite_differences(flow, weight):
    """Along one random direction of all parameters."""
    x, labels = events()
    parameters = list(flow.parameters())
    gradient = torch.autograd.grad(
        flow.objective(x, labels, weight).sum(), parameters, allow_unused=True, materialize_grads=True
    )
    direction = [torch.randn_like(p) for p in parameters]
    slope = sum(float((g * d).sum()) for g, d in zip(gradient, direction))
    ends, step = [], 1e-6
    for sign in (1, -2):
        with torch.no_grad():
            for p, d in zip(parameters, direction):
                p.add_(d, alpha=sign * step)
        ends.append(float(flow.objective(x, labels, weight).detach().sum()))
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(slope, rel=1e-4)


def test_every_parameter_is_trained(flow):
    x, labels = events(20)
    flow.objective(x, labels, 1 / 16).mean().backward()
    for name, parameter in flow.named_parameters():
        assert torch.isfinite(parameter.grad).all() and parameter.grad.abs().max() > 0, name


def test_a_classifier_alone_spends_nothing_on_log_determinants(flow, monkeypatch):
    def fail(*arguments):
        raise AssertionError("a log-determinant was computed")

    monkeypatch.setattr(rf.ResidualBlock, "forward", fail)
    monkeypatch.setattr(rf.HybridFlow, "joint", fail)
    x, labels = events()
    assert torch.isfinite(flow.objective(x, labels, 0)).all()
    with pytest.raises(AssertionError, match="was computed"):
        flow.objective(x, labels, 1)


def test_the_head_of_each_scale_is_read(flow):
    x, _ = events()
    before = flow.logits(x)
    for head in flow.heads:
        with torch.no_grad():
            head[0].bias.add_(1)
        after = flow.logits(x)
        assert (after - before).abs().max() > 1e-3
        before = after


def test_heads_start_with_features_of_mean_0_and_variance_1(flow):
    """What enters the ReLU of each head, over the batch and the pixels that the flow was initialised with."""
    x = torch.rand(50, 1, 4, 4)
    flow.initialize_(x)
    for scale, head in zip(flow.bijection.layers, flow.heads):
        x = scale.transform(x)
        features = head[1](head[0](x))
        assert torch.allclose(features.mean((0, 2, 3)), torch.zeros(4), atol=1e-10)
        assert torch.allclose(features.var((0, 2, 3), unbiased=False), torch.ones(4))
        assert torch.allclose(head(x)[:, :, 0, 0], features.clamp_min(0).mean((2, 3)))


def test_plain_heads_are_a_convolution_and_a_silu():
    flow = rf.hybrid_flow((1, 4, 4), N_CLASSES, blocks=(1,), width=5, kind="coupling", head_width=4)
    x, _ = events()
    z = flow.bijection.transform(x)
    features = torch.nn.functional.silu(flow.heads[0][0](z)).mean((2, 3))
    assert torch.allclose(flow.logits(x), flow.classifier(features))
    with pytest.raises(rf.SettingsError, match="heads ?= ?'none'"):
        rf.hybrid_flow((1, 4, 4), N_CLASSES, heads="none")


def test_normalize_is_an_actnorm_that_is_not_trained():
    layer, x = rf.Normalize(2), 3 + 2 * torch.randn(100, 2, 4, 4)
    layer.initialize_(x)
    y = layer.transform(x)
    assert not list(layer.parameters()) and len(layer.state_dict()) == 2
    assert torch.allclose(y.mean((0, 2, 3)), torch.zeros(2), atol=1e-12)
    assert torch.allclose(y.var((0, 2, 3), unbiased=False), torch.ones(2))
    check_bijection(layer, x[:3])


def _digits(kind, width):
    return rf.hybrid_flow((1, 8, 8), 10, width=width, kind=kind)


def test_residual_and_coupling_models_can_have_one_size():
    counts = []
    for kind in rf.hybrid_kinds:
        flow = rf.with_budget(partial(_digits, kind), 150_000)
        counts.append(sum(p.numel() for p in flow.parameters()))
    assert max(counts) < 1.05 * min(counts)


def test_wrong_settings_are_refused(flow):
    x, labels = events()
    for weight in (-1, math.inf, math.nan):
        with pytest.raises(rf.SettingsError, match="weight ?="):
            flow.objective(x, labels, weight)
    with pytest.raises(rf.SettingsError, match="kind ?= ?'dense'"):
        rf.hybrid_flow((1, 8, 8), 10, kind="dense")
    with pytest.raises(rf.SettingsError, match="n_classes ?= ?1"):
        rf.hybrid_flow((1, 8, 8), 1)
    with pytest.raises(rf.SettingsError, match="divisible by 4"):
        rf.hybrid_flow((1, 6, 6), 10, blocks=(1, 1, 1))
