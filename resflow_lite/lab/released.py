"""The authors' released models (github.com/rtqichen/residual-flows, releases) as runs that can be scored here.

A release holds the settings of its training, the weights of the last step and their running mean, whose bits/dim is the
one that the authors report. Here that mean is taken. Every setting, name and size has to be one that is known; anything
else is refused by its name, as a flow that is almost theirs would give a wrong number without a word.

Their names, transforms.SCALE.chain.PLACE, and our layers come in the same order, and so do the steps of a branch:

    ActNorm       y = (x + bias) exp(weight)                                        shift, log_scale
    LipSwish      z sigmoid(softplus(beta) z) / 1.1                                 beta
    convolutions  W = weight / max(1, u^T weight v / coeff), u and v kept           weight, bias, vector
    squeeze       channel c becomes 4 c + 2 i + j; where half of the channels leave, the second half does, flattened

Source: the public code's train_img.py, resflow.py, act_norm.py, activations.py, mixed_lipschitz.py and squeeze.py.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import DataError, SettingsError
from ..layers.activations import Activation
from ..layers.elementwise import ActNorm
from ..layers.lipschitz import LipschitzLayer
from ..models.flow import Flow
from .checkpoints import save_flow
from .data.images import image_shape
from .files import write_json
from .home import make_folder
from .inert import Shell, read_inert
from .runs import FILES, LAST, SETTINGS, Run, folder, load_run, sha256
from .tasks.density import Experiment

SHELLS = ("lib.", "resflows.", "utils.", "torch.nn.modules.", "torch.nn.backends.", "argparse.Namespace")
"""Classes that a release names, by how they begin."""
DATA = ("mnist", "cifar10", "svhn", "imagenet32", "imagenet64")
CELEBA = "its images were prepared as (31/32 level + noise) / 32, cells that overlap, whose bits/dim bounds nothing"
ACTIVATIONS = dict(swish="lipswish", elu="elu", softplus="softplus", relu="relu")
FIXED: dict[str, Any] = dict(task="density", block="resblock", kernels="3-1-3", vnorms="2222", learn_p=False)
FIXED |= dict(actnorm=True, preact=True, first_resblock=True, add_noise=True, nbits=8, padding=0, dropout=0)
FIXED |= dict.fromkeys(("fc", "fc_actnorm", "batchnorm", "quadratic"), False)
"""What a setting is, or is not told, where the flow is one of ours."""
USUAL: dict[str, Any] = dict(imagesize=32, nblocks="16-16-16", idim=512, fc_end=True, fc_idim=128, act="swish")
USUAL |= dict(coeff=0.98, factor_out=False, squeeze_first=False, lr=1e-3, wd=0.0, batchsize=64, update_freq=1)
USUAL |= dict(warmup_iters=1000, seed=0, n_dist="poisson", n_exact_terms=2, n_power_series=None, neumann_grad=True)
"""The public code's defaults, for settings that a file does not tell."""
TRAINING = ("n_dist", "n_exact_terms", "n_power_series", "neumann_grad")
N_DENSE = 4
UNUSED = ("geom_p", "lamb", "last_n_samples", "last_firmom", "last_secmom")
"""What a block of theirs has beside, for its training alone."""
AGREES = 0.05
"""Between a layer's kept scale and what its u and v give, relative; beyond, they are of other weights."""


def import_released(path: Path | str, run_dir: Path | str) -> Run:
    """Make a run of a released model; `evaluate`, `certify` and `sample` take its folder. Nothing of the file is run.

    A layer's weight is kept as the authors' code applies it. Where the norm that it was divided by was too low,
    `certify` says that the block is not proven; the score is that of their model all the same.

    Raises DataError, with the name, for a file that is no such release or holds what is not known here; SettingsError
    where run_dir holds a run already.
    """
    path, directory = folder(path), folder(run_dir)
    if any((directory / name).exists() for name in FILES.values()):
        raise SettingsError(f"{directory} holds a run already: choose another folder")
    told = read_inert(path, lambda name: name.startswith(SHELLS))
    try:
        args, ema = _attributes(told, "args"), _attributes(told, "ema")
        steps = _steps(told)
        experiment = _experiment(args, ema, steps)
        released = _Released(_tensors(ema, "shadow_params"), _tensors(told, "state_dict"))
        flow = experiment.build(image_shape(experiment.dataset)).float()
        flow.load_state_dict(flow.state_dict() | _weights(flow, experiment, released))
    except (DataError, SettingsError) as error:
        raise DataError(f"{path} is no release that is known here: {error}") from error
    reported, training = told.get("test_bpd"), ", ".join(f"{n} {(USUAL | args)[n]}" for n in TRAINING)
    source = dict(kind="released", file=path.name, sha256=sha256(path), training=training)
    source["reported"] = float(reported) if isinstance(reported, float | int) else None
    save_flow(make_folder(directory) / LAST, flow, experiment, n_levels=256, step=steps, source=source)
    write_json(directory / SETTINGS, experiment.as_json())
    return load_run(directory)


def _attributes(told: Any, name: str) -> dict[str, Any]:
    if not isinstance(told, dict) or not isinstance(told.get(name), Shell):
        raise DataError(f"it has no {name!r}, which the authors' code writes")
    return vars(told[name])


def _tensors(told: Mapping[str, Any], name: str) -> dict[str, Tensor]:
    found = told.get(name)
    good = isinstance(found, dict) and all(isinstance(n, str) and isinstance(t, Tensor) for n, t in found.items())
    if not good or not found:
        raise DataError(f"its {name!r} is no dictionary of tensors")
    return dict(found)


def _steps(told: Mapping[str, Any]) -> int:
    """By the count of the optimiser; 0 where the file does not tell."""
    state = told.get("optimizer_state_dict")
    moments = state.get("state") if isinstance(state, dict) else None
    moments = moments.values() if isinstance(moments, dict) else ()
    return max((m["step"] for m in moments if isinstance(m, dict) and type(m.get("step")) is int), default=0)


def _experiment(args: Mapping[str, Any], ema: Mapping[str, Any], steps: int) -> Experiment:
    """The settings of a release as ours."""
    data, chosen = args.get("data"), USUAL | FIXED | args
    if data not in DATA:
        raise DataError(f"data = {data!r}: " + (CELEBA if data == "celebahq" else f"expected one of {', '.join(DATA)}"))
    for name in USUAL | FIXED:
        if not isinstance(chosen[name], str | int | float | None):
            raise DataError(f"{name} is a {type(chosen[name]).__name__}: expected text, a number or None")
    for name, value in (FIXED | dict(imagesize=image_shape(data)[1])).items():
        if chosen[name] != value:
            raise DataError(f"{name} = {chosen[name]!r}: expected {value!r}, as nothing else is known here")
    if chosen["act"] not in ACTIVATIONS:
        raise DataError(f"act = {chosen['act']!r}: expected one of {', '.join(ACTIVATIONS)}")
    try:
        blocks = tuple(int(n) for n in chosen["nblocks"].split("-"))
    except (AttributeError, ValueError):
        raise DataError(f"nblocks = {chosen['nblocks']!r}: expected numbers such as 16-16-16") from None
    same = {name: chosen[name] for name in ("coeff", "factor_out", "squeeze_first", "lr", "seed")}
    model = dict(width=chosen["idim"], n_dense=N_DENSE * bool(chosen["fc_end"]), dense_width=chosen["fc_idim"])
    model |= dict(blocks=blocks, activation=ACTIVATIONS[chosen["act"]], alpha=_alpha(ema), ema=ema.get("decay"))
    model["train_estimator"] = None if chosen["n_power_series"] is None else "truncated"
    course = dict(weight_decay=chosen["wd"], accumulation=chosen["update_freq"], warm_up=chosen["warmup_iters"])
    course["batch_size"] = chosen["batchsize"] * chosen["update_freq"]
    return Experiment(data, "paper", steps=steps or None, **same, **model, **course)


def _alpha(ema: Mapping[str, Any]) -> Any:
    """Of the logit, which is the first layer of the model that the file holds."""
    layer = ema.get("module")
    for name in ("transforms", "0", "chain", "0"):
        parts = getattr(layer, "_modules", None)
        layer = parts.get(name) if isinstance(parts, dict) else None
    if not hasattr(layer, "alpha"):
        raise DataError("its module has no transforms.0.chain.0.alpha, which begins with a logit")
    return layer.alpha


def _places(experiment: Experiment) -> Iterator[tuple[str, int]]:
    """Their names of an ActNorm, an activation or a layer with a weight, in our order, and the height of its images."""
    height = image_shape(experiment.dataset)[1] // (2 if experiment.squeeze_first else 1)
    yield "transforms.0.chain.1", height
    for scale, blocks in enumerate(experiment.blocks):
        first = 0 if scale else 2  # after the logit and an ActNorm
        chain = [f"transforms.{scale}.chain.{first + i}" for i in range(2 * blocks)]
        for block, norm in zip(chain[::2], chain[1::2]):
            steps = 5 if block == "transforms.0.chain.2" else 6  # the very first has no pre-activation
            yield from ((f"{block}.nnet.{step}", height) for step in range(steps))
            yield norm, height
        height = height // 2
    last = f"transforms.{scale}.chain."
    for place in range(first + 2 * blocks, first + 2 * (blocks + experiment.n_dense), 2):
        yield from ((f"{last}{place}.nnet.nnet.{step}", 1) for step in range(6))
        yield f"{last}{place + 1}.fc_module", 1


class _Released:
    """The tensors of a release: each that there is has to be asked for, or to be of no use."""

    def __init__(self, parameters: dict[str, Tensor], state: dict[str, Tensor]) -> None:
        self.parameters, self.state = parameters, state
        self.left = {name for name in parameters | state if name.rpartition(".")[2] not in UNUSED}

    def parameter(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """One of the running means."""
        return self.buffer(name, shape, self.parameters)

    def buffer(self, name: str, shape: tuple[int, ...], tensors: dict[str, Tensor] | None = None) -> Tensor:
        found = (self.state if tensors is None else tensors).get(name)
        if found is None:
            raise DataError(f"{name} is missing")
        if tuple(found.shape) != tuple(shape):
            raise DataError(f"{name} has the size {tuple(found.shape)}: expected {tuple(shape)}")
        if not found.isfinite().all():
            raise DataError(f"{name} holds a number that is not finite")
        self.left.discard(name)
        return found.double()


def _weights(flow: Flow, experiment: Experiment, released: _Released) -> dict[str, Tensor]:
    """The part of the flow's state dict that a release tells."""
    kinds, found = ActNorm | Activation | LipschitzLayer, {}
    ours = [(name, layer) for name, layer in flow.named_modules() if isinstance(layer, kinds)]
    for (theirs, height), (name, layer) in zip(_places(experiment), ours, strict=True):
        if isinstance(layer, LipschitzLayer):
            told = _layer(layer, theirs, height, released)
        elif isinstance(layer, ActNorm):
            told = _norm(layer, theirs, released)
        else:
            told = {n: released.parameter(f"{theirs}.{n}", p.shape) for n, p in layer.named_parameters()}
        found |= {f"{name}.{part}": tensor.float() for part, tensor in told.items()}
    if released.left:
        raise DataError(f"{min(released.left)!r} is a name that is not known here")
    return found


def _norm(layer: ActNorm, name: str, released: _Released) -> dict[str, Tensor]:
    if not released.buffer(f"{name}.initialized", ()):
        raise DataError(f"{name} was never initialised")
    shape = layer.shift.shape
    return dict(shift=released.parameter(f"{name}.bias", shape), log_scale=released.parameter(f"{name}.weight", shape))


def _layer(layer: LipschitzLayer, name: str, height: int, released: _Released) -> dict[str, Tensor]:
    """Its weight as their code applies it, by the u and v that it has kept."""
    weight = released.parameter(f"{name}.weight", layer.weight.shape)
    pixels = ()
    if weight.dim() == 4:
        pixels = (1, 1) if weight.shape[2] == 1 else (height, height)
        if not released.buffer(f"{name}.initialized", ()):
            raise DataError(f"{name} was never initialised")
        if (size := released.buffer(f"{name}.spatial_dims", (2,)).tolist()) != [height, height]:
            raise DataError(f"{name}.spatial_dims are {size}: expected {height} x {height}")
    u, v = (
        released.buffer(f"{name}.{side}", (channels * math.prod(pixels),)).view(1, channels, *pixels)
        for side, channels in zip("uv", weight.shape)
    )
    sigma, scale = (u * layer.product(weight, v)).sum(), released.buffer(f"{name}.scale", ())
    if not (sigma - scale).abs() <= AGREES * scale:
        raise DataError(f"{name}.scale is {scale:.4g} and its u and v give {sigma:.4g}: they are of other weights")
    applied = weight / (sigma / layer.coeff).clamp_min(1)
    bias = released.parameter(f"{name}.bias", layer.bias.shape)
    return dict(weight=applied, bias=bias, vector=_near(layer, applied, v, name))


def _near(layer: LipschitzLayer, weight: Tensor, v: Tensor, name: str) -> Tensor:
    """v, if the layer does not divide its weight again with it; else a vector near it that is stretched less. Where
    their power iteration had not ended, |W v| is more than the u^T W v that they divide by."""
    for _ in range(1000):
        v = v / v.norm()
        image = layer.product(weight, v)
        if image.norm() <= layer.coeff * (1 + 2e-7):
            return v
        v = v - layer.transpose(weight, image) / 4
    raise DataError(f"{name}: no vector is stretched as little as its scale says")
