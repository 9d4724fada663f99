"""Image data sets as uint8 arrays."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...checks import CheckReport
from ...errors import CheckFailed, DataError, SettingsError
from ..home import home
from ..names import image_names
from .arrays import open_images
from .folders import open_folder
from .levels import SPLITS, Images, checked, expect_alike
from .sources import IMAGE_SETS, MADE_HERE

FOLDER = "folder:"


def load_images(
    name: str | Callable[[str], Images], split: str = "train", root: Path | str | None = None, n_bits: int | None = None
) -> Images:
    """The images of one split ("train", "validation" or "test") with labels and the number of levels.

    name: one of `image_names`; "folder:PATH" for a folder of images (folders.py); or a function of the split that
    returns Images of your own, which are checked (levels.py).
    root: the folder that holds one folder for each set; data/cache where it is None. Files put there by hand are found.
    The first call downloads what may be downloaded, verifies it and converts it; later calls take milliseconds.
    n_bits: keep the n_bits highest bits of 8-bit levels. None: 5 for celebahq256, as in the paper, else all 8.

    "test" is the published test set (of ImageNet and CelebA-HQ the validation set, on which results are reported),
    "validation" the last images of the published training set; data/README.md has the numbers.

    Raises DataError for an unknown name or split, and for a file that is missing, cut or not the published one: it says
    which, what was expected and where to get it. SettingsError for wrong n_bits.
    """
    if not known_images(name):
        raise DataError(f"image data {name!r}: expected {expected_images}")
    if split not in SPLITS:
        raise DataError(f"split {split!r} of {name}: expected one of {', '.join(SPLITS)}")
    if n_bits is not None and not (name in IMAGE_SETS and type(n_bits) is int and 1 <= n_bits <= 8):
        raise SettingsError(f"n_bits = {n_bits!r} of {name}: expected 1 to 8, of a published set, or None")
    if not isinstance(root, str | Path | None):
        raise SettingsError(f"root = {root!r}: expected the path of a folder, or None")
    if callable(name):
        return checked(name(split), f"{images_label(name)}, {split}")
    if name.startswith(FOLDER):
        return open_folder(name.removeprefix(FOLDER), split)
    if name == "digits":
        return _digits(split)
    if name == "mnist14":
        return _mnist14(split, root)
    return _published(name, split, _folder(name, root), n_bits)


expected_images = f"one of {', '.join(image_names)}, folder:PATH, or a function of the split that returns Images"


def known_images(name: Any) -> bool:
    """Whether load_images takes this for a data set. A folder need not be there: its runs can be looked at without."""
    if isinstance(name, str):
        return name in image_names or len(name) > len(FOLDER) and name.startswith(FOLDER)
    return callable(name) and not isinstance(name, type)


def image_shape(name: Any) -> tuple[int, int, int] | None:
    """(C, H, W) of a set that is known without its files; None for others."""
    if not isinstance(name, str):
        return None
    return IMAGE_SETS[name].shape if name in IMAGE_SETS else MADE_HERE.get(name)


def images_label(name: str | Callable[[str], Images]) -> str:
    """A data set's name as part of a file's name: of a function its own, of a folder the last part of its path."""
    label = getattr(name, "__name__", type(name).__name__) if callable(name) else name
    if label.startswith(FOLDER):
        label = f"folder-{Path(label.removeprefix(FOLDER)).name}"
    return re.sub(r"[^\w-]+", "-", label).strip("-")[:60] or "images"


def fetch(name: str) -> str:
    """Load every split once, which downloads, verifies and converts it. Returns lines for people: what is where.

    Raises DataError as load_images; for files that need an account it says what to put where."""
    if name not in image_names:
        raise DataError(f"image data {name!r}: expected one of {', '.join(image_names)}")
    lines = []
    for split in SPLITS:
        images, _, n_levels = load_images(name, split)
        size = " x ".join(map(str, images.shape[1:]))
        lines.append(f"{name}, {split}: {len(images):,} images of {size}, {n_levels} levels")
    folder = _folder("mnist" if name == "mnist14" else name, None)
    where = "bundled with scikit-learn, nothing to download" if name == "digits" else f"in {folder}"
    return "\n".join([*lines, where])


def _folder(name: str, root: Path | str | None) -> Path:
    return Path(home() / "data" / "cache" if root is None else root) / name


def _published(name: str, split: str, folder: Path, n_bits: int | None) -> Images:
    image_set = IMAGE_SETS[name]
    n_bits = image_set.n_bits if n_bits is None else n_bits
    images, labels = open_images(name, image_set, "test" if split == "test" else "train", folder, n_bits)
    held_out = len(images) - image_set.n_validation
    kept = dict(train=slice(held_out), validation=slice(held_out, None), test=slice(None))[split]
    return Images(images[kept], labels[kept], 2**n_bits)


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


def _mnist14(split: str, root: Path | str | None) -> Images:
    """MNIST at half the size, whose dense Jacobians two cores can afford: every pixel is the rounded mean of 2 x 2 (a
    half goes up). test: the first 1,000 test images."""
    images, labels, n_levels = load_images("mnist", split, root).first(1000 if split == "test" else None)
    sums = images.view(-1, 1, 14, 2, 14, 2).sum((3, 5), dtype=torch.int16)
    return Images(((sums + 2) // 4).to(torch.uint8), labels, n_levels)


def check_images(data: str | Callable[[str], Images]) -> CheckReport:
    """Every split holds uint8 images of one shape, whole-number labels and levels below n_levels; at most 1 % of the
    test images lie among the training images."""
    found = {}
    for split in SPLITS:
        try:
            found[split] = checked(data(split), split) if callable(data) else load_images(data, split)
            expect_alike(found[split], found["train"].images.shape[1:], found["train"].n_levels, split)
        except DataError as error:
            raise CheckFailed(str(error)) from error
    train, test = ({image.numpy().tobytes() for image in found[split].images} for split in ("train", "test"))
    if (shared := len(train & test)) > 0.01 * len(found["test"].images):
        raise CheckFailed(f"{shared} of {len(found['test'].images)} test images are training images, too")
    sizes = {split: len(part.images) for split, part in found.items()}
    told = ", ".join(f"{n:,} {split}" for split, n in sizes.items())
    shape, n_levels = tuple(found["train"].images.shape[1:]), found["train"].n_levels
    return CheckReport(f"images {shape} of {n_levels} levels: {told}; train and test share {shared}", sizes)
