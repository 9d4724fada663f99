"""Flows as densities: exact log-densities, bits per dimension, sampling, parameter counts."""

import math

import pytest
import torch

import resflow_lite as rf
from resflow_lite.checks import exact_log_det, z_score
from resflow_lite.models.flow import standard_normal_log_prob


@pytest.fixture
def small_image_flow():
    flow = rf.image_flow(rf.ImageModel((1, 4, 4), blocks=(1, 1), width=6, n_dense=1, dense_width=8))
    flow.initialize_(torch.rand(50, 1, 4, 4))
    return flow


def test_log_prob_is_the_change_of_variables(small_image_flow):
    flow, x = small_image_flow, torch.rand(1, 1, 4, 4)
    truth = standard_normal_log_prob(flow.bijection.transform(x)) + exact_log_det(flow.bijection, x)
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([flow.log_prob(x.expand(40, -1, -1, -1), generator) for _ in range(20)]).detach().flatten()
    assert abs(z_score(draws, float(truth.detach()))) < 4


def test_the_standard_normal():
    z = torch.randn(3, 2, 2)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum((1, 2))
    assert torch.allclose(standard_normal_log_prob(z), expected)


def test_bits_per_dim_of_a_uniform_density_is_the_number_of_bits_of_a_level():
    assert rf.bits_per_dim(torch.zeros(1), (1, 8, 8), 16) == pytest.approx(4.0)
    # halving the volume that holds the data saves one bit in all
    log_prob = torch.tensor([math.log(2.0)])
    assert rf.bits_per_dim(log_prob, (1, 8, 8), 16) == pytest.approx(4.0 - 1 / 64)


def test_sampling_inverts_encoding(small_image_flow):
    flow = small_image_flow
    x = flow.sample(6, torch.Generator().manual_seed(0))
    assert x.shape == (6, 1, 4, 4)
    z, _ = flow.encode(x)
    noise = torch.randn((6, *flow.latent_shape), generator=torch.Generator().manual_seed(0))
    assert torch.allclose(z, noise, atol=1e-8)
    assert torch.allclose(flow.decode(z), x, atol=1e-8)
    cold = flow.sample(6, torch.Generator().manual_seed(0), temperature=0.5)
    assert torch.allclose(flow.encode(cold)[0], 0.5 * noise, atol=1e-8)


def test_the_same_generator_gives_the_same_numbers(small_image_flow):
    x = torch.rand(3, 1, 4, 4)
    a, b = (small_image_flow.log_prob(x, torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(a, b)


def test_a_state_dict_restores_everything(small_image_flow):
    flow = small_image_flow
    other = rf.image_flow(rf.ImageModel((1, 4, 4), blocks=(1, 1), width=6, n_dense=1, dense_width=8))
    other.load_state_dict(flow.state_dict())
    x = torch.rand(3, 1, 4, 4)
    a, b = (f.log_prob(x, torch.Generator().manual_seed(4)) for f in (flow, other))
    assert torch.equal(a, b)


def test_wrong_shapes_are_refused(small_image_flow):
    with pytest.raises(rf.SettingsError, match="events of shape"):
        small_image_flow.log_prob(torch.rand(2, 1, 8, 8))
    with pytest.raises(rf.SettingsError, match="smaller than event"):
        rf.Flow(small_image_flow.bijection, (1, 4, 4), (15,))


def test_dequantisation_stays_in_its_level():
    levels = torch.randint(17, (100, 1, 8, 8), dtype=torch.uint8)
    x = rf.uniform_dequantize(levels, 17, torch.Generator().manual_seed(0))
    assert x.dtype == torch.float32 and float(x.min()) >= 0 and float(x.max()) < 1
    assert torch.equal((x.double() * 17 - 1e-5).clamp_min(0).floor().byte(), levels)


def test_a_toy_flow_learns():
    """Four hundred steps beat the best normal density by a wide margin."""
    torch.set_default_dtype(torch.float32)
    generator = torch.Generator().manual_seed(0)
    flow = rf.toy_flow(n_blocks=4, hidden=(32, 32))
    data = rf.toy_data("8gaussians", 4000, generator)
    flow.initialize_(data)
    optimizer = torch.optim.Adam(flow.parameters(), 5e-3)
    for _ in range(400):
        x = rf.toy_data("8gaussians", 256, generator)
        loss = -flow.log_prob(x, generator).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rf.update_norms_(flow)
    gaussian = torch.distributions.MultivariateNormal(data.mean(0), data.T.cov()).log_prob(data).mean()
    with torch.no_grad():
        assert flow.eval().log_prob(data, generator).mean() > gaussian + 0.3
