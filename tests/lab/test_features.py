"""Networks behind Frechet distances: repeatable, named after what they are, never mistaken for Inception."""

import pytest
import torch

import resflow_lite as rf
from resflow_lite.lab.features import INCEPTION_FILE, inception, train_features


@pytest.fixture(autouse=True)
def single_precision(double_precision):
    torch.set_default_dtype(torch.float32)


def unlabelled(split):
    data = rf.load_images("digits", split)
    return data._replace(labels=torch.full_like(data.labels, -1))


def test_the_network_knows_digits_and_is_the_same_for_the_same_seed():
    images = rf.load_images("digits", "test").images
    one, again, other = (train_features("digits", seed, steps=60) for seed in (0, 0, 1))
    assert one.accuracy > 0.7
    assert one.label == "Frechet distance (digits-cnn16)" and "FID" not in one.label
    assert "60 steps" in one.description and "seed 0" in one.description
    assert one.features(images).shape == (297, 16) and one.features(images).dtype == torch.float64
    assert torch.equal(one.features(images), again.features(images))
    assert not torch.allclose(one.features(images), other.features(images))


def test_features_do_not_depend_on_the_batch():
    network, images = train_features("digits", steps=2), rf.load_images("digits", "train").images[:400]
    assert torch.allclose(network.features(images)[300:302], network.features(images[300:302]), atol=1e-6)


def test_a_set_without_labels_has_no_classifier():
    with pytest.raises(rf.DataError, match="unlabelled has no labels"):
        train_features(unlabelled)


def test_without_weights_there_is_no_fid(monkeypatch, tmp_path):
    monkeypatch.setenv("RESFLOW_HOME", str(tmp_path))
    with pytest.raises(rf.DataError, match=INCEPTION_FILE):
        inception(256)
