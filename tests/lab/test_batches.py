"""What a step is fed with."""

import pytest
import torch

import resflow_lite as rf
import resflow_lite.lab.tasks.batches as batches
from resflow_lite.lab.tasks.batches import ImageSource

CPU = torch.device("cpu")


@pytest.fixture
def source():
    """Five images of their own levels, whose left half is 0."""
    levels = torch.arange(1, 6, dtype=torch.uint8).view(5, 1, 1, 1).expand(5, 3, 2, 4).clone()
    levels[..., :2] = 0
    return ImageSource(levels, 8, CPU)


def drawn(source, size, flip, seed):
    noise = torch.Generator().manual_seed(seed)
    return source.batch(source.choose(size, noise), noise, flip=flip)


def test_a_batch_is_images_of_the_set_with_noise_inside_their_levels(source):
    x = drawn(source, 4000, False, 0)
    levels = (x * 8).floor()
    assert x.shape == (4000, 3, 2, 4) and (levels[..., :2] == 0).all()
    counts = torch.bincount(levels[:, 0, 0, 3].long(), minlength=6)[1:]
    assert counts.sum() == 4000 and ((counts - 800).abs() < 4 * (4000 * 0.2 * 0.8) ** 0.5).all()
    noise = x * 8 - levels
    assert abs(noise.mean() - 0.5) < 4 * (1 / 12 / noise.numel()) ** 0.5


def test_flips_are_left_to_right_whole_images_and_half_of_them(source):
    x = (drawn(source, 4000, True, 0) * 8).floor()
    flipped = (x[..., 2:] == 0).flatten(1).all(1)
    assert ((x[..., :2] == 0).flatten(1).all(1) ^ flipped).all()
    assert abs(flipped.double().mean() - 0.5) < 4 * (0.25 / 4000) ** 0.5


def test_the_generator_decides_everything(source):
    one, same = (drawn(source, 6, True, 3) for _ in range(2))
    assert torch.equal(one, same)


def test_a_model_starts_from_images_of_the_whole_set(monkeypatch):
    levels = torch.arange(100, dtype=torch.uint8).view(100, 1, 1, 1).expand(100, 1, 2, 2)
    monkeypatch.setattr(batches, "ENTRIES", 4 * 10)
    spread = (ImageSource(levels, 256, CPU).spread(torch.Generator()) * 256).floor()[:, 0, 0, 0]
    assert spread.tolist() == list(range(0, 100, 10))
    whole = ImageSource(levels[:7], 256, CPU).spread(torch.Generator())
    assert len(whole) == 7


def test_the_learning_rate_rises_and_falls(small):
    """Linear over warm_up, linear to almost 0 over the last fraction; constant without a cool-down."""
    experiment = small(steps=100, warm_up=10, cool_down=0.2)
    rates = [experiment.rate(step) for step in range(1, 101)]
    assert rates[:10] == pytest.approx([s / 10 for s in range(1, 11)])
    assert rates[10:80] == [1.0] * 70
    assert rates[80:] == pytest.approx([(101 - s) / 20 for s in range(81, 101)])
    assert small(steps=100, cool_down=0.0).rate(100) == 1.0


def test_a_step_is_clipped(small, monkeypatch, tmp_path):
    """Bits/dim in units a million times as small: the gradient's norm is far above the bound and comes down to it."""
    import resflow_lite.lab.tasks.density as density

    seen, original = [], torch.optim.Adam.step

    def step(optimizer, *args):
        parameters = optimizer.param_groups[0]["params"]
        seen.append(float(torch.cat([p.grad.flatten() for p in parameters]).norm()))
        return original(optimizer, *args)

    bits = density.bits_per_dim
    monkeypatch.setattr(density, "bits_per_dim", lambda *args: 1e6 * bits(*args))
    monkeypatch.setattr(torch.optim.Adam, "step", step)
    run = rf.fit(small(steps=2, clip=0.5), tmp_path)
    assert seen == pytest.approx([0.5, 0.5], rel=1e-4)
    assert all(row["gradient_norm"] > 100 for row in run.history)  # before it is clipped
