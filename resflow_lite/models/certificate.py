"""Proofs that every residual block is a contraction, and how to make them hold."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from ..errors import SettingsError
from ..layers.branch import LipschitzBranch
from ..layers.lipschitz import LipschitzLayer, update_norms_
from ..layers.residual import ResidualBlock


@dataclass(frozen=True)
class Certificate:
    """bounds: block name -> proven upper bound of Lip(g); infinity where none is known. Prints as a table."""

    bounds: dict[str, float]

    @property
    def holds(self) -> bool:
        """Whether every block is proven invertible: Lip(g) < 1."""
        return all(bound < 1 for bound in self.bounds.values())

    @property
    def worst(self) -> tuple[str, float]:
        """The block with the largest bound; one that is no number counts as the largest."""
        return max(self.bounds.items(), key=lambda item: (math.isnan(item[1]), item[1]), default=("no blocks", 0.0))

    def __str__(self) -> str:
        lines = [f"{'block':28} {'Lip(g) <=':>10}  invertible"]
        for name, bound in self.bounds.items():
            lines.append(f"{name:28} {bound:10.6f}  {'proven' if bound < 1 else 'NOT PROVEN'}")
        return "\n".join(lines)


@torch.no_grad()
def certify(model: nn.Module) -> Certificate:
    """The certificate of a model as it is now, computed in float64 on the CPU.

    Raises SettingsError for weights so large that the norm they are divided by is infinite.
    """
    for name, layer in ((n, m) for n, m in model.named_modules() if isinstance(m, LipschitzLayer) and m.input_shape):
        if not bool(layer.sigma().isfinite()):
            raise SettingsError(
                f"{name}: the norm of its weight is no number in {layer.weight.dtype}, with entries up to "
                f"{float(layer.weight.abs().max()):.1e}: train again, or scale the weight down"
            )
    blocks = {name: m for name, m in model.named_modules() if isinstance(m, ResidualBlock)}
    known = {name: isinstance(block.branch, LipschitzBranch) for name, block in blocks.items()}
    return Certificate({n: b.branch.lipschitz_bound() if known[n] else math.inf for n, b in blocks.items()})


@torch.no_grad()
def enforce_(model: nn.Module) -> Certificate:
    """Scale the weights of every LipschitzBranch whose bound is not below 1 until it is; returns the new certificate.

    A model that is proven already is left alone. First the estimates are brought up to date; then a layer whose
    certified norm exceeds its coeff is scaled to it. Where coeff and the activations alone allow 1 or more, the last
    layer takes the rest. Other modules, and branches that have not seen an input yet, stay as they are: nothing is
    known of them.
    """
    found = certify(model)
    if found.holds:
        return found
    update_norms_(model, tol=1e-6)
    branches = [block.branch for block in model.modules() if isinstance(block, ResidualBlock)]
    for branch in (branch for branch in branches if isinstance(branch, LipschitzBranch)):
        if 1 <= branch.lipschitz_bound() < math.inf:
            layers = [step for step in branch.steps if isinstance(step, LipschitzLayer)]
            for layer in layers:
                _scale_(layer, layer.coeff / layer.norm_upper())
            _scale_(layers[-1], 0.999 / branch.lipschitz_bound())
    return certify(model)


def _scale_(layer: LipschitzLayer, factor: float) -> None:
    """Scale the weight AS APPLIED by a factor below 1: write it into the raw weight, which then needs no division."""
    if factor < 1:
        # a little less, so that the proof survives rounding to the dtype of the weight
        layer.weight.copy_(layer.applied() * (factor * (1 - 4 * torch.finfo(layer.weight.dtype).eps)))
