"""Float64 everywhere, and blocks whose Jacobian is as strong as wanted."""

import hashlib
import json
import math
import re
from pathlib import Path

import pytest
import torch

import resflow_lite as rf


@pytest.fixture(autouse=True)
def double_precision():
    """Mathematics is checked in float64; a test that wants float32 says so."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def _orthogonal(n, generator):
    return torch.linalg.qr(torch.randn(n, n, generator=generator))[0]


def _at_full_slope(branch, probe):
    """Set the biases so that every activation works near the largest slope of LipSwish, at z = 2.4 / s."""
    z = probe
    for step in branch.steps:
        if isinstance(step, rf.Activation):
            z = step(z)
        else:
            out = step.product(step.normalized_weight(z), z)
            last = step is branch.steps[-1]
            target = 0.0 if last else 2.39936 / float(torch.nn.functional.softplus(torch.tensor(0.5)))
            mean = out.transpose(0, 1).flatten(1).mean(1)
            with torch.no_grad():
                step.bias.copy_(target - mean)
            z = out + (step.bias if out.dim() == 2 else step.bias[:, None, None])


@pytest.fixture
def strong_dense():
    """A LipschitzBranch on R^d whose Jacobian near 0 is about 0.94 times an orthogonal matrix with eigenvalue -1."""

    def build(d=4, coeff=0.98, preactivation=False, seed=0):
        generator = torch.Generator().manual_seed(seed)
        q1, q2 = _orthogonal(d, generator), _orthogonal(d, generator)
        reflection = torch.eye(d)
        reflection[0, 0] = -1
        turn = torch.tensor([[math.cos(2.2), -math.sin(2.2)], [math.sin(2.2), math.cos(2.2)]])
        if d >= 4:
            reflection[1:3, 1:3] = turn
        steps = [rf.LipSwish()] if preactivation else []
        weights = (q1, q2, reflection @ q1.T @ q2.T)
        for i, weight in enumerate(weights):
            steps += [rf.LipSwish()] if i else []
            layer = rf.LipschitzLinear(d, d, coeff)
            layer.weight.data.copy_(weight)
            steps.append(layer)
        branch = rf.LipschitzBranch(steps)
        _at_full_slope(branch, 2.39936 * torch.ones(1, d) if preactivation else torch.zeros(1, d))
        return branch

    return build


@pytest.fixture
def strong_conv():
    """The same for 3x3 - 1x1 - 3x3 convolutions with one wide middle."""

    def build(channels=1, width=4, coeff=0.98, preactivation=False, seed=0):
        generator = torch.Generator().manual_seed(seed)
        wide = torch.linalg.qr(torch.randn(width, channels, generator=generator))[0]
        middle = _orthogonal(width, generator)
        first = torch.zeros(width, channels, 3, 3)
        first[:, :, 1, 1] = wide
        first += 0.05 * torch.randn(first.shape, generator=generator)
        last = torch.zeros(channels, width, 3, 3)
        last[:, :, 1, 1] = -(middle @ wide).T
        last += 0.05 * torch.randn(last.shape, generator=generator)
        steps = [rf.LipSwish()] if preactivation else []
        sizes = ((channels, width, 3), (width, width, 1), (width, channels, 3))
        for i, ((n_in, n_out, k), weight) in enumerate(zip(sizes, (first, middle[:, :, None, None], last))):
            steps += [rf.LipSwish()] if i else []
            layer = rf.LipschitzConv2d(n_in, n_out, k, coeff)
            layer.weight.data.copy_(weight)
            steps.append(layer)
        branch = rf.LipschitzBranch(steps)
        shape = (1, channels, 4, 4)
        _at_full_slope(branch, 2.39936 * torch.ones(shape) if preactivation else torch.zeros(shape))
        return branch

    return build


class Plain(torch.nn.Module):
    """The same function as a LipschitzBranch with nothing of its fast path: every product by autograd."""

    def __init__(self, branch):
        super().__init__()
        self.steps = branch.steps

    def forward(self, x):
        for step in self.steps:
            x = step(x)
        return x


@pytest.fixture
def as_plain_module():
    return Plain


@pytest.fixture
def spectral_radius():
    def measure(g, x):
        from resflow_lite.estimators.logdet import dense_jacobian

        jacobian = dense_jacobian(rf.AutogradLinearization(g, x)).detach()
        return float(torch.linalg.eigvals(jacobian).abs().max())

    return measure


@pytest.fixture
def printed():
    """The number that a text tells after some words, to compare as a number: two roundings of one may differ."""

    def read(text, words):
        return float(re.search(re.escape(words) + r"\s*([-+]?\d+(\.\d+)?)", text)[1])

    return read


@pytest.fixture
def made_up_entry():
    """A ledger entry with some facts replaced; `settings` are added to those of the real entry that it starts from."""
    results = Path(__file__).parents[1] / "data" / "results"
    real = json.loads((results / "digits-laptop-seed0-6b68a54f.json").read_text())

    def build(settings=None, **facts):
        chosen = real["settings"] | (settings or {})
        chosen["seed"] = facts.setdefault("seed", chosen["seed"])
        entry = real | facts | dict(settings=chosen)
        return entry | dict(checkpoint_sha256=hashlib.sha256(json.dumps(entry).encode()).hexdigest())

    return build
