"""Image data sets as uint8 arrays."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import DataError

__all__ = ["Images", "load_images", "image_names", "SPLITS"]

SPLITS = ("train", "validation", "test")


class Images(NamedTuple):
    """images: uint8 (N, C, H, W), levels 0 ... n_levels - 1.  labels: int64 (N,)."""

    images: Tensor
    labels: Tensor
    n_levels: int


def _digits(root: Path | None) -> dict[str, Images]:
    """8 x 8 scans of handwritten digits, 17 levels, 1,797 images; bundled with scikit-learn.

    Split at random once and for all (NumPy's PCG64, seed 0): 1,300 train, 200 validation, 297 test. The 43 writers are
    mixed across the splits. Source: Alpaydin and Kaynak 1998, UCI repository (its test half).
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.from_numpy(data.images.astype(np.uint8))[:, None]
    labels = torch.from_numpy(data.target.astype(np.int64))
    order = torch.from_numpy(np.random.Generator(np.random.PCG64(0)).permutation(len(images)))
    parts = zip(SPLITS, order.split([1300, 200, 297]))
    return {split: Images(images[part], labels[part], 17) for split, part in parts}


_LOADERS = {"digits": _digits}
image_names = tuple(_LOADERS)


def load_images(name: str, split: str = "train", root: Path | None = None) -> Images:
    """The images of one split ("train", "validation" or "test") with labels and the number of levels.

    root: folder of downloaded data (digits need none). Raises DataError for an unknown name or split.
    """
    if name not in _LOADERS:
        raise DataError(f"image data {name!r}: expected one of {', '.join(image_names)}")
    if split not in SPLITS:
        raise DataError(f"split {split!r} of {name}: expected one of {', '.join(SPLITS)}")
    return _LOADERS[name](root)[split]
