"""The presets are the papers' models: parameter counts, shapes of the latent, names."""

import math

import pytest
import torch

import resflow_lite as rf

# counted on the public code, without its roulette parameters, which nothing trains
COUNTS = {
    "paper/mnist": 16_608_589,
    "paper/cifar10": 25_174_129,
    "paper/imagenet32": 47_099_089,
    "paper/imagenet64": 53_294_275,
    "paper/celebahq256": 136_777_176,
}


def without_memory(build):
    """The flow on the meta device: shapes and no numbers."""
    with torch.device("meta"):
        return build()


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_the_papers_models_have_their_number_of_parameters(name, count):
    flow = without_memory(lambda: rf.image_flow(rf.presets[name]))
    assert sum(p.numel() for p in flow.parameters()) == count
    assert math.prod(flow.latent_shape) == math.prod(flow.event_shape)


@pytest.mark.parametrize("data", ["mnist", "cifar10"])
def test_elu_models_lack_only_the_slopes_of_lipswish(data):
    """i-ResNets: the same layers; one slope fewer for each activation, three in a block and two in the very first."""
    flow = without_memory(lambda: rf.image_flow(rf.presets[f"iresnet/{data}"]))
    assert COUNTS[f"paper/{data}"] - sum(p.numel() for p in flow.parameters()) == 3 * (48 + 4) - 1


def test_the_toy_preset_builds_its_hundred_blocks():
    flow = without_memory(lambda: rf.toy_flow(**rf.presets["paper/toy"]))
    blocks = [m for m in flow.modules() if isinstance(m, rf.ResidualBlock)]
    assert len(blocks) == 100
    widths = [tuple(layer.weight.shape) for layer in blocks[0].modules() if isinstance(layer, rf.LipschitzLinear)]
    assert widths == [(128, 2), (128, 128), (128, 128), (128, 128), (2, 128)]
    # a block: weights and biases, four slopes of LipSwish; and 101 ActNorms of two channels
    in_a_block = (2 + 1) * 128 + 3 * (128 + 1) * 128 + (128 + 1) * 2 + 4
    assert sum(p.numel() for p in flow.parameters()) == 100 * in_a_block + 101 * 4 == 5_018_604


def test_the_digits_preset_is_the_laptop_profile():
    digits = without_memory(lambda: rf.image_flow(rf.presets["laptop/digits"]))
    laptop = rf.Experiment(dataset="digits", profile="laptop").build((1, 8, 8))
    assert {k: v.shape for k, v in digits.state_dict().items()} == {k: v.shape for k, v in laptop.state_dict().items()}


def test_recipes_go_with_presets():
    assert set(rf.recipes) <= set(rf.presets)
    assert all(name in rf.recipes for name in COUNTS)
    celeba = rf.recipes["paper/celebahq256"]
    assert celeba.batch_size * celeba.accumulation == 40


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(rf.SettingsError, match="paper/cifar'.*paper/cifar10"):
        rf.presets["paper/cifar"]
