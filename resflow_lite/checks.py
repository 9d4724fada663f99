"""Checks against exact mathematics, for this project's tests and for your own layers, laws and estimators."""

import torch
from torch import Tensor

from .estimators.linearization import AutogradLinearization
from .estimators.logdet import dense_jacobian
from .layers.bijection import Bijection

__all__ = ["z_score", "exact_log_det", "check_bijection"]


def z_score(draws: Tensor, truth: Tensor | float) -> Tensor:
    """(mean - truth) / standard error over axis 0: within +-4 for an unbiased estimator of finite variance."""
    return (draws.mean(0) - truth) / (draws.std(0) / len(draws) ** 0.5)


def exact_log_det(bijection: Bijection, x: Tensor) -> Tensor:
    """log |det dy/dx| per sample from the dense Jacobian, by autograd through `transform`."""
    # the output may have another shape than x, so flatten both ends
    g = AutogradLinearization(lambda flat: bijection.transform(flat.view(x.shape)).flatten(1), x.flatten(1))
    return torch.linalg.slogdet(dense_jacobian(g))[1].detach()


def check_bijection(bijection: Bijection, x: Tensor, tol: float = 1e-9) -> None:
    """Assert that transform, forward and inverse belong together and that the log-determinant is exact.

    For a bijection with an estimated log-determinant give it the estimator Exact(). x: float64 samples.
    """
    y, log_det = bijection(x)
    scale = 1 + x.abs().max()
    assert (bijection.transform(x) - y).abs().max() <= tol * (1 + y.abs().max()), "forward and transform differ"
    assert (bijection.inverse(y) - x).abs().max() <= tol * scale, "inverse does not undo forward"
    exact = exact_log_det(bijection, x)
    assert log_det.shape == (len(x),), f"log-determinant of shape {tuple(log_det.shape)} for {len(x)} samples"
    error = float((log_det - exact).detach().abs().max())
    assert error <= tol * (1 + float(exact.abs().max())), f"log-determinant wrong by {error:.2e} nats"
