"""What any model of images has to beat."""

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from ..errors import DataError
from ..expect import integer
from ..layers.elementwise import Logit
from ..models.dequantize import uniform_dequantize
from ..models.flow import bits_per_dim
from .data.images import Images
from .data.levels import checked, expect_alike

CHUNK = 5000


def _expect_alike(train: Images, test: Images) -> None:
    train, test = checked(train, "train"), checked(test, "test")
    expect_alike(test, train.images.shape[1:], train.n_levels, "test")


def independent_pixels(train: Images, test: Images) -> Tensor:
    """(n_test,) bits/dim of each test image if every pixel has its own table of shares of the levels.

    shares: counts in the training images, with one added to each, over their sum.
    """
    _expect_alike(train, test)
    m, d = train.n_levels, train.images[0].numel()
    offset = m * torch.arange(d)
    counts = torch.ones(d * m, dtype=torch.float64)
    for y in train.images.split(CHUNK):
        counts += torch.bincount((y.flatten(1).long() + offset).flatten(), minlength=d * m)
    cost = (counts.view(d, m).sum(1, keepdim=True) / counts.view(d, m)).log2().flatten()
    return torch.cat([cost[y.flatten(1).long() + offset].mean(1) for y in test.images.split(CHUNK)])


def gaussian_on_logits(
    train: Images, test: Images, alpha: float, copies: int = 1, generator: torch.Generator | None = None
) -> Tensor:
    """(n_test,) bits/dim of each test image under a full Gaussian of the logits of dequantised images.

    Mean and covariance of `copies` dequantisations of the training images, 1e-6 added to the variances; alpha: of the
    Logit. D (D + 3) / 2 parameters, found in closed form.
    """
    _expect_alike(train, test)
    copies = integer(1)("copies", copies)
    if copies * len(train.images) < 2:
        raise DataError("a covariance wants two images or more")
    logit, d = Logit(alpha), train.images[0].numel()
    total, squares, n = torch.zeros(d, dtype=torch.float64), torch.zeros(d, d, dtype=torch.float64), 0
    for _ in range(copies):
        for y in train.images.split(CHUNK):
            t = logit.transform(uniform_dequantize(y, train.n_levels, generator).double()).flatten(1)
            total, squares, n = total + t.sum(0), squares + t.T @ t, n + len(t)
    mean = total / n
    covariance = (squares - n * torch.outer(mean, mean)) / (n - 1)
    gaussian = MultivariateNormal(mean, covariance + 1e-6 * torch.eye(d, dtype=torch.float64))
    bits = []
    for y in test.images.split(CHUNK):
        t, log_det = logit(uniform_dequantize(y, test.n_levels, generator).double())
        bits.append(bits_per_dim(gaussian.log_prob(t.flatten(1)) + log_det, t.shape[1:], test.n_levels))
    return torch.cat(bits)
