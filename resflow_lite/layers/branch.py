"""The residual branch g: Lipschitz layers and activations."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from ..errors import SettingsError
from ..estimators.linearization import Again
from .activations import Activation
from .chain_rule import Affine, BranchLinearization, Pair, Pointwise
from .lipschitz import LipschitzLayer, channels_last
from .orders import LearnedOrder


class LipschitzBranch(nn.Module):
    """g as a sequence of Lipschitz layers and activations, ending as wide as it starts.

    Lip(g) <= product of the layers' norms and the activations' constants: below 1 by construction, as far as the norms
    are right.
    """

    def __init__(self, steps: Iterable[LipschitzLayer | Activation]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(steps)
        self._check()

    def _check(self) -> None:
        """Refuse foreign steps, and widths or norms that do not fit or do not return to the first."""
        start, width, before = None, None, 1
        for step in self.steps:
            if isinstance(step, LipschitzLayer):
                n_out, n_in = step.weight.shape[:2]
                if width not in (None, n_in):
                    raise SettingsError(f"a layer of {n_in} inputs follows {width} outputs in a LipschitzBranch")
                start, width = n_in // before if start is None else start, n_out
            elif not isinstance(step, Activation):
                raise SettingsError(
                    f"a LipschitzBranch holds Lipschitz layers and Activations, not {type(step).__name__}"
                )
            elif step.pairs:
                before, width = (2 * before, None) if width is None else (before, 2 * width)
        if width is None or width != start:
            raise SettingsError(f"this LipschitzBranch maps {start} channels to {width}: a residual needs as many")
        layers = [step for step in self.steps if isinstance(step, LipschitzLayer)]
        if len({layer.weight.dim() for layer in layers}) > 1:
            raise SettingsError("a LipschitzBranch is of dense layers or of convolutions, not of both")
        for one, following in zip(layers, [*layers[1:], layers[0]]):
            learned = isinstance(one.codomain, LearnedOrder) or isinstance(following.domain, LearnedOrder)
            meets = one.codomain is following.domain if learned else one.codomain == following.domain
            if not meets:
                raise SettingsError(
                    f"a layer ends in the {one.orders()[1]:g}-norm and the next starts in the "
                    f"{following.orders()[0]:g}-norm: the product of their norms bounds nothing. Make the chain close: "
                    "each codomain the next domain, the last codomain the first domain"
                )

    def order(self) -> float:
        """The norm in which the branch contracts: domain of its first layer and codomain of its last."""
        return next(step.orders()[0] for step in self.steps if isinstance(step, LipschitzLayer))

    def lipschitz_bound(self) -> float:
        """A proven bound of Lip(g) in the norm `order()`: the layers' certified norms times the activations' constants.

        Each activation is taken in the norm between its neighbours, the domain of the layer that follows.
        """
        self._refuse_what_is_not_called()
        bound, order = 1.0, self.order()
        for step in reversed(self.steps):
            if isinstance(step, LipschitzLayer):
                bound *= step.norm_upper()
                order = step.orders()[0]
            else:
                bound *= step.constant(order)
        return bound

    def _refuse_what_is_not_called(self) -> None:
        """The chain rule by hand, and the proof, go round hooks and a forward of the user's own."""
        for module in (self, *self.steps):
            name = type(module).__name__
            if module._forward_pre_hooks or module._forward_hooks:  # pruning, the weight norm of old
                raise SettingsError(
                    f"{name} has a hook on its forward pass, which a LipschitzBranch does not call: after pruning, "
                    "prune.remove(layer, 'weight'); else torch.nn.utils.parametrize"
                )
            known = next(base for base in (LipschitzBranch, LipschitzLayer, Activation) if isinstance(module, base))
            if type(module).forward is not known.forward or "forward" in vars(module):
                raise SettingsError(
                    f"{name} has a forward of its own, which a LipschitzBranch does not call: give a layer product, "
                    "transpose and outer, an activation derivatives; or take a plain module, nn.Sequential(*steps)"
                )

    def forward(self, x: Tensor) -> Tensor:
        return self._value(self.tensors(x), x)

    def frozen(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """g with its weights normalised once, for many evaluations at inputs of the size of x."""
        return partial(self._value, self.tensors(x))

    def _value(self, tensors: Sequence[Tensor], x: Tensor) -> Tensor:
        remaining, x = iter(tensors), channels_last(x)
        for step in self.steps:
            if isinstance(step, LipschitzLayer):
                x = step.linear(next(remaining)).product(x, next(remaining))
            else:
                x = torch.cat([x, -x], 1) if step.pairs else x
                x = step.derivatives(x, 0, next(remaining) if step.scaled() else None)[0]
        return x

    def tensors(self, x: Tensor) -> list[Tensor]:
        """Weights as applied, biases and scales in order, for inputs of the size of x; differentiable.

        Under autocast weights and biases are in its dtype, from norms that are not.
        """
        found: list[Tensor] = []
        kind = x.device.type
        low = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        self._refuse_what_is_not_called()
        with torch.autocast(kind, enabled=False):
            for step in self.steps:
                if isinstance(step, LipschitzLayer):
                    found += [t if low is None else t.to(low) for t in step.tensors(x)]
                elif step.scaled():
                    found.append(step.scale())
        return found

    def linearize(
        self, x: Tensor, tensors: Sequence[Tensor] | None = None, *, to_pull_back: bool = False
    ) -> BranchLinearization:
        """g at x with the given tensors (default: the branch's own, normalised now); `pull_back` needs to_pull_back."""
        remaining = iter(self.tensors(x) if tensors is None else tensors)
        steps: list[Affine | Pair | Pointwise] = []
        for step in self.steps:
            if isinstance(step, LipschitzLayer):
                steps.append(Affine(step, next(remaining), next(remaining)))
            else:
                steps += [Pair()] if step.pairs else []
                scale = next(remaining) if step.scaled() else None
                steps.append(Pointwise(step, scale, to_pull_back=to_pull_back))
        return BranchLinearization(steps, _as_autocast(x))

    def replay(self, x: Tensor) -> tuple[list[Tensor], Again]:
        """x and the tensors, and g linearized with them; see estimators/linearization.py."""
        return [_as_autocast(x), *self.tensors(x)], self._again

    @torch.no_grad()
    def _again(self, inputs: Sequence[Tensor], *, to_pull_back: bool) -> BranchLinearization:
        x, *tensors = inputs
        return self.linearize(x, tensors, to_pull_back=to_pull_back)


def _as_autocast(t: Tensor) -> Tensor:
    """In the dtype of autocast where that is on."""
    kind = t.device.type
    return t.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else t
