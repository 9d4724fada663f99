"""Data that needs no download."""

import pytest
import torch

import resflow_lite as rf


def test_digits_are_split_without_overlap_or_loss():
    parts = [rf.load_images("digits", split) for split in ("train", "validation", "test")]
    assert [len(part.images) for part in parts] == [1300, 200, 297]
    assert all(part.images.dtype == torch.uint8 and part.images.shape[1:] == (1, 8, 8) for part in parts)
    assert all(part.n_levels == 17 and int(part.images.max()) == 16 for part in parts)
    assert sorted(torch.cat([part.labels for part in parts]).bincount().tolist()) == sorted(
        [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    )
    assert torch.equal(rf.load_images("digits").images, parts[0].images)


@pytest.mark.parametrize("call", [dict(name="digit"), dict(name="digits", split="training")])
def test_unknown_names_are_refused(call):
    with pytest.raises(rf.DataError, match="expected one of"):
        rf.load_images(**call)


@pytest.mark.parametrize("name", rf.toy_names)
def test_toy_data_are_repeatable_centred_and_of_similar_size(name):
    a, b = (rf.toy_data(name, 4000, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(a, b) and a.shape == (4000, 2)
    assert torch.isfinite(a).all() and float(a.abs().max()) < 6
    assert float(a.mean(0).abs().max()) < 0.5 and 1 < float(a.std()) < 3


def test_the_checkerboard_fills_its_eight_squares_evenly():
    x = rf.toy_data("checkerboard", 32_000, torch.Generator().manual_seed(0))
    square = ((x + 4) / 2).floor().long()
    assert bool((square.sum(1) % 2 == 0).all())
    counts = (4 * square[:, 0] + square[:, 1]).bincount(minlength=16)
    assert sorted(counts.tolist())[:8] == [0] * 8
    assert all(abs(c - 4000) < 5 * 60 for c in counts.tolist() if c)


def test_a_sampler_of_your_own_is_toy_data_too():
    assert rf.toy_data(lambda n, generator: torch.zeros(n, 2), 3).shape == (3, 2)
    with pytest.raises(rf.SettingsError, match="checkerboard"):
        rf.toy_data("chequerboard", 3)
