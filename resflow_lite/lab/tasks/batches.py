"""Training images on the device, and batches of them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor
from torch.nn.functional import pad

from ...estimators.noise import Noise, rows
from ...models.dequantize import uniform_dequantize
from ..data.images import Images, images_label, load_images
from ..data.levels import expect_alike
from ..scoring import first_images
from .question import Question
from .task import Task

ENTRIES = 2**20
"""Pixels times channels of the images that a model starts from, at most."""
SAMPLING = ("replacement", "epochs")
VALIDATION_SEED = 2
"""Of the noise in validation, the same each time: what differs between two lines of the record is the weights."""


@lru_cache(2)
def _order(n: int, seed: int, epoch: int) -> Tensor:
    """The order of n images in an epoch, which depends on the seed and the epoch alone."""
    seeds = torch.randint(2**62, (epoch + 1,), generator=torch.Generator().manual_seed(seed))
    return torch.randperm(n, generator=torch.Generator().manual_seed(int(seeds[-1])))


def epochs(n: int, size: int, step: int, seed: int) -> Tensor:
    """(size,) indices of the batch of a step, 1 for the first, where every epoch is all n images in a new order."""
    place = torch.arange((step - 1) * size, step * size)
    parts = [_order(n, seed, int(e))[place[place // n == e] % n] for e in (place // n).unique()]
    return torch.cat(parts)


def cut(levels: Tensor, corner: Tensor, margin: int) -> Tensor:
    """Of each image (B, C, H, W) with `margin` reflected pixels around it, the part of its own size that begins at its
    corner (B, 2), row and column from 0 to 2 margin."""
    around = pad(levels.float(), [margin] * 4, mode="reflect").to(levels.dtype)
    row, column = (torch.arange(n, device=levels.device) + corner[:, i, None] for i, n in enumerate(levels.shape[2:]))
    batch, channel = (torch.arange(n, device=levels.device) for n in levels.shape[:2])
    return around[batch[:, None, None, None], channel[:, None, None], row[:, None, :, None], column[:, None, None, :]]


def sent(t: Tensor, device: torch.device) -> Tensor:
    """t on a device. The processor goes on at once: a plain copy to a GPU waits for the step that is running there."""
    return t.pin_memory().to(device, non_blocking=True) if device.type == "cuda" and not t.is_cuda else t.to(device)


@dataclass(frozen=True)
class ImageSource:
    """images: uint8 (N, C, H, W), on the device where a third of its free memory holds them.  labels: int64 (N,).
    n_levels: of a pixel.  more: images that count as well, after the others."""

    images: Tensor
    n_levels: int
    device: torch.device
    labels: Tensor | None = None
    more: Tensor | None = None

    @classmethod
    def load(
        cls, dataset: str | Callable[[str], Images], split: str, device: torch.device, *, validation: bool = False
    ) -> "ImageSource":
        """The images of a split; validation: and those of the validation split."""
        data = load_images(dataset, split)
        images = data.images
        if device.type == "cuda" and images.numel() < torch.cuda.mem_get_info(device)[0] / 3:
            images = images.to(device)
        more = load_images(dataset, "validation").images if validation else None
        return cls(images, data.n_levels, device, data.labels, more)

    def __len__(self) -> int:
        return len(self.images) + (0 if self.more is None else len(self.more))

    def choose(self, size: int, noise: torch.Generator) -> Tensor:
        """(size,) indices, drawn with replacement."""
        return torch.randint(len(self), (size,), generator=noise)

    def batch(self, chosen: Tensor, noise: torch.Generator, *, flip: bool, margin: int = 0) -> Tensor:
        """(len(chosen), C, H, W) in [0, 1), or the rows of the noise's part: images flipped left to right half the time
        if asked, cut at random out of the image with `margin` reflected pixels around it, with fresh dequantisation
        noise."""
        levels = self._levels(rows(chosen, noise))
        if margin:
            corner = rows(torch.randint(2 * margin + 1, (len(chosen), 2), generator=noise), noise)
            levels = cut(levels, sent(corner, self.device), margin)
        if flip:
            flipped = sent(rows(torch.rand(len(chosen), generator=noise), noise), self.device) < 0.5
            levels = torch.where(flipped[:, None, None, None], levels.flip(3), levels)
        return uniform_dequantize(levels, self.n_levels, noise)

    def _levels(self, chosen: Tensor) -> Tensor:
        n, here = len(self.images), self.images.device
        if self.more is None:
            return sent(self.images[sent(chosen, here)], self.device)
        levels = torch.empty(len(chosen), *self.images.shape[1:], dtype=torch.uint8, device=self.device)
        for part, inside, first in ((self.images, chosen < n, 0), (self.more, chosen >= n, n)):
            levels[inside.to(self.device)] = part[(chosen[inside] - first).to(part.device)].to(self.device)
        return levels

    def spread(self, noise: Noise) -> Tensor:
        """Dequantised images from all over the set, a million entries at most: a model starts from their statistics."""
        n = min(len(self.images), max(1, ENTRIES // self.images[0].numel()))
        levels = self.images[:: len(self.images) // n][:n].to(self.device)
        return uniform_dequantize(levels, self.n_levels, noise)


class ImageTask(Task):
    """A task about the images of a data set."""

    @cached_property
    def data(self) -> ImageSource:
        e = self.experiment
        return ImageSource.load(e.dataset, "train", self.world.device, validation=e.train_on_validation)

    def start(self, noise: Noise) -> Tensor:
        return self.data.spread(noise)

    def held_out(self, n: int | None = None) -> Images:
        """The first n validation images; None: all."""
        return load_images(self.experiment.dataset, "validation").first(n)

    def asked(self, question: Question) -> Images:
        """The images that a question is about. Raises DataError where they are not like those in training."""
        data = load_images(self.experiment.dataset, question.split)
        if question.trained:
            expect_alike(data, *question.trained, f"{images_label(self.experiment.dataset)}, {question.split}")
        return data

    def events(self, question: Question) -> Tensor:
        return first_images(self.asked(question), 64, question.seed)
