"""What load_images and toy_data promise, whatever the set."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

import resflow_lite as rf
from resflow_lite.lab.data.sources import IMAGE_SETS

HASHES = {
    "train": "9d5ef97b8ccda1f05e474304bd033d178cfdf380efeb06ddea44ab9ca37c44c5",
    "validation": "1a5082f5559d9cb42b4220b7aa24fcf4862b62f84aeef55a26ce5350bcdd0780",
    "test": "5a5cef63efc660ef1862b6eca4b8c41e5a668a490faf83b52abe0bc4f73cb02c",
}


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


def test_a_wrong_number_of_bits_is_refused():
    for name, n_bits in (("digits", 5), ("mnist", 0), ("mnist", 9), ("mnist", 5.0), ("mnist", "5")):
        with pytest.raises(rf.SettingsError, match="n_bits = .*1 to 8"):
            rf.load_images(name, n_bits=n_bits)


def test_the_splits_of_the_digits_never_change():
    """Numbers measured on them must stay comparable: these hashes are in the ledger."""
    hashes = {split: rf.load_images("digits", split).sha256() for split in ("train", "validation", "test")}
    assert hashes == HASHES


def test_the_hash_is_that_of_the_bytes_in_order():
    images = torch.arange(2500 * 6, dtype=torch.int32).remainder(251).to(torch.uint8).view(2500, 1, 2, 3)
    data = rf.Images(images, torch.zeros(2500), 256)
    assert data.sha256() == hashlib.sha256(images.numpy().tobytes()).hexdigest()
    turned = data._replace(images=images.transpose(2, 3))
    assert turned.sha256() == hashlib.sha256(images.transpose(2, 3).numpy().tobytes()).hexdigest() != data.sha256()


@pytest.mark.parametrize("n_bits", [5, 3, 1])
def test_fewer_bits_are_the_highest_bits(n_bits, miniature, tmp_path):
    small = miniature("cifar10")
    small.put(tmp_path)
    data = rf.load_images("cifar10", "test", tmp_path, n_bits=n_bits)
    assert data.n_levels == 2**n_bits
    assert np.array_equal(data.images, small.parts["test"][0] // 2 ** (8 - n_bits))


def test_mnist14_is_the_mean_of_two_by_two_pixels_of_mnist(miniature, tmp_path):
    small = miniature("mnist")
    small.put(tmp_path)
    data, whole = (rf.load_images(name, "test", tmp_path) for name in ("mnist14", "mnist"))
    means = torch.nn.functional.avg_pool2d(whole.images.double(), 2)
    assert torch.equal(data.images, (means + 0.5).floor().to(torch.uint8)) and data.n_levels == 256
    assert torch.equal(data.labels, whole.labels) and rf.Experiment("mnist14", "smoke").model((1, 14, 14))


def test_celebahq_has_five_bits_unless_told_otherwise(miniature, tmp_path):
    miniature("celebahq256").put(tmp_path)
    for n_bits, n_levels in ((None, 32), (5, 32), (8, 256)):
        data = rf.load_images("celebahq256", "test", tmp_path, n_bits=n_bits)
        assert data.n_levels == n_levels and n_levels // 2 < int(data.images.max()) < n_levels


def test_a_function_of_the_split_is_a_data_set_too():
    def mine(split):
        return rf.Images(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64), len(split))

    assert rf.load_images(mine, "test").n_levels == 4
    with pytest.raises(rf.DataError, match="expected one of"):
        rf.load_images(mine, "tset")


def test_the_page_about_data_lists_every_file_as_the_code_expects_it():
    page = (Path(__file__).parents[3] / "data" / "README.md").read_text()
    for name, image_set in IMAGE_SETS.items():
        assert f"`{name}`" in page
        for part in (image_set.train, image_set.test):
            assert f"{part.n_images:,}" in page
            for file in part.forms[0].files:
                assert file.name in page and file.url.removesuffix(file.name) in page
                assert file.sha256 is None or (f"{file.size:,}" in page and file.sha256 in page)


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
