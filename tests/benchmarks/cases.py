"""What the benchmark of estimators looks at: matrices, and the blocks of flows that are trained once and kept."""

import json
import math
import warnings
from dataclasses import dataclass

import scipy.linalg
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import resflow_lite as rf
from resflow_lite.estimators.linearization import contraction_rate
from resflow_lite.estimators.logdet import dense_jacobian
from resflow_lite.lab.home import home
from resflow_lite.models.branches import conv_branch

POINTS = 8
"""Samples of a batch."""

FOLDER = home() / "runs" / "benchmarks"
TOY_STEPS = 1000


class WithoutPreactivation(rf.Experiment):
    """An image model whose branches all start with a layer, and which has no dense blocks."""

    def build(self, shape):
        channels, layers = shape[0], [rf.Logit(1e-6), rf.ActNorm(shape[0])]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            for scale, blocks in enumerate(self.blocks):
                if scale:
                    layers.append(rf.Squeeze())
                    channels *= 4
                for _ in range(blocks):
                    branch = conv_branch(channels, self.width, "lipswish", 0.98, preactivation=False)
                    layers += [rf.ResidualBlock(branch), rf.ActNorm(channels)]
        side = 2 ** (len(self.blocks) - 1)
        return rf.Flow(rf.Chain(layers), shape, (channels, shape[1] // side, shape[2] // side))


def loaded(flow, path):
    """Whether weights of this flow were at path; not those that another version of the package wrote."""
    try:
        flow.load_state_dict(load_file(path))
    except (FileNotFoundError, RuntimeError):
        return False
    return True


def image_model(name, experiment):
    """The flow of an experiment on digits, read where the same one was trained before."""
    folder = FOLDER / name
    settings, record = json.loads(json.dumps(experiment.as_dict())), folder / "experiment.json"
    flow = experiment.build((1, 8, 8))
    same = record.exists() and json.loads(record.read_text()) == settings
    if not (same and loaded(flow, folder / "model.safetensors")):
        (folder / "model.safetensors").unlink(missing_ok=True)
        flow = rf.fit(experiment, folder).flow
    return flow


def toy_model():
    """A flow of the plane, trained on the checkerboard."""
    path = FOLDER / "toy" / f"{TOY_STEPS}-steps.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        flow = rf.toy_flow(n_blocks=4, hidden=(64, 64), coeff=0.98)
    if loaded(flow, path):
        return flow
    generator = torch.Generator().manual_seed(0)
    flow.initialize_(rf.toy_data("checkerboard", 1000, generator))
    optimizer = torch.optim.Adam(flow.parameters(), 5e-3)
    for _ in range(TOY_STEPS):
        loss = -flow.log_prob(rf.toy_data("checkerboard", 256, generator), generator).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rf.update_norms_(flow)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: t.contiguous() for name, t in flow.state_dict().items()}, path)
    return flow


class Dense(rf.Linearization):
    """Known Jacobians of POINTS points, each repeated: products for thousands of draws at once. Points come first."""

    def __init__(self, case, repeats):
        self.case = case
        self.output = torch.zeros(POINTS * repeats, case.jacobian.shape[1])

    def _times(self, u, matrix):
        return torch.bmm(u.view(POINTS, -1, u.shape[1]), matrix).view(u.shape)

    def vjp(self, u):
        return self._times(u, self.case.jacobian)

    def vjp_pair(self, u):
        return self.vjp(u), self._times(u, self.case.variate)

    def trace(self):
        traces = self.case.variate.diagonal(dim1=1, dim2=2).sum(1)
        return traces.repeat_interleave(len(self.output) // POINTS)


@dataclass
class Case:
    """jacobian: J at POINTS points.  variate: the K of the control variate.  logarithm: log(I + J).  rate: the
    package's measurement of the contraction.  branch, x: where J comes from, if it is no matrix."""

    name: str
    jacobian: Tensor
    variate: Tensor
    branch: rf.LipschitzBranch | None = None
    x: Tensor | None = None

    def __post_init__(self):
        matrices = torch.eye(self.jacobian.shape[1]) + self.jacobian
        with warnings.catch_warnings():
            # it warns at errors of 1e-13; the assertion below says what is right enough here
            warnings.filterwarnings("ignore", message="logm result may be inaccurate")
            self.logarithm = torch.stack([torch.from_numpy(scipy.linalg.logm(m.numpy())) for m in matrices])
        traces = self.logarithm.diagonal(dim1=1, dim2=2).sum(1)
        assert torch.allclose(traces, torch.linalg.slogdet(matrices)[1], rtol=0, atol=1e-10)
        self.radius = float(torch.linalg.eigvals(self.jacobian).abs().max())
        self.rate = float(contraction_rate(Dense(self, 1), generator=torch.Generator().manual_seed(0)).max())

    @property
    def preactivation(self):
        return isinstance(self.branch.steps[0], rf.Activation)


def matrix_case(name, matrix):
    repeated = matrix.expand(POINTS, -1, -1).contiguous()
    return Case(name, repeated, repeated)


def rotation(r, degrees):
    """r R(phi): log det(I + J) = log(1 + 2 r cos phi + r^2)."""
    phi = math.radians(degrees)
    turn = torch.tensor([[math.cos(phi), -math.sin(phi)], [math.sin(phi), math.cos(phi)]])
    return matrix_case(f"J = {r} R({degrees} degrees)", r * turn)


def spread(d=64, radius=0.95):
    """Rotations by all angles with radii up to `radius`, in a rotated and slightly skewed basis."""
    generator = torch.Generator().manual_seed(0)
    blocks = []
    for i in range(d // 2):
        phi = math.pi * i / (d // 2 - 1)
        r = radius * (i + 1) / (d // 2)
        blocks.append(r * torch.tensor([[math.cos(phi), -math.sin(phi)], [math.sin(phi), math.cos(phi)]]))
    basis = torch.linalg.qr(torch.randn(d, d, generator=generator))[0]
    basis = basis @ (torch.eye(d) + 0.05 * torch.randn(d, d, generator=generator))
    return matrix_case(f"spread, {d} x {d}", basis @ torch.block_diag(*blocks) @ torch.linalg.inv(basis))


def block_cases(name, flow, x):
    """One case for every residual block of a flow, at what reaches it of POINTS events x."""
    cases = []
    with torch.no_grad():
        for layer in flow.bijection.layers:
            if isinstance(layer, rf.ResidualBlock):
                jacobian = dense_jacobian(rf.AutogradLinearization(layer.branch, x)).detach()
                g = layer.branch.linearize(x)
                basis = torch.eye(x[0].numel())
                rows = [g.vjp_pair(e.expand(POINTS, -1).reshape(x.shape))[1].flatten(1) for e in basis]
                number = len(cases) + 1
                cases.append(Case(f"{name}, block {number}", jacobian, torch.stack(rows, 1), layer.branch, x))
            x = layer.transform(x)
    return cases


def models():
    """Flows of the checkerboard, of digits (laptop profile: pre-activation in all blocks but the first), and of digits
    without pre-activation, each with POINTS events; trained in float32, handed out in float64."""
    plain = WithoutPreactivation(steps=300, batch_size=64, blocks=(2, 2), n_dense=0)
    laptop = rf.Experiment(steps=500, batch_size=64)
    flows = toy_model(), image_model("digits", laptop), image_model("digits-plain", plain)
    points = rf.toy_data("checkerboard", POINTS, torch.Generator().manual_seed(1))
    data = rf.load_images("digits", "test")
    images = rf.uniform_dequantize(data.images[:POINTS], data.n_levels, torch.Generator().manual_seed(0))
    return [(flow.double().eval(), x.double()) for flow, x in zip(flows, (points, images, images))]
