"""A release of the authors' becomes a run of ours: the same flow, by their formulas, and nothing of the file is run."""

import argparse
import copy
import dataclasses
import json
import math
import os
import pickle
import sys
import types

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, linear, softplus

import resflow_lite as rf
from resflow_lite.__main__ import main
from resflow_lite.lab.released import import_released
from resflow_lite.lab.runs import sha256
from resflow_lite.layers.lipschitz import update_norms_
from resflow_lite.layers.residual import EVALUATE

SMALL = rf.ImageModel((1, 28, 28), blocks=(2, 2), width=5, n_dense=4, dense_width=6)
ARGS = dict(data="mnist", imagesize=28, nblocks="2-2", idim=5, fc_idim=6, coeff=0.98, factor_out=False, seed=7)
ARGS |= dict(squeeze_first=False, act="swish", fc_end=True, lr=1e-3, batchsize=64, vnorms="2222", learn_p=False)
FACTORED = dict(factor_out=True, squeeze_first=True)


def images(n):
    return torch.rand((n, 1, 28, 28), generator=torch.Generator().manual_seed(n), dtype=torch.float64)


def a_flow(**changes):
    """A flow of ours in float64 whose weights have norms above coeff, with single-precision numbers."""
    flow = rf.image_flow(rf.ImageModel(**(vars(SMALL) | changes))).double()
    generator = torch.Generator().manual_seed(1)
    flow.initialize_(images(20))
    with torch.no_grad():
        for p in flow.parameters():
            p.mul_(1 + torch.rand(p.shape, generator=generator)).copy_(p.float())
    update_norms_(flow, 1e-8)
    return flow.eval()


def named_as_theirs(flow):
    """(their name, layer of ours) of what has parameters, by the document on their format alone."""
    scale, place, flat = 0, 0, ""
    layers = list(flow.bijection.layers)
    layers = layers[1:] if isinstance(layers[0], rf.Squeeze) else layers  # outside of their model
    while layers:
        layer = layers.pop(0)
        name = f"transforms.{scale}.chain.{place}"
        if isinstance(layer, rf.FactorOut):
            layers = list(layer.rest.layers)
            continue
        if isinstance(layer, rf.Flatten):
            flat = "nnet."
            continue
        place += 1
        if isinstance(layer, rf.Squeeze):
            scale, place = scale + 1, 0
        elif isinstance(layer, rf.ActNorm):
            yield f"{name}.fc_module" if flat else name, layer
        elif isinstance(layer, rf.ResidualBlock):
            yield from ((f"{name}.nnet.{flat}{i}", step) for i, step in enumerate(layer.branch.steps))
            yield f"{name}.", None


def unit(t):
    return t.flatten() / t.norm()


def as_theirs(flow):
    """Parameters and buffers under their names."""
    parameters, buffers = {}, {}
    for name, layer in named_as_theirs(flow):
        if layer is None:
            parameters |= {f"{name}geom_p": torch.tensor(0.0), f"{name}lamb": torch.tensor(2.0)}
            buffers |= {f"{name}last_{n}": torch.zeros(1) for n in ("n_samples", "firmom", "secmom")}
        elif isinstance(layer, rf.ActNorm):
            parameters |= {f"{name}.bias": layer.shift, f"{name}.weight": layer.log_scale}
            buffers[f"{name}.initialized"] = torch.tensor(1)
        elif isinstance(layer, rf.LipSwish):
            parameters[f"{name}.beta"] = layer.beta
        elif not isinstance(layer, rf.Activation):
            parameters |= {f"{name}.weight": layer.weight, f"{name}.bias": layer.bias}
            v = layer.right / layer.right.norm()
            image = layer.product(layer.weight, v)
            buffers |= {f"{name}.scale": image.norm(), f"{name}.u": unit(image), f"{name}.v": unit(v)}
            if layer.weight.dim() == 4:
                size = float(flow.sizes[name.split(".")[1]])
                buffers |= {f"{name}.spatial_dims": torch.tensor([size, size]), f"{name}.initialized": torch.tensor(1)}
    return [
        {name: t.detach() if t.dtype == torch.int64 else t.detach().float() for name, t in found.items()}
        for found in (parameters, buffers)
    ]


@pytest.fixture
def their_classes(monkeypatch):
    """The modules that a release names, while it is written."""
    for name in ("resflows", "resflows.utils", "resflows.resflow", "torch.nn.backends.thnn"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))

    def make(module, name, base):
        kind = type(name, (base,), {"__module__": module})
        setattr(sys.modules[module], name, kind)
        return kind

    return (
        make("resflows.utils", "ExponentialMovingAverage", object),
        make("resflows.resflow", "ResidualFlow", nn.Module),
        make("resflows.resflow", "LogitTransform", nn.Module),
    )


@pytest.fixture
def release(their_classes, tmp_path):
    """Writes a release of a flow, with changes to its parts; zipped or as torch wrote it before 1.6."""
    averages, model, logit = their_classes

    def write(flow, zipped=True, alpha=1e-6, args=(), change=lambda told: None, name="released.pth"):
        sizes = (14, 7) if isinstance(flow.bijection.layers[0], rf.Squeeze) else (28, 14)
        flow.sizes = dict(zip("01", sizes))
        parameters, buffers = as_theirs(flow)
        ema, module, first = averages(), model(), logit()
        first.alpha = alpha
        module.transforms = nn.ModuleList([nn.Module()])
        module.transforms[0].chain = nn.ModuleList([first])
        vars(ema).update(decay=0.999, module=module, shadow_params=parameters, nparams=3)
        live = {n: p + 0.1 for n, p in parameters.items()}  # of the last step: not those that are scored
        moments = {0: dict(step=4321, exp_avg=torch.zeros(2)), 1: dict(step=4321, exp_avg=torch.zeros(2))}
        told = dict(state_dict=live | buffers, optimizer_state_dict=dict(state=moments, param_groups=[]))
        told |= dict(args=argparse.Namespace(**(ARGS | dict(args))), ema=ema, test_bpd=0.97)
        change(told)
        path = tmp_path / name
        torch.save(told, path, _use_new_zipfile_serialization=zipped)
        return path

    return write


def formula(told, x, alpha=1e-6, coeff=0.98):
    """z of their model by the formulas of their format, straight from the names; x in [0, 1] (n, C, H, W)."""
    args, tensors = told["args"], {n: t.double() for n, t in (told["state_dict"] | told["ema"].shadow_params).items()}
    s = alpha + (1 - 2 * alpha) * (squeeze(x) if args.squeeze_first else x)
    x, leaving = s.log() - (1 - s).log(), []

    def layer(name, z):
        w, b, u, v = (tensors[f"{name}.{part}"] for part in ("weight", "bias", "u", "v"))
        if w.dim() == 2:
            return linear(z, w / max(1.0, float(u @ w @ v) / coeff), b)
        pad, size = w.shape[2] // 2, tensors[f"{name}.spatial_dims"].int().tolist() if w.shape[2] > 1 else [1, 1]
        sigma = float(u @ conv2d(v.view(1, w.shape[1], *size), w, padding=pad).flatten())
        return conv2d(z, w / max(1.0, sigma / coeff), b, padding=pad)

    def branch(name, z, first):
        for j in range(5 if first else 6):
            if f"{name}.{j}.weight" in tensors:
                z = layer(f"{name}.{j}", z)
            elif args.act == "elu":
                z = torch.where(z > 0, z, z.exp() - 1)
            else:
                z = z * torch.sigmoid(softplus(tensors[f"{name}.{j}.beta"]) * z) / 1.1
        return z

    n_scales = len(args.nblocks.split("-"))
    for scale in range(n_scales):
        head = f"transforms.{scale}.chain."
        for place in sorted({int(name.split(".")[3]) for name in tensors if name.startswith(head)}):
            name = f"{head}{place}"
            if f"{name}.fc_module.weight" in tensors:
                flat = x.flatten(1) + tensors[f"{name}.fc_module.bias"]
                x = (flat * tensors[f"{name}.fc_module.weight"].exp()).view_as(x)
            elif f"{name}.weight" in tensors:
                x = (x + tensors[f"{name}.bias"][:, None, None]) * tensors[f"{name}.weight"][:, None, None].exp()
            elif any(each.startswith(f"{name}.nnet.nnet.") for each in tensors):
                x = x + branch(f"{name}.nnet.nnet", x.flatten(1), False).view_as(x)
            else:
                x = x + branch(f"{name}.nnet", x, (scale, place) == (0, 2))
        if scale < n_scales - 1:
            x = squeeze(x)
            if args.factor_out:
                x, out = x.chunk(2, 1)
                leaving.append(out.flatten(1))
    return torch.cat([*leaving, x.flatten(1)], 1)


def squeeze(x):
    """Channel c becomes 4 c + 2 i + j."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 1, 3, 5, 2, 4).reshape(n, 4 * c, h // 2, w // 2)


CASES = [
    (dict(), dict()),
    (FACTORED | dict(n_dense=0), FACTORED | dict(fc_end=False)),
    (dict(activation="elu", alpha=0.03), dict(act="elu")),
]


@pytest.mark.parametrize("zipped", [True, False], ids=["archive", "before 1.6"])
@pytest.mark.parametrize(("model", "args"), CASES, ids=["plain", "factored", "elu"])
def test_the_imported_flow_is_the_one_that_it_was_made_from(release, tmp_path, model, args, zipped):
    flow = a_flow(**model)
    path = release(flow, zipped, alpha=model.get("alpha", 1e-6), args=args)
    run = import_released(path, tmp_path / "run")
    x = images(3)
    for f in (flow, run.flow.double()):
        for block in (m for m in f.modules() if isinstance(m, rf.ResidualBlock)):
            block.eval_estimator = rf.PowerSeries(rf.Truncated(30), probe="rademacher")
    bits = [
        rf.bits_per_dim(f.log_prob(x, torch.Generator().manual_seed(0)).detach(), (1, 28, 28), 256)
        for f in (flow, run.flow)
    ]
    assert (bits[0] - bits[1]).abs().max() < 1e-6
    assert (run.step, run.weights, run.n_levels, run.experiment.seed) == (4321, "last", 256, 7)


def kept(told, into):
    """A change that keeps what is written."""
    into.update(told)


@pytest.mark.parametrize(("model", "args"), CASES, ids=["plain", "factored", "elu"])
def test_the_imported_flow_is_what_the_formulas_of_the_format_give(release, tmp_path, model, args):
    told, alpha = {}, model.get("alpha", 1e-6)
    path = release(a_flow(**model), alpha=alpha, args=args, change=lambda found: kept(found, told))
    flow, x = import_released(path, tmp_path / "run").flow.double(), images(2)
    z = flow.bijection.transform(x).flatten(1)
    assert (z - formula(told, x, alpha)).abs().max() < 1e-5 and z.abs().max() > 3


def test_the_imported_log_density_is_that_of_the_formulas_with_their_whole_jacobian(release, tmp_path):
    told, args = {}, dict(nblocks="1-1", fc_end=False)
    path = release(a_flow(blocks=(1, 1), n_dense=0), args=args, change=lambda found: kept(found, told))
    flow, x = import_released(path, tmp_path / "run").flow.double(), images(1)
    for block in (m for m in flow.modules() if isinstance(m, rf.ResidualBlock)):
        block.eval_estimator = rf.Exact()
    jacobian = torch.func.jacrev(lambda x: formula(told, x)[0])(x).view(784, 784)
    z = formula(told, x)
    truth = -0.5 * (z.square().sum() + 784 * math.log(2 * math.pi)) + torch.linalg.slogdet(jacobian)[1]
    bits = [rf.bits_per_dim(float(value), (1, 28, 28), 256) for value in (truth, flow.log_prob(x).detach())]
    assert bits[0] == pytest.approx(bits[1], abs=1e-6)


def test_norms_that_their_power_iteration_missed_are_applied_as_they_were(release, tmp_path):
    """u = W v0 and v = W^T u after one round from a random v0: u^T W v is less than |W v|; they divide by it."""
    told, flow = {}, a_flow()
    layers = dict(named_as_theirs(flow))

    def change(found):
        for name in [n.removesuffix(".u") for n in found["state_dict"] if n.endswith(".u")]:
            layer, v = layers[name], torch.randn(layers[name].right.shape, dtype=torch.float64)
            for _ in range(2):
                u = layer.product(layer.weight, v).detach()
                v = layer.transpose(layer.weight, u / u.norm()).detach()
            state = dict(u=unit(u), v=unit(v), scale=v.norm())
            found["state_dict"] |= {f"{name}.{part}": t.float() for part, t in state.items()}
        kept(found, told)

    imported, x = import_released(release(flow, change=change), tmp_path / "run").flow.double(), images(2)
    z = imported.bijection.transform(x).flatten(1)
    assert (z - formula(told, x)).abs().max() < 1e-5 < (z - flow.bijection.transform(x).flatten(1)).abs().max()
    assert imported.certify().worst[1] > 0.98**3


@torch.no_grad()
def test_an_actnorm_and_a_branch_are_those_computed_by_hand(release, tmp_path):
    """One pixel of a 1 x 1 layer in place of images: the numbers of the formulas, written out."""
    flow = import_released(release(a_flow(), change=by_hand), tmp_path / "run").flow.double()
    norm, block = flow.bijection.layers[1], flow.bijection.layers[4]
    x = torch.full((1, 1, 28, 28), 2.0, dtype=torch.float64)
    assert float(norm.transform(x)[0, 0, 3, 3]) == pytest.approx((2 + 0.5) * math.e**0.25)
    assert float(norm(x)[1]) == pytest.approx(784 * 0.25)

    def swish(z, beta):
        return z / (1 + math.exp(-math.log1p(math.exp(beta)) * z)) / 1.1

    # 3 x 3 kernels with a middle alone; the first, of norm 2, is divided by 2 / 0.98
    first = 2 / (2 / 0.98) * swish(2, 0.5) + 0.1
    second = 0.5 * swish(first, -1.0)
    assert float(block.branch(x)[0, 0, 3, 3]) == pytest.approx(0.25 * swish(second, 2.0) - 0.3, abs=1e-6)


def by_hand(told):
    parameters, state = told["ema"].shadow_params, told["state_dict"]
    parameters["transforms.0.chain.1.bias"].fill_(0.5)
    parameters["transforms.0.chain.1.weight"].fill_(0.25)
    for step, beta in ((0, 0.5), (2, -1.0), (4, 2.0)):
        parameters[f"transforms.0.chain.4.nnet.{step}.beta"].fill_(beta)
    for step, value, bias in ((1, 2.0, 0.1), (3, 0.5, 0.0), (5, 0.25, -0.3)):
        name = f"transforms.0.chain.4.nnet.{step}"
        weight = parameters[f"{name}.weight"].zero_()
        weight[0, 0, weight.shape[2] // 2, weight.shape[3] // 2] = value
        parameters[f"{name}.bias"].fill_(0.0)[0] = bias
        for side in "uv":
            vector = state[f"{name}.{side}"].zero_()
            vector[vector.numel() // 10] = 1  # within the first channel of five, and of one
        if step == 1:
            state[f"{name}.u"].zero_()[78] = 1
        if step == 5:
            state[f"{name}.v"].zero_()[78] = 1
        state[f"{name}.scale"].fill_(value)


@pytest.fixture(scope="module")
def flow():
    torch.set_default_dtype(torch.float32)
    return a_flow()


class Hostile:
    """Whoever loads it as pickles are loaded calls the function."""

    def __init__(self, function, *arguments):
        self.told = function, arguments

    def __reduce__(self):
        return self.told


def poisoned(where, hostile):
    def change(told):
        if where == "args":
            told["args"].seed = hostile
        elif where == "top":
            told["hostile"] = hostile
        else:
            told["ema"].shadow_params["transforms.0.chain.1.bias"] = [dict(nested=(hostile,))]

    return change


@pytest.mark.parametrize("zipped", [True, False], ids=["archive", "before 1.6"])
@pytest.mark.parametrize("where", ["top", "args", "nested"])
@pytest.mark.parametrize("name", ["posix.system", "builtins.eval", "builtins.getattr", "torch.load"])
def test_a_file_that_would_run_something_is_refused_and_runs_nothing(
    release, flow, tmp_path, capsys, name, where, zipped
):
    mark = tmp_path / "ran"
    code = f"open({str(mark)!r}, 'w').close()"
    hostile = {
        "posix.system": Hostile(os.system, f"touch {mark}"),
        "builtins.eval": Hostile(eval, code),
        "builtins.getattr": Hostile(getattr, argparse.Namespace(), Hostile(eval, code)),
        "torch.load": Hostile(torch.load, str(mark)),
    }[name]
    path = release(flow, zipped, change=poisoned(where, hostile))
    assert main(["import", str(path), "--run-dir", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err.replace("__builtin__", "builtins")
    assert f"asks for {name.replace('torch.load', 'torch.serialization.load')!r}" in told
    assert told.count("\n") == 1 and not mark.exists() and not (tmp_path / "run").exists()


@pytest.mark.parametrize("zipped", [True, False], ids=["archive", "before 1.6"])
def test_a_file_that_is_cut_anywhere_or_is_another_is_refused_by_its_name(release, flow, tmp_path, zipped):
    path = release(flow, zipped)
    whole = path.read_bytes()
    contents = [whole[: round(share * len(whole))] for share in (0, 1e-5, 0.01, 0.1, 0.5, 0.9, 0.99999)]
    for content in [*contents, b"no such file", pickle.dumps(dict(args=1)), whole[:100] + b"x" * 50 + whole[150:]]:
        path.write_bytes(content)
        with pytest.raises(rf.DataError, match="released.pth is not read"):
            import_released(path, tmp_path / "run")
    with pytest.raises(rf.DataError, match="nowhere.pth cannot be read: No such file"):
        import_released(tmp_path / "nowhere.pth", tmp_path / "run")
    torch.save(dict(state_dict={}), path)
    with pytest.raises(rf.DataError, match="it has no 'args'"):
        import_released(path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_file_that_tells_of_more_numbers_than_it_has_room_for_takes_no_memory(tmp_path):
    class Large:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, (storage, 0, (1,), (1,), False, None)

    class Pickler(pickle.Pickler):
        def persistent_id(self, thing):
            return ("storage", torch.FloatStorage, "0", "cpu", 2**50, None) if thing is storage else None

    storage = object()
    with (tmp_path / "large.pth").open("wb") as file:
        for plain in (0x1950A86A20F9469CFC6C, 1001, dict(little_endian=True)):
            pickle.dump(plain, file, 2)
        Pickler(file, 2).dump(Large())
        pickle.dump(["0"], file, 2)
    with pytest.raises(rf.DataError, match="more numbers than it has room for"):
        import_released(tmp_path / "large.pth", tmp_path / "run")


def test_an_instruction_that_would_take_all_memory_is_refused_before_it_is_carried_out(tmp_path):
    """LONG_BINPUT 2^31 makes room for as many objects."""
    path = tmp_path / "long.pth"
    head = b"".join(pickle.dumps(each, 2) for each in (0x1950A86A20F9469CFC6C, 1001, dict(little_endian=True)))
    path.write_bytes(head + b"\x80\x02Nr\x00\x00\x00\x80.")
    with pytest.raises(rf.DataError, match="LONG_BINPUT 2147483648 has no place in it"):
        import_released(path, tmp_path / "run")


def without(name):
    def change(told):
        for tensors in (told["state_dict"], told["ema"].shadow_params):
            tensors.pop(name, None)

    return change


def with_(name, tensor):
    def change(told):
        told["state_dict"][name] = tensor
        if name in told["ema"].shadow_params:
            told["ema"].shadow_params[name] = tensor

    return change


BLOCK = "transforms.1.chain.2.nnet"
WRONG = [
    (without("transforms.0.chain.1.bias"), "transforms.0.chain.1.bias is missing"),
    (without(f"{BLOCK}.3.weight"), f"{BLOCK}.3.weight is missing"),
    (without(f"{BLOCK}.2.beta"), f"{BLOCK}.2.beta is missing"),
    (without(f"{BLOCK}.1.u"), f"{BLOCK}.1.u is missing"),
    (without("transforms.1.chain.11.fc_module.weight"), "transforms.1.chain.11.fc_module.weight is missing"),
    (lambda told: told["ema"].shadow_params.pop(f"{BLOCK}.1.bias"), f"{BLOCK}.1.bias is missing"),
    (with_(f"{BLOCK}.9.beta", torch.ones(1)), f"'{BLOCK}.9.beta' is a name that is not known"),
    (with_("classification_heads.0.weight", torch.ones(1)), "'classification_heads.0.weight' is a name that is not"),
    (
        with_(f"{BLOCK}.1.weight", torch.ones(5, 4, 3, 1)),
        r"1.weight has the size \(5, 4, 3, 1\): expected \(5, 4, 3, 3\)",
    ),
    (with_(f"{BLOCK}.1.v", torch.ones(7)), r"1.v has the size \(7,\): expected \(784,\)"),
    (with_(f"{BLOCK}.1.spatial_dims", torch.tensor([7.0, 7.0])), r"are \[7.0, 7.0\]: expected 14 x 14"),
    (with_(f"{BLOCK}.1.initialized", torch.tensor(0)), f"{BLOCK}.1 was never initialised"),
    (with_("transforms.0.chain.1.initialized", torch.tensor(0)), "transforms.0.chain.1 was never initialised"),
    (with_(f"{BLOCK}.1.scale", torch.tensor(9.0)), f"{BLOCK}.1.scale is 9 and its u and v give"),
    (with_(f"{BLOCK}.1.u", torch.zeros(980)), f"{BLOCK}.1.scale is .* and its u and v give 0"),
    (with_(f"{BLOCK}.1.bias", torch.full((5,), math.nan)), f"{BLOCK}.1.bias holds a number that is not finite"),
    (lambda told: told.pop("ema"), "it has no 'ema'"),
    (lambda told: told.update(state_dict=[]), "its 'state_dict' is no dictionary of tensors"),
    (with_("\x1b[2J", torch.ones(1)), r"'.x1b\[2J' is a name that is not known"),
    (with_(3, torch.ones(1)), "its 'state_dict' is no dictionary of tensors"),
    (lambda told: told["ema"].shadow_params.update(x="y"), "its 'shadow_params' is no dictionary of tensors"),
    (lambda told: vars(told["ema"]).pop("module"), "its module has no transforms.0.chain.0.alpha"),
]
WRONG += [
    (lambda told, change=change: vars(told["args"]).update(change), sentence)
    for change, sentence in [
        (dict(vnorms="222f"), "vnorms = '222f': expected '2222'"),
        (dict(learn_p=True), "learn_p = True: expected False"),
        (dict(block="coupling"), "block = 'coupling': expected 'resblock'"),
        (dict(task="hybrid"), "task = 'hybrid': expected 'density'"),
        (dict(padding=2), "padding = 2: expected 0"),
        (dict(kernels="3-3"), "kernels = '3-3': expected '3-1-3'"),
        (dict(act="lcube"), "act = 'lcube': expected one of swish"),
        (dict(data="celebahq", nbits=5), "data = 'celebahq': .* cells that overlap"),
        (dict(data="celeba_5bit"), "data = 'celeba_5bit': expected one of mnist"),
        (dict(imagesize=32), "imagesize = 32: expected 28"),
        (dict(nblocks="2"), "transforms.0.chain.6.nnet.nnet.0.beta is missing"),
        (dict(nblocks="2-2-2"), "transforms.2.chain.0.* is missing|has the size"),
        (dict(nblocks=[2, 2]), "nblocks is a list: expected text"),
        (dict(nblocks="two"), "nblocks = 'two': expected numbers"),
        (dict(idim=6), r"has the size \(5, 1, 3, 3\): expected \(6, 1, 3, 3\)"),
        (dict(fc_idim=7), "has the size"),
        (dict(fc_end=False), "nnet.nnet.*' is a name"),
        (dict(factor_out=True), "has the size"),
        (dict(squeeze_first=True), "has the size|expected 14 x 14"),
        (dict(act="elu"), "beta' is a name that is not known"),
        (dict(coeff=1.5), "coeff = 1.5"),
        (dict(lr=torch.ones(2)), "lr is a Tensor: expected text, a number"),
    ]
]


@pytest.mark.parametrize(("change", "sentence"), WRONG, ids=[sentence for _, sentence in WRONG])
def test_what_is_not_known_is_refused_by_its_name_and_nothing_is_written(release, flow, tmp_path, change, sentence):
    with pytest.raises(rf.DataError, match=sentence):
        import_released(release(flow, change=change), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def some_digits(tmp_path, monkeypatch):
    """A folder of data with an array in the place of MNIST's test images."""
    folder = tmp_path / "home" / "data" / "cache" / "mnist"
    folder.mkdir(parents=True)
    np.save(folder / "test.npy", np.random.default_rng(0).integers(0, 256, (10_000, 1, 28, 28), np.uint8))
    np.save(folder / "test_labels.npy", np.zeros(10_000, np.int64))
    monkeypatch.setenv("RESFLOW_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_the_command_line_imports_scores_certifies_and_samples(release, flow, some_digits, tmp_path, capsys):
    path, run_dir = release(flow), str(tmp_path / "run")
    assert main(["import", str(path), "--run-dir", run_dir]) == 0
    assert "a model of mnist; its file says 0.9700 bits/dim" in capsys.readouterr().out
    assert main(["import", str(path), "--run-dir", run_dir]) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert main(["evaluate", run_dir, "--images", "4", "--passes", "2", "--estimator", "roulette"]) == 0
    assert main(["certify", run_dir]) == 0 and main(["sample", run_dir, "-n", "2"]) == 0
    told = capsys.readouterr().out
    assert "from images" in told and "proven" in told and (tmp_path / "run" / "samples.png").exists()
    entry = json.loads((tmp_path / "run" / "ledger.json").read_text())
    score = rf.evaluate(made_from(flow, run_dir), estimator=EVALUATE, passes=2, n_images=4)
    assert entry["bits_per_dim"] == pytest.approx(score.bits_per_dim, abs=1e-6)
    assert "n_exact=20" in entry["estimator"]["evaluation"] and "n_exact_terms 2" in entry["estimator"]["training"]
    source = dict(kind="released", file="released.pth", sha256=sha256(path), reported=0.97)
    assert {name: entry["source"][name] for name in source} == source
    assert entry["selection_rule"].startswith("the authors' choice") and entry["steps"] == 4321


def made_from(flow, run_dir):
    """The run with the flow that the release was made from in place of the imported one."""
    run = rf.load_run(run_dir)
    flow = copy.deepcopy(flow).float()
    for block, imported in zip(
        *([m for m in f.modules() if isinstance(m, rf.ResidualBlock)] for f in (flow, run.flow))
    ):
        block.eval_estimator = imported.eval_estimator
    return dataclasses.replace(run, flow=flow)


def test_an_imported_run_compares_estimators_and_can_be_trained_further(release, flow, tmp_path):
    run = import_released(release(flow), tmp_path / "run")
    report = rf.bias_report(run, images(2).float(), n_draws=2)
    assert set(report.total) == {"truncated", "roulette", "krylov"} and len(report.rows) == 8
    update_norms_(run.flow, 1e-6)
    worst = max(layer.norm_lower() for layer in run.flow.modules() if isinstance(layer, rf.LipschitzLinear))
    assert worst <= 0.98 * (1 + 1e-6)
