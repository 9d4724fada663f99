"""The mean norm of a model's layers in the objective of its learned orders, and of nothing else."""

import torch
from torch import nn

from .lipschitz import LipschitzLayer
from .orders import LearnedOrder


def penalise_orders_(model: nn.Module, weight: float) -> None:
    """Add the gradient of weight x (mean of |A|_(p->q) over all layers A) to those of the learned orders p and q, which
    so move to where norms are small. The gradients of weights and biases stay as they are.

    By the kept vectors, as sigma has them (LipschitzLayer). Call it between clipping and the optimiser's step.
    Source: the paper's public code, `compute_p_grads`, with weight = 0.01.
    """
    orders = [m.logit for m in model.modules() if isinstance(m, LearnedOrder)]
    layers = [m for m in model.modules() if isinstance(m, LipschitzLayer) and m.input_shape]
    mean = torch.stack([layer.sigma() for layer in layers]).mean()
    for order, more in zip(orders, torch.autograd.grad(weight * mean, orders)):
        order.grad = more if order.grad is None else order.grad.add_(more)
