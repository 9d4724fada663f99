"""Settings: right, or a sentence that names the value. Every constructor and every function of the paper's part."""

import copy
import math
import re
import threading

import numpy as np
import pytest
import torch

import resflow_lite as rf
from resflow_lite import expect
from resflow_lite.models.densities import TOY

NO_SIZES = (0, -1, 2.5, "3", None, True, math.nan, 10**13)
NO_SHARES = (0, 1.5, math.inf, math.nan, "0.5", [0.5], None, True, torch.ones(2))
NO_NAMES = ("nonsense", ["elu"], {"a": 1}, None, 5)
NO_ESTIMATORS = ("roulette", rf.Exact, None, rf.Roulette())


def linear(**wrong):
    return rf.LipschitzLinear(**{"in_features": 2, "out_features": 2, **wrong})


def conv(**wrong):
    return rf.LipschitzConv2d(**{"in_channels": 2, "out_channels": 2, "kernel_size": 3, **wrong})


def block(**wrong):
    return rf.ResidualBlock(**{"branch": torch.nn.Linear(2, 2), **wrong})


def image(**wrong):
    return rf.image_flow(rf.ImageModel(**{"shape": (1, 4, 4), "blocks": (1,), "width": 4, "n_dense": 0, **wrong}))


def hybrid(**wrong):
    return rf.hybrid_flow(**{"shape": (1, 4, 4), "n_classes": 3, "blocks": (1,), "width": 4, **wrong})


def toy(**wrong):
    return rf.toy_flow(**{"n_blocks": 1, "hidden": (4,), **wrong})


def invert(**wrong):
    return rf.invert(block(), torch.zeros(3, 2), **wrong)


def bits(**wrong):
    return rf.bits_per_dim(**{"log_prob": torch.zeros(3), "event_shape": (1, 8, 8), "n_levels": 17, **wrong})


def data(**wrong):
    return rf.toy_data(**{"name": "moons", "n": 10, **wrong})


def levels(**wrong):
    return rf.uniform_dequantize(**{"levels": torch.arange(5), "n_levels": 5, **wrong})


def sample(**wrong):
    return toy().sample(**{"n": 2, **wrong})


def estimate(**wrong):
    return rf.log_det(**{"g": torch.sin, "x": torch.zeros(3, 2), "estimator": rf.Exact(), **wrong})


def unbiased(**wrong):
    return rf.check_unbiased(**{"estimator": rf.PowerSeries(), "calls": 2, **wrong})


def velocity(**wrong):
    return rf.ContinuousFlow(**{"velocity": rf.dense_velocity(2, 4), **wrong})


def system(**wrong):
    return rf.toy_system(**{"name": "glow", **wrong})


TABLE = [
    (rf.Geometric, "p", NO_SHARES + (-0.5, 1.0, 1e-20, 1e-9)),
    (rf.Poisson, "rate", (0, -2.0, math.inf, math.nan, "2", [2.0], None, True, 1e9)),
    (rf.Matched, "rho", (-0.1, math.inf, math.nan, "0.5", [0.5], True)),
    (rf.Truncated, "n_terms", (-1, 2.5, "3", None, True, math.nan, 10**12)),
    (rf.Roulette, "n_exact", (-1, 2.5, "3", None, True, math.nan)),
    (rf.Roulette, "law", (rf.Geometric, "geometric", None, 0.5)),
    (rf.Roulette, "draws", NO_NAMES),
    (rf.PowerSeries, "terms", (rf.Truncated, "five", None, 5)),
    (rf.PowerSeries, "n_probes", NO_SIZES),
    (rf.PowerSeries, "probe", NO_NAMES),
    (rf.PowerSeries, "control_variate", (1, "yes", None)),
    (rf.Krylov, "n_steps", NO_SIZES),
    (rf.Krylov, "n_probes", NO_SIZES),
    (rf.Krylov, "tol", (0, -1e-3, math.nan, math.inf, "x", True)),
    *((linear, name, NO_SIZES) for name in ("in_features", "out_features")),
    *((conv, name, NO_SIZES) for name in ("in_channels", "out_channels", "kernel_size")),
    *((make, "coeff", NO_SHARES) for make in (linear, conv, toy, image)),
    *((linear, name, (0.5, math.nan, "2", None, True, [2])) for name in ("domain", "codomain")),
    (rf.LearnedOrder, "start", (1, 5, math.nan, "2", None, True)),
    *((make, "channels", NO_SIZES) for make in (rf.ActNorm, rf.Normalize, rf.InvertibleLinear)),
    (rf.NoiseChannels, "n", NO_SIZES),
    (rf.Logit, "alpha", NO_SHARES + (0.5,)),
    (rf.Flatten, "shape", (8, None, (), (0,), (1, -8), (2.5,), "ab", (True,))),
    (rf.Chain, "layers", (None, 5, rf.ActNorm(2), torch.nn.Linear(2, 2))),
    (block, "branch", (None, "g", 5, torch.nn.ReLU)),
    *((make, name, NO_ESTIMATORS) for make in (block, toy, image) for name in ("train_estimator", "eval_estimator")),
    *((make, name, NO_NAMES) for make in (block, toy, image) for name in ("gradient", "memory")),
    (rf.AffineCoupling, "net", (None, 5, torch.nn.Linear)),
    (velocity, "velocity", (None, 5, torch.nn.Linear)),
    (velocity, "divergence", NO_NAMES),
    (velocity, "tol", NO_SHARES),
    (velocity, "adjoint", (1, "yes", None)),
    (toy, "n_blocks", (-5, 2.5, "3", None, True)),
    (toy, "hidden", ((0,), (-1,), (2.5,), 8, None, "ab")),
    *((make, "activation", NO_NAMES[:-1] + (torch.nn.ReLU, rf.Tanh(), torch.nn.ReLU())) for make in (toy, image)),
    (image, "shape", (8, None, (1, 8.0, 8.0), (8, 8), (0, 8, 8), "abc")),
    (image, "blocks", (4, None, (), (0,), (True,), "2")),
    *((image, name, NO_SIZES) for name in ("width", "dense_width")),
    *((image, name, (-1, 1.5, "x", None, True)) for name in ("n_dense", "padding")),
    (image, "alpha", NO_SHARES),
    *((image, name, (1, "yes", None)) for name in ("squeeze_first", "factor_out")),
    (image, "norms", NO_NAMES),
    (rf.image_flow, "model", (None, rf.ImageModel, "paper/mnist")),
    (hybrid, "n_classes", (1, 2.5, "10", None, True)),
    (hybrid, "head_width", NO_SIZES),
    (hybrid, "kind", NO_NAMES),
    (system, "name", NO_NAMES),
    (system, "parameters", NO_SIZES),
    (system, "n_blocks", NO_SIZES),
    (rf.VariationalDequantizer, "shape", (8, None, (1, 8), (1, 8, 8.0), (1, 8, 7))),
    (levels, "n_levels", (0, 1, -1, 2.5, math.nan, "5", None, True, 10**9)),
    (levels, "generator", (0, "a", np.random.default_rng(0), True)),
    (bits, "n_levels", (0, 1, -5, math.inf, "17", None)),
    (bits, "event_shape", (64, (0,), (1, -8, 8), ("a",), None, ())),
    (bits, "log_prob", ([1.0], None, "x")),
    (data, "name", NO_NAMES),
    (data, "n", (-1, 2.5, math.nan, "10", None, True, 10**13)),
    (data, "generator", (0, "a", np.random.default_rng(0))),
    (sample, "n", (-1, 2.5, "4", None, True, 10**13)),
    (sample, "temperature", (-1.0, math.inf, math.nan, "1", None, True)),
    (sample, "generator", (0, "a", True)),
    (estimate, "estimator", NO_ESTIMATORS),
    (estimate, "g", (None, 5, torch.nn.Linear)),
    (estimate, "generator", (0, "a")),
    (invert, "tol", (0, -1.0, math.nan, "x", True)),
    (invert, "max_iter", NO_SIZES),
    (invert, "solver", NO_NAMES),
    (unbiased, "calls", (0, 1, -5, 2.5, None)),
    (unbiased, "seed", (-1, 2**63, 0.5, None, True)),
    (unbiased, "estimator", (None, rf.Exact)),
    (unbiased, "branch", (5, torch.nn.Linear)),
    (rf.check_activation, "activation", (torch.nn.ReLU(), rf.ReLU, "relu", None)),
]
CASES = [(make, name, value) for make, name, values in TABLE for value in values]


@pytest.mark.parametrize(("make", "name", "value"), CASES, ids=lambda value: getattr(value, "__name__", None))
def test_a_wrong_value_is_named_with_what_was_expected(make, name, value):
    with pytest.raises(rf.SettingsError) as caught:
        make(**{name: value})
    sentence = str(caught.value)
    assert "expected" in sentence and "object at 0x" not in sentence and len(sentence) < 400
    named = re.search(rf"\b{name}(\[0\])? ?= ?", sentence) or name in ("estimator", "log_prob", "name")
    told = expect.shown(value) in sentence or name == "layers" or name == "activation"
    assert named and told, sentence


def test_whole_numbers_of_numpy_and_torch_become_plain_ones():
    assert repr(rf.Krylov(np.int64(3), torch.tensor(2))) == "Krylov(n_steps=3, n_probes=2, tol=None)"
    assert repr(rf.Geometric(np.float64(0.25))) == "Geometric(p=0.25)"
    assert rf.ImageModel([np.int32(1), 8, 8], blocks=[2]).shape == (1, 8, 8)
    assert rf.toy_data("rings", np.int64(4)).shape == (4, 2)
    assert rf.Poisson(2) == rf.Poisson(2.0) and rf.LipschitzLinear(2, 2, coeff=1).coeff == 1


def test_a_class_in_place_of_an_object_is_told_of_its_brackets():
    with pytest.raises(rf.SettingsError, match=r"the class Exact.*Did you forget the brackets, Exact\(\)"):
        rf.toy_flow(train_estimator=rf.Exact)
    with pytest.raises(rf.SettingsError, match=r"the class ReLU.*the class of an Activation, such as rf.ReLU"):
        rf.toy_flow(activation=torch.nn.ReLU)


@pytest.mark.parametrize("things", [rf.systems, rf.presets, rf.recipes, rf.ACTIVATIONS, TOY], ids=lambda t: t.kind)
def test_things_by_name_say_which_names_they_know(things):
    for name in ("nonsense", ["glow"], None, {}):
        with pytest.raises(rf.SettingsError) as caught:
            things[name]
        assert all(known in str(caught.value) for known in things) and expect.shown(name) in str(caught.value)
    near = next(iter(things))
    with pytest.raises(rf.SettingsError, match=f"Did you mean '{near}'"):
        things[near[:-1]]
    assert list(copy.deepcopy(things)) == list(things)


class Law:
    """A law of N by its survival function, that draws the same n always."""

    def __init__(self, survival, n=0):
        self.survival, self.n = survival, n

    def sample(self, n, generator=None):
        return torch.full((n,), self.n)


@pytest.mark.parametrize(
    ("law", "says"),
    [
        (Law(lambda k: 0.5), "expected a law that ends"),
        (Law(lambda k: min(1.0, 0.1 * (k + 1))), "cannot rise"),
        (Law(lambda k: "x"), r"survival\(1\) = 'x'"),
        (Law(lambda k: 1.5), r"survival\(1\) = 1.5"),
        (Law(lambda k: math.nan), r"survival\(1\) = nan"),
    ],
)
def test_a_survival_function_that_is_none_is_refused(law, says):
    with pytest.raises(rf.SettingsError, match=says):
        rf.expected_terms(law)


def test_a_law_that_contradicts_itself_is_refused_where_it_is_drawn():
    with pytest.raises(rf.SettingsError, match="draws 3, but says"):
        rf.Roulette(Law(lambda k: float(k < 2), 3)).draw(5)
    with pytest.raises(rf.SettingsError, match="draws -2"):
        rf.Roulette(Law(lambda k: 0.5**k, -2), draws="sample").draw(5)
    with pytest.raises(rf.SettingsError, match="expected a law that ends"):
        rf.Roulette(Law(lambda k: 1.0), draws="stratified").draw(5)


def test_thin_and_long_tails_have_an_answer():
    never = Law(lambda k: float(k == 0))
    assert rf.expected_terms(never) == rf.tail_ratio(never) == rf.tail_ratio(rf.Poisson(1e-210)) == 0
    assert rf.expected_terms(rf.Poisson(1e-210)) < 1e-200
    assert rf.expected_terms(rf.Geometric(1e-4)) == pytest.approx(9999, rel=1e-9)


def test_a_gradient_that_g_loses_is_no_log_determinant_of_0():
    x = torch.randn(3, 2)
    with pytest.raises(rf.SettingsError, match="gradient is lost"):
        rf.log_det(lambda x: 0.5 * x.detach(), x, rf.Exact())
    with pytest.raises(rf.SettingsError, match="ndarray"):
        rf.log_det(lambda x: 0.5 * x.detach().numpy(), x, rf.Exact())
    assert not rf.log_det(torch.ones_like, x, rf.Exact()).value.any()


def test_a_dense_layer_does_not_follow_a_convolution():
    with pytest.raises(rf.SettingsError, match="not of both"):
        rf.LipschitzBranch([rf.LipschitzConv2d(1, 4, 3), rf.LipSwish(), rf.LipschitzLinear(4, 1)])


def test_threads_that_share_a_flow_of_no_input_yet_agree():
    flow, x = rf.toy_flow(n_blocks=4), torch.randn(8, 2)
    barrier, found = threading.Barrier(6), []

    def use():
        barrier.wait()
        with torch.no_grad():
            found.append(flow.encode(x)[0])

    threads = [threading.Thread(target=use) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6 and all(torch.equal(z, flow.encode(x)[0].detach()) for z in found)
