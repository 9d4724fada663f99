"""Three profiles: values for the settings that an Experiment leaves open."""

from collections.abc import Callable
from typing import Any

from ...errors import SettingsError
from ...models.image import ImageModel
from ...models.presets import presets, recipes
from ..data.sources import IMAGE_SETS, MADE_HERE

# sets that the paper has no model of, and those whose model they take
LIKE = {"mnist14": "mnist", "fashion_mnist": "mnist", "svhn": "cifar10", "imagenet32_official": "imagenet32"}

COMMON = dict(batch_size=128, accumulation=1, lr=4e-3, warm_up=50, cool_down=0.3, ema=0.99)
COMMON |= dict(train_estimator="stratified", memory="store", norms="spectral", flip=False, validation=0)

# about the number of parameters of the profile's own model; the paper's is that of MNIST
BUDGET = dict(smoke=80_000, laptop=80_000, paper=16_600_000)

SMOKE = COMMON | dict(steps=10, blocks=(1, 1), width=16, n_dense=1, dense_width=16, validation=100, evaluations=2)

DIGITS = COMMON | dict(steps=600, lr=3e-2, blocks=(4, 4), width=64, n_dense=2, dense_width=64, evaluations=5)

# for 28 x 28 and 32 x 32 images: most blocks at a half and a quarter of the size, where they are cheap
LAPTOP = COMMON | dict(steps=1800, batch_size=32, lr=1e-2, blocks=(1, 4, 4), width=48, n_dense=2, dense_width=64)
LAPTOP |= dict(validation=200, evaluations=2)


def profile_values(dataset: str | Callable, profile: str) -> dict[str, Any]:
    """Every setting that depends on the profile. Raises SettingsError where the paper has no model of the data."""
    if profile == "smoke":
        return SMOKE
    if profile == "laptop":
        return DIGITS if dataset in MADE_HERE else LAPTOP
    name = f"paper/{LIKE.get(dataset, dataset)}"
    if name not in recipes or dataset in MADE_HERE:
        raise SettingsError(f"profile = 'paper': the paper has no model of {dataset}; expected 'smoke' or 'laptop'")
    model, recipe, images = presets[name], recipes[name], IMAGE_SETS[dataset]
    batch = recipe.batch_size * recipe.accumulation
    steps = recipe.epochs * (images.train.n_images - images.n_validation) // batch
    values = dict(steps=steps, batch_size=batch, warm_up=recipe.warm_up // recipe.accumulation, cool_down=0.0)
    values |= {name: getattr(recipe, name) for name in ("accumulation", "lr", "ema", "flip")}
    values |= {name: getattr(model, name) for name in ("blocks", "width", "n_dense", "dense_width", "train_estimator")}
    return values | dict(memory="recompute", norms="spectral", validation=1000, evaluations=3)


def base_model(dataset: str | Callable) -> ImageModel:
    """The model whose remaining settings (logit, activation, factor-out, ...) a flow of this data takes; that of
    CIFAR-10 for data of one's own."""
    if dataset == "digits":
        return presets["laptop/digits"]
    return presets.get(f"paper/{LIKE.get(dataset, dataset)}", presets["paper/cifar10"])
