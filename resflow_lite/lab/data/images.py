"""Image data sets as uint8 arrays."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...checks import CheckReport
from ...errors import CheckFailed, DataError, SettingsError
from ..home import home
from .arrays import open_images
from .sources import IMAGE_SETS

__all__ = ["Images", "check_images", "load_images", "fetch", "image_names", "SPLITS"]

SPLITS = ("train", "validation", "test")
image_names = ("digits", *IMAGE_SETS)


class Images(NamedTuple):
    """images: uint8 (N, C, H, W), levels 0 ... n_levels - 1.  labels: int64 (N,), -1 where the set has none.

    Images of a downloaded set are a memory map: what is used is read, and no more.
    """

    images: Tensor
    labels: Tensor
    n_levels: int

    def sha256(self) -> str:
        """SHA-256 of the images' bytes in the order N, C, H, W: says which data a result was measured on."""
        digest = hashlib.sha256()
        for chunk in self.images.split(1000):
            digest.update(chunk.numpy().tobytes())
        return digest.hexdigest()


def load_images(
    name: str | Callable[[str], Images], split: str = "train", root: Path | str | None = None, n_bits: int | None = None
) -> Images:
    """The images of one split ("train", "validation" or "test") with labels and the number of levels.

    name: one of `image_names`, or a function of the split that returns Images of your own.
    root: the folder that holds one folder for each set; data/cache where it is None. Files put there by hand are found.
    The first call downloads what may be downloaded, verifies it and converts it; later calls take milliseconds.
    n_bits: keep the n_bits highest bits of 8-bit levels. None: 5 for celebahq256, as in the paper, else all 8.

    "test" is the published test set (of ImageNet and CelebA-HQ the validation set, on which results are reported),
    "validation" the last images of the published training set; data/README.md has the numbers.

    Raises DataError for an unknown name or split, and for a file that is missing, cut or not the published one: it says
    which, what was expected and where to get it. SettingsError for wrong n_bits.
    """
    if not callable(name) and name not in image_names:
        raise DataError(f"image data {name!r}: expected one of {', '.join(image_names)}")
    if split not in SPLITS:
        raise DataError(f"split {split!r} of {name}: expected one of {', '.join(SPLITS)}")
    if n_bits is not None and not (name in IMAGE_SETS and isinstance(n_bits, int) and 1 <= n_bits <= 8):
        raise SettingsError(f"n_bits = {n_bits!r} of {name}: expected 1 to 8, of a set with 256 levels, or None")
    if callable(name):
        return name(split)
    if name == "digits":
        return _digits(split)
    return _published(name, split, _folder(name, root), n_bits)


def fetch(name: str) -> str:
    """Load every split once, which downloads, verifies and converts it. Returns lines for people: what is where.

    Raises DataError as load_images; for files that need an account it says what to put where."""
    lines = []
    for split in SPLITS:
        data = load_images(name, split)
        n_images, *shape = data.images.shape
        size = " x ".join(map(str, shape))
        lines.append(f"{name}, {split}: {n_images:,} images of {size}, {data.n_levels} levels")
    where = f"in {_folder(name, None)}" if name in IMAGE_SETS else "bundled with scikit-learn, nothing to download"
    return "\n".join([*lines, where])


def _folder(name: str, root: Path | str | None) -> Path:
    return Path(home() / "data" / "cache" if root is None else root) / name


def _published(name: str, split: str, folder: Path, n_bits: int | None) -> Images:
    image_set = IMAGE_SETS[name]
    n_bits = image_set.n_bits if n_bits is None else n_bits
    part = "test" if split == "test" else "train"
    images, labels = open_images(name, image_set, part, folder, n_bits)
    if part == "train":
        held_out = len(images) - image_set.n_validation
        kept = slice(held_out) if split == "train" else slice(held_out, None)
        images, labels = images[kept], labels[kept]
    return Images(images, labels, 2**n_bits)


def _digits(split: str) -> Images:
    """8 x 8 scans of handwritten digits, 17 levels, 1,797 images; bundled with scikit-learn.

    Split at random once and for all (NumPy's PCG64, seed 0): 1,300 train, 200 validation, 297 test. The 43 writers are
    mixed across the splits. Source: Alpaydin and Kaynak 1998, UCI repository (its test half).
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.from_numpy(data.images.astype(np.uint8))[:, None]
    labels = torch.from_numpy(data.target.astype(np.int64))
    order = torch.from_numpy(np.random.Generator(np.random.PCG64(0)).permutation(len(images)))
    part = dict(zip(SPLITS, order.split([1300, 200, 297])))[split]
    return Images(images[part], labels[part], 17)


def check_images(data: str | Callable[[str], Images]) -> CheckReport:
    """Every split holds uint8 images of one shape, whole-number labels and levels below n_levels; at most 1 % of the
    test images lie among the training images."""
    found = {split: load_images(data, split) for split in SPLITS}
    shapes = {split: tuple(torch.as_tensor(part.images).shape[1:]) for split, part in found.items()}
    for split, (images, labels, n_levels) in found.items():
        if images.dtype != torch.uint8 or images.dim() != 4:
            raise CheckFailed(f"{split}: {images.dtype} images of shape {tuple(images.shape)}, not uint8 (N, C, H, W)")
        if shapes[split] != shapes["train"]:
            raise CheckFailed(f"{split}: images {shapes[split]}, but {shapes['train']} in train")
        if int(images.max()) >= n_levels:
            raise CheckFailed(f"{split}: a level of {int(images.max())}, but n_levels = {n_levels}")
        if labels.shape != images.shape[:1] or labels.dtype != torch.int64:
            raise CheckFailed(f"{split}: labels {labels.dtype} {tuple(labels.shape)} for {len(images)} images")
    train, test = ({image.numpy().tobytes() for image in found[split].images} for split in ("train", "test"))
    if (shared := len(train & test)) > 0.01 * len(found["test"].images):
        raise CheckFailed(f"{shared} of {len(found['test'].images)} test images are training images, too")
    sizes = {split: len(part.images) for split, part in found.items()}
    told = ", ".join(f"{n:,} {split}" for split, n in sizes.items())
    n_levels = found["train"].n_levels
    return CheckReport(f"images {shapes['train']} of {n_levels} levels: {told}; train and test share {shared}", sizes)
