"""The simple models against their definitions."""

import math

import torch

import resflow_lite as rf
import resflow_lite.lab.baselines as baselines
from resflow_lite.lab.baselines import gaussian_on_logits, independent_pixels


def images(n, seed, n_levels=3):
    generator = torch.Generator().manual_seed(seed)
    levels = torch.randint(0, n_levels, (n, 2, 2, 2), generator=generator, dtype=torch.uint8)
    levels[:, 0, 0, 0] = 0  # a pixel that is always empty
    return rf.Images(levels, torch.zeros(n, dtype=torch.int64), n_levels)


def test_independent_pixels_counts_and_adds_one(monkeypatch):
    monkeypatch.setattr(baselines, "CHUNK", 3)
    train, test = images(10, 0), images(4, 1)
    bits = independent_pixels(train, test)
    for image, found in zip(test.images, bits):
        cost = 0.0
        for i, level in enumerate(image.flatten()):
            count = int((train.images.flatten(1)[:, i] == level).sum())
            cost -= math.log2((count + 1) / (10 + 3))
        assert abs(found - cost / 8) < 1e-12


def test_the_gaussian_is_the_best_of_its_kind(monkeypatch):
    """On its own training images no other mean or covariance does better, and it is normalised: bits of a density."""
    monkeypatch.setattr(baselines, "CHUNK", 700)
    train = images(2000, 0)
    bits = gaussian_on_logits(train, train, 1e-2, generator=torch.Generator().manual_seed(0)).mean()
    wider = rf.Images(train.images.flip(1), train.labels, 3)
    assert bits < gaussian_on_logits(wider, train, 1e-2, generator=torch.Generator().manual_seed(0)).mean()
    x = rf.uniform_dequantize(train.images, 3, torch.Generator().manual_seed(0)).double()
    t, log_det = rf.Logit(1e-2)(x)
    t = t.flatten(1)
    gaussian = torch.distributions.MultivariateNormal(t.mean(0), torch.cov(t.T) + 1e-6 * torch.eye(8).double())
    expected = rf.bits_per_dim(gaussian.log_prob(t) + log_det, (2, 2, 2), 3).mean()
    assert abs(bits - expected) < 0.02  # other noise


def test_digits_score_what_chapter_8_finds():
    train, test = rf.load_images("digits", "train"), rf.load_images("digits", "test")
    assert abs(independent_pixels(train, test).mean() - 2.42) < 0.005
    noise = torch.Generator().manual_seed(1)
    assert abs(gaussian_on_logits(train, test, 1e-6, 20, noise).mean() - 2.33) < 0.02
