"""What a log-determinant estimator may ask of a map g at a point x."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import get_device_states, set_device_states

from ..errors import NotContractiveError, SettingsError
from ..expect import shown
from ..incoming import readable


def per_sample_dot(a: Tensor, b: Tensor) -> Tensor:
    """<a_i, b_i> for every sample i: (B, ...), (B, ...) -> (B,). Sums in at least float32."""
    product = a * b
    return product.flatten(1).sum(1, dtype=torch.promote_types(product.dtype, torch.float32))


class Linearization:
    """g near x: g(x + h) = g(x) + J h + ..., with one Jacobian J = dg/dx per sample.

    A map with a faster way than autograd offers `g.linearize(x) -> Linearization`. All results are differentiable in x
    and in the parameters of g wherever gradients are enabled.
    """

    output: Tensor
    """(B, ...) g(x)."""
    inputs: Sequence[Tensor]
    """What `pull_back` differentiates in: x, then the tensors of g. Set by `replay`."""

    def vjp(self, u: Tensor) -> Tensor:
        """J^T u, shape of x."""
        raise NotImplementedError

    def first_vjp(self, u: Tensor) -> Tensor:
        """J^T u for the first len(u) samples."""
        missing = self.output[len(u) :]
        return self.vjp(torch.cat([u, torch.zeros_like(missing)]))[: len(u)] if len(missing) else self.vjp(u)

    def jvp(self, v: Tensor) -> Tensor:
        """J v, shape of x."""
        raise NotImplementedError

    def trace(self) -> Tensor | None:
        """tr(K), (B,), where it is exact and costs about one product, otherwise None. K is J, or a matrix near J."""
        return None

    def vjp_pair(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """J^T u and K^T u, with the K of `trace`."""
        product = self.vjp(u)
        return product, product

    def pull_back(
        self,
        cotangent: Tensor | None,
        weights: Tensor | None = None,
        u: Tensor | None = None,
        v: Tensor | None = None,
        *,
        control_variate: bool = False,
    ) -> list[Tensor]:
        """Gradients of <cotangent, g> + sum_b weights_b s_b in each of `inputs`, u and v held constant, with

            s = sum_i <u_i, J v_i>,  and with a control variate + tr(K) - mean over i of <v_i, K v_i>:

        what takes the place of the log-determinant's estimate, see PowerSeries.neumann.

        cotangent: like `output`; None for 0.  weights: (B,).  u, v: (n_probes, B, ...); None: g alone.
        By autograd through the products above; a map that knows its chain rule may do better.
        """
        pairs = [] if cotangent is None else [(self.output, cotangent)]
        if u is not None:
            with torch.enable_grad():
                s = sum(per_sample_dot(self.vjp(one_u), one_v) for one_u, one_v in zip(u, v))
                if control_variate:
                    s = s + self.trace() - sum(per_sample_dot(self.vjp_pair(one)[1], one) for one in v) / len(v)
            pairs.append((s, weights))
        pairs = [pair for pair in pairs if pair[0].requires_grad]
        if not pairs:
            return [torch.zeros_like(t) for t in self.inputs]
        outputs, cotangents = zip(*pairs)
        # retained: it may be called again, and g may use what was computed outside, which others use too
        return list(torch.autograd.grad(outputs, self.inputs, cotangents, retain_graph=True, materialize_grads=True))


def image_of(g: Callable[[Tensor], Tensor], x: Tensor, name: str = "g") -> Tensor:
    """g(x). Raises SettingsError where g changes the shape, or x itself: x + g(x) would be another map."""
    before = 0 if x.is_inference() else x._version
    try:
        y = g(x)
    except RuntimeError as error:
        if "in-place" not in str(error):
            raise
        raise SettingsError(f"{name} {IN_PLACE}") from error
    if not isinstance(y, Tensor) or y.shape != x.shape or y.is_complex() or y.device != x.device:
        raise SettingsError(
            f"{name} maps {shown(x)} to {shown(y)}: x + g(x) and log det(I + dg/dx) need equal shapes, "
            "real numbers and one device"
        )
    if before != (0 if x.is_inference() else x._version):
        raise SettingsError(f"{name} {IN_PLACE}")
    return y


IN_PLACE = "writes into its input, which is needed as it was: set inplace=False, or begin it with x = x.clone()"


class AutogradLinearization(Linearization):
    """The readable reference for any callable: products with J by automatic differentiation."""

    def __init__(self, g: Callable[[Tensor], Tensor], x: Tensor):
        # autograd must record, also inside torch.inference_mode, whose tensors it does not take
        with torch.inference_mode(False), torch.enable_grad():
            self.x = x if x.requires_grad else (x.clone() if x.is_inference() else x.detach()).requires_grad_()
            self.output = image_of(g, self.x)
        self.constant = not self.output.requires_grad
        if self.constant and not torch.equal(g(x.detach() + 1), self.output):
            raise SettingsError("g depends on x, but its gradient is lost: g must not detach, nor disable gradients")

    def vjp(self, u: Tensor) -> Tensor:
        if self.constant:
            return torch.zeros_like(self.x)
        keep, u = torch.is_grad_enabled(), u.to(self.output.dtype)
        (product,) = torch.autograd.grad(
            self.output, self.x, u, create_graph=keep, retain_graph=True, materialize_grads=True
        )
        return product

    def jvp(self, v: Tensor) -> Tensor:
        """J v as the derivative of the linear map u -> J^T u: two reverse passes make a forward one."""
        if self.constant:
            return torch.zeros_like(self.x)
        keep = torch.is_grad_enabled()
        u = torch.zeros_like(self.output, requires_grad=True)
        with torch.enable_grad():
            (pulled,) = torch.autograd.grad(self.output, self.x, u, create_graph=True, materialize_grads=True)
        if not pulled.requires_grad:
            return torch.zeros_like(self.x)
        (product,) = torch.autograd.grad(pulled, u, v, create_graph=keep, retain_graph=True, materialize_grads=True)
        return product


def linearize(g: Callable[[Tensor], Tensor], x: Tensor) -> Linearization:
    """The map's own linearization where it has one, the autograd one otherwise. Raises SettingsError for a batch norm
    in training mode."""
    own = getattr(g, "linearize", None)
    if own is not None:
        return own(x)
    for part in g.modules() if isinstance(g, nn.Module) else ():
        if isinstance(part, _BatchNorm) and (part.training or part.running_mean is None):
            raise SettingsError(
                f"g holds a {type(part).__name__} in training mode, which mixes the samples of a batch, so that none "
                "has a log-determinant of its own: take an ActNorm between blocks, or its eval()"
            )
    return AutogradLinearization(g, x)


Again = Callable[..., Linearization]
"""(inputs, to_pull_back=bool) -> g linearized there, with no graph beyond the inputs."""


def replay(g: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Sequence[Tensor], Again]:
    """What a block with a backward pass of its own needs of g at x, to linearize it once or twice.

    Returns the inputs on which the gradient depends, x and the tensors of g, with their graph; and a function of the
    inputs that linearizes g there, each time as the same function: under the same autocast, with the same random
    numbers (dropout). A map with its own way offers `g.replay(x)`.
    """
    own = getattr(g, "replay", None)
    if own is not None:
        return own(x)
    kind, random, (devices, states) = x.device.type, torch.get_rng_state(), get_device_states(x)
    autocast = torch.autocast(kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind))

    def linearized(x: Tensor) -> Linearization:
        at = x.detach().requires_grad_()
        with torch.enable_grad():
            found = linearize(g, at)
        found.inputs = [at, *(t for t in leaves(found.output) if t is not at)]
        return found

    def again(inputs: Sequence[Tensor], *, to_pull_back: bool) -> Linearization:
        if first:
            return first.pop()
        with torch.random.fork_rng(devices), autocast:
            torch.set_rng_state(random)
            set_device_states(devices, states)
            return linearized(inputs[0])

    first = [linearized(x)]
    return [x, *first[0].inputs[1:]], again


def leaves(output: Tensor) -> list[Tensor]:
    """The tensors that require a gradient from which `output` was computed, whoever owns them."""
    found, nodes, seen = [], [output.grad_fn], {None}
    while nodes:
        node = nodes.pop()
        if node not in seen:
            seen.add(node)
            nodes += [following for following, _ in node.next_functions]
            found += [node.variable] if hasattr(node, "variable") else []
    return found


@torch.no_grad()
def contraction_rate(g: Linearization, n_products: int = 20, generator: torch.Generator | None = None) -> Tensor:
    """(B,) the rate rho at which |(J^T)^k v| falls for a random v: |w_2n| = rho^n |w_n|, n = n_products / 2.

    The first half of the products lets the strongest directions come forward, the second half is measured. It tends to
    the spectral radius of J, from below: with 20 products it was up to 3 % low on trained blocks. 0 for a nilpotent J.
    """
    v = torch.randn(g.output.shape, generator=generator).to(g.output)
    norms = []
    for _ in range(n_products):
        v = g.vjp(v)
        norms.append(v.flatten(1).norm(dim=1))
        # one scale for the whole sample keeps tiny powers above underflow and changes no ratio
        v = v / norms[-1].clamp_min(torch.finfo(v.dtype).tiny).view(-1, *[1] * (v.dim() - 1))
    # each norm is now the ratio of consecutive powers
    return torch.stack(norms[n_products // 2 :]).log().mean(0).exp()


def refuse_divergence(g: Linearization) -> None:
    """Raises NotContractiveError where the powers of a Jacobian that nothing bounds are seen to grow: the series of its
    log-determinant has no limit there, and any number that an estimate gives is wrong."""
    if isinstance(g, AutogradLinearization) and readable(g.x):
        try:
            rate = float(contraction_rate(g, generator=torch.Generator().manual_seed(0)).max())
        except RuntimeError:  # torch.func.vmap lets nobody look
            return
        if not rate < 1:
            raise NotContractiveError(
                f"no contraction, by the measured rate: the powers of dg/dx grow by {rate:.3f} with each factor, and "
                "the series of the log-determinant diverges. Scale g down, or take Exact() or Krylov(20), which need "
                "no series"
            )
