"""bfloat16 where it is harmless, and nowhere else."""

from dataclasses import replace

import pytest
import torch

import resflow_lite as rf
import resflow_lite.lab.machine as machine
from resflow_lite.estimators.linearization import per_sample_dot
from resflow_lite.lab.machine import branches_in, check_precision
from resflow_lite.numerics.tensor_float import tensor_float

CPU = torch.device("cpu")


def loss_and_gradient(flow, x, low):
    """Bits/dim and its gradient; low: the branches in bfloat16."""
    flow.zero_grad()
    with branches_in("bf16" if low else "fp32", CPU):
        loss = rf.bits_per_dim(flow.log_prob(x, torch.Generator().manual_seed(1)), flow.event_shape, 17)
    assert loss.dtype == torch.float32
    loss.mean().backward()
    assert all(p.grad.dtype == torch.float32 for p in flow.parameters())
    return loss.detach(), torch.cat([p.grad.flatten() for p in flow.parameters()])


@pytest.mark.parametrize("memory", ["store", "recompute", "backward_in_forward"])
def test_the_branches_alone_are_in_bfloat16(small, memory):
    """The error has the size of bfloat16's rounding: there, and small. One of eight bits of mantissa is 4e-3."""
    flow = small(blocks=(2, 1), n_dense=1, width=16, memory=memory).build((1, 8, 8))
    data = rf.load_images("digits")
    x = rf.uniform_dequantize(data.images[:64], 17, torch.Generator().manual_seed(0))
    flow.initialize_(x)
    whole, gradient = loss_and_gradient(flow, x, low=False)
    low, rounded = loss_and_gradient(flow, x, low=True)
    assert 1e-7 < float((low - whole).abs().mean()) < 2e-3
    assert 1e-3 < float((rounded - gradient).norm() / gradient.norm()) < 5e-2


@pytest.mark.parametrize("memory", ["store", "recompute", "backward_in_forward"])
def test_log_determinants_add_up_in_float32(small, memory):
    """bfloat16 knows no number between 256 and 258: a sum of ones would stand still there."""
    ones = torch.ones(1, 1000, dtype=torch.bfloat16)
    assert per_sample_dot(ones, ones) == 1000
    flow = small(memory=memory).build((1, 8, 8))
    x = torch.rand(16, 1, 8, 8)
    flow.initialize_(x)
    block = next(m for m in flow.modules() if isinstance(m, rf.ResidualBlock))
    with branches_in("bf16", CPU):
        y, log_det = block(x, torch.Generator().manual_seed(0))
    assert y.dtype == log_det.dtype == torch.float32
    assert (y != y.bfloat16()).any() and (log_det != log_det.bfloat16()).any()


def test_norms_are_taken_in_float32_under_autocast(small):
    flow = small().build((1, 8, 8))
    flow.initialize_(torch.rand(8, 1, 8, 8))
    layer = next(m for m in flow.modules() if isinstance(m, rf.LipschitzConv2d))
    kept, seen = layer.sigma().detach(), []
    layer.sigma = lambda: seen.append(type(layer).sigma(layer)) or seen[-1]
    with branches_in("bf16", CPU):
        flow.log_prob(torch.rand(4, 1, 8, 8), torch.Generator().manual_seed(0))
    assert len(seen) == 1 and seen[0].dtype == torch.float32
    assert float((seen[0].detach() - kept).abs() / kept) < 1e-6


def test_bfloat16_trains_to_about_the_same_score(small, tmp_path):
    scores = {}
    for name in ("fp32", "bf16"):
        run = rf.fit(small(steps=40, precision=name), tmp_path / name)
        scores[name] = run.history[-1]["bits_per_dim"]
        assert all(p.dtype == torch.float32 for p in run.flow.parameters())
        assert rf.evaluate(run).lipschitz_bound < 1
    assert scores["bf16"] != scores["fp32"] and abs(scores["bf16"] - scores["fp32"]) < 0.02


def test_what_the_device_cannot_do_is_refused(small, monkeypatch, tmp_path):
    with pytest.raises(rf.SettingsError, match="precision = 'fp16': expected one of fp32, tf32, bf16"):
        small(precision="fp16")
    monkeypatch.setattr(machine.torch.cuda, "is_available", lambda: False)
    with pytest.raises(rf.SettingsError, match="precision = 'tf32': needs an NVIDIA GPU"):
        rf.fit(small(precision="tf32"), tmp_path)
    assert not (tmp_path / "experiment.json").exists()
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(machine.torch.cuda, "get_device_capability", lambda _: (7, 5))
    monkeypatch.setattr(machine.torch.cuda, "is_bf16_supported", lambda **_: False)
    for name in ("tf32", "bf16"):
        with pytest.raises(rf.SettingsError, match=f"precision = '{name}'.*take 'fp32'"):
            check_precision(name, gpu)
    monkeypatch.setattr(machine.torch.cuda, "get_device_capability", lambda _: (9, 0))
    check_precision("tf32", gpu)


@pytest.mark.parametrize("allowed", [True, False])
def test_the_settings_of_the_tensor_cores_are_given_back(allowed):
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    with pytest.raises(ValueError), tensor_float(allowed):
        assert matmul.allow_tf32 == cudnn.allow_tf32 == allowed
        raise ValueError
    assert (matmul.allow_tf32, cudnn.allow_tf32) == before


def test_a_norm_is_taken_without_rounding_also_where_products_are_rounded(monkeypatch):
    layer, seen = rf.LipschitzLinear(3, 3), []
    layer(torch.ones(1, 3))  # a layer learns the size of its input from the first one
    product = type(layer).product
    monkeypatch.setattr(
        type(layer),
        "product",
        lambda *args: seen.append(torch.backends.cuda.matmul.allow_tf32) or product(*args),
    )
    with tensor_float(True):
        layer.sigma()
        assert torch.backends.cuda.matmul.allow_tf32
    assert seen == [False]


def test_weights_of_single_samples_are_not_rounded_with_the_branch():
    """bfloat16 has eight bits: 1/0.7 = 1.4286 would become 1.4297."""
    estimator = rf.PowerSeries(rf.Roulette(rf.Geometric(0.3), n_exact=1, draws="sample"))
    generator = torch.Generator().manual_seed(0)
    x = torch.ones(400, 2)
    draw = estimator.draw(x, generator)

    def g(x):
        return 0.5 * x  # exact in bfloat16, as all its powers are

    exact, _ = estimator.neumann(rf.linearize(g, x), draw)
    low = replace(draw, probes=draw.probes.to(torch.bfloat16))
    rounded, _ = estimator.neumann(rf.linearize(g, x.to(torch.bfloat16)), low)
    assert rounded.value.dtype == torch.float32
    assert torch.allclose(rounded.value, exact.value, rtol=1e-6)
