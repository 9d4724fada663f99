"""Checks of the exercises of chapter 8, image flows."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...layers.elementwise import Logit
from ...models.flow import bits_per_dim
from .verdict import close, exercise, expect, numbers, shaped


@exercise
def check_inverse_logit(log_det: Callable[[Tensor, float], Tensor]) -> str:
    """log_det(t, alpha): (B, ...) -> (B,) nats, of the map from t to x = (sigmoid(t) - alpha) / (1 - 2 alpha)."""
    t, alpha = torch.linspace(-4, 4, 12, dtype=torch.float64).view(2, 2, 3), 0.05
    answer = shaped(log_det(t, alpha), (2,), "one number per image", ": sum over the pixels")
    layer = Logit(alpha)
    right = -layer(layer.inverse(t))[1]
    expect(not close(answer, -right), "the sign is wrong: what the logit stretches, its inverse squeezes")
    scale = t[0].numel() * math.log1p(-2 * alpha)
    expect(not close(answer, right + scale), "the factor 1 / (1 - 2 alpha) is missing; it counts once per pixel")
    expect(close(answer, right), f"expected {right.tolist()}, got {answer.tolist()}")
    return "it is minus the log-determinant of the logit, at the same pair of points."


@exercise
def check_error_bars(error_bars: Callable[[Tensor], Any]) -> str:
    """error_bars(bits): (passes, images) -> the standard error of the mean, and the part that the passes add."""
    passes, images = 4, 300
    generator = torch.Generator().manual_seed(0)
    of_image = 0.2 * torch.randn(images, generator=generator, dtype=torch.float64)
    bits = 2 + of_image + 0.03 * torch.randn(passes, images, generator=generator, dtype=torch.float64)
    total, noise = numbers(error_bars(bits), "the standard error", "the noise of the passes")
    right_total = float(bits.mean(0).std() / images**0.5)
    right_noise = float((bits.var(0).mean() / (passes * images)).sqrt())
    count = passes * images
    small = f"this standard error is {right_total / total:.1f} times too small. Average over the passes first"
    naive = close(total, bits.std() / count**0.5)
    expect(not naive, f"{passes} passes over {images} images are not {count} images: {small}")
    # unbiased or not (n - 1 or n) is a matter of taste here
    expect(abs(total / right_total - 1) < 0.01, f"standard error {total:.5f} where {right_total:.5f} was expected")
    single = close(noise, bits.var(0).mean().sqrt()) or close(noise, bits.std(0).mean())
    expect(not single, "that is the noise of one pass over one image; the mean is over all passes and all images")
    expect(abs(noise / right_noise - 1) < 0.2, f"noise of the passes {noise:.5f} where {right_noise:.5f} was expected")
    return "more passes shrink the second number and leave the first almost where it is; only more images shrink that."


@exercise
def check_tighter_bound(tighter_bits: Callable[[Tensor, int, int], Tensor]) -> str:
    """tighter_bits(log_probs, n_dims, n_levels): (K, B) nats of K dequantisations -> bits/dim (B,) by log-mean-exp."""
    n_dims, n_levels = 64, 17
    log_probs = torch.tensor([[90.0, -2000.0], [95.0, -2001.0], [93.0, 900.0]], dtype=torch.float64)
    answer = shaped(tighter_bits(log_probs, n_dims, n_levels), (2,), "one number per image")
    expect(bool(answer.isfinite().all()), "exp overflowed or underflowed: torch.logsumexp does not")

    def bits(log_prob: Tensor) -> Tensor:
        return bits_per_dim(log_prob, (n_dims,), n_levels)

    total = log_probs.logsumexp(0)
    expect(not close(answer, bits(log_probs.mean(0))), "that is the mean of the logarithms: the bound we have")
    expect(not close(answer, bits(total)), "that is the logarithm of the sum; a mean divides by K")
    right = bits(total - torch.tensor(len(log_probs)).log())
    expect(close(answer, right), f"for log_probs = {log_probs.tolist()} expected {right.tolist()}")
    return "the logarithm of the mean; more dequantisations per image can only tighten it on average."
