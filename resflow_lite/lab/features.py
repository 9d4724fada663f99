"""Networks that turn images into features, for Frechet distances between sets of images.

FID means the features of one published network, Inception. A distance in the features of any other network is another
number, and carries that network's name.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..errors import DataError
from ..expect import integer
from .data.images import Images, load_images
from .home import home
from .tasks.task import seeded

INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
BATCH = 250


@dataclass(frozen=True)
class FeatureNetwork:
    """label: what a Frechet distance in these features is called.  description: one sentence, for records.
    features: uint8 images (N, C, H, W) -> (N, n) float64, on the CPU.  accuracy: of the network's classes on test
    images, None where they are other classes."""

    label: str
    description: str
    features: Callable[[Tensor], Tensor]
    accuracy: float | None = None


def train_features(dataset: str | Callable[[str], Images], seed: int = 0, steps: int = 300) -> FeatureNetwork:
    """A small convolutional classifier of the data set's own labels; its features are the 16 units before the last
    layer. The same seed and steps give the same network on the same machine.

    Raises DataError where the set has no labels.
    """
    steps = integer(1)("steps", steps)
    train, test = (load_images(dataset, split) for split in ("train", "test"))
    name, scale = dataset.__name__ if callable(dataset) else dataset, train.n_levels - 1
    if int(train.labels.min()) < 0:
        raise DataError(f"{name} has no labels, and the features are those of a classifier: use inception()")
    classes = int(train.labels.max()) + 1
    with seeded(seed):
        body, head = _body(train.images[0].shape[0]).float(), nn.Linear(16, classes).float()
    optimizer = torch.optim.Adam([*body.parameters(), *head.parameters()])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        chosen = torch.randint(len(train.images), (128,), generator=generator)
        scores = head(body(train.images[chosen].float() / scale))
        optimizer.zero_grad()
        cross_entropy(scores, train.labels[chosen]).backward()
        optimizer.step()
        schedule.step()

    @torch.no_grad()
    def features(images: Tensor) -> Tensor:
        return torch.cat([body(part.float() / scale) for part in torch.as_tensor(images).split(BATCH)]).double()

    with torch.no_grad():
        correct = head(features(test.images).float()).argmax(1) == test.labels
    accuracy = float(correct.double().mean())
    return FeatureNetwork(
        f"Frechet distance ({name}-cnn16)",
        f"convolutional classifier of {name}, 16 features, {steps} steps of 128, seed {seed}; {accuracy:.1%} of the "
        "test images right",
        features,
        accuracy,
    )


def inception(n_levels: int, *, download: bool = False) -> FeatureNetwork:
    """The Inception network of Heusel et al. 2017 in torch-fidelity's port, 2,048 features: their distance is FID.

    Its weights (95 MB) are read from data/cache/inception (RESFLOW_HOME moves it); download: torch-fidelity may fetch
    them itself.
    n_levels: of the images, which are stretched to 0 ... 255; grey images become three equal channels.
    Raises DataError where torch-fidelity is not installed, or the weights are not there.
    """
    path = home() / "data" / "cache" / "inception" / INCEPTION_FILE
    if not (path.exists() or download):
        raise DataError(
            f"No weights of Inception: put {INCEPTION_FILE}, a release file of torch-fidelity, into "
            "data/cache/inception"
        )
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision of another build
        raise DataError(f"torch-fidelity is not there ({error}): pip install -c constraints.txt -e .[fid]") from error
    weights = str(path) if path.exists() else None
    try:
        network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=weights)
    except Exception as error:  # no network, a damaged file: each has errors of its own
        raise DataError(f"Inception's weights could not be read: {error}") from error
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = network.eval().to(device)

    @torch.no_grad()
    def features(images: Tensor) -> Tensor:
        found = []
        for part in torch.as_tensor(images).split(BATCH):
            stretched = (part.float() * (255 / (n_levels - 1))).round().to(torch.uint8)
            found.append(network(stretched.expand(-1, 3, -1, -1).to(device))[0].flatten(1).cpu())  # grey: three equal
        return torch.cat(found).double()

    return FeatureNetwork("FID (Inception)", "Inception, torch-fidelity's port, 2,048 features", features)


def _body(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3, padding=1),
        nn.SiLU(),
        nn.Conv2d(32, 32, 3, stride=2, padding=1),
        nn.SiLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1),
        nn.SiLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(256, 16),
        nn.SiLU(),
    )
