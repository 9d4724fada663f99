"""Images as whole levels: what they are, and how it is checked where they come from somebody else."""

import hashlib
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...errors import DataError

SPLITS = ("train", "validation", "test")


class Images(NamedTuple):
    """images: uint8 (N, C, H, W), levels 0 ... n_levels - 1.  labels: int64 (N,), -1 where the set has none.

    Images of a downloaded set are a memory map: what is used is read, and no more.
    """

    images: Tensor
    labels: Tensor
    n_levels: int

    def first(self, n: int | None) -> "Images":
        """The first n images with their labels; None: all."""
        return self._replace(images=self.images[:n], labels=self.labels[:n])

    def sha256(self) -> str:
        """SHA-256 of the images' bytes in the order N, C, H, W: says which data a result was measured on."""
        digest = hashlib.sha256()
        for chunk in self.images.split(1000):
            digest.update(chunk.cpu().numpy().tobytes())
        return digest.hexdigest()


def checked(found: Any, where: str) -> Images:
    """The Images that somebody's function has returned, NumPy's arrays as tensors; costs two reductions.

    Raises DataError, which begins with `where`, for whatever does not hold whole levels 0 ... n_levels - 1 as
    (N, C, H, W): a density of other numbers would be a wrong one without a word.
    """
    if not isinstance(found, tuple | list) or len(found) != 3:
        raise DataError(f"{where}: {_kind(found)}, expected rf.Images(images, labels, n_levels)")
    images, labels, n_levels = found
    if not isinstance(n_levels, int | np.integer) or isinstance(n_levels, bool) or not 2 <= n_levels <= 256:
        raise DataError(f"{where}: n_levels = {n_levels!r}, expected a whole number from 2 to 256")
    images = _levels(images, int(n_levels), where)
    return Images(images, _labels(labels, len(images), where), int(n_levels))


def expect_alike(data: Images, shape: tuple[int, ...], n_levels: int | None, where: str) -> None:
    """Raises DataError where images are not of the shape (C, H, W) and the levels that a model was made for. n_levels:
    None where that is not known."""
    if tuple(data.images.shape[1:]) != tuple(shape):
        raise DataError(f"{where}: images {tuple(data.images.shape[1:])}, but {tuple(shape)} in training")
    if n_levels is not None and data.n_levels != n_levels:
        raise DataError(f"{where}: n_levels = {data.n_levels}, but {n_levels} in training")


def _levels(images: Any, n_levels: int, where: str) -> Tensor:
    images = _tensor(images, "images", where)
    if images.dtype.is_floating_point or images.dtype.is_complex or images.dtype == torch.bool:
        raise DataError(
            f"{where}: {images.dtype} images, expected whole levels 0 ... {n_levels - 1} as uint8: of pixels x from 0 "
            f"to 1 that is ({n_levels - 1} * x).round().to(torch.uint8)"
        )
    shape = tuple(images.shape)
    if len(shape) != 4 or 0 in shape:
        raise DataError(f"{where}: images of shape {shape}, expected (N, C, H, W) with at least one of each")
    if shape[3] in (1, 3) and shape[1] == shape[2] > 3:
        raise DataError(f"{where}: images of shape {shape}, expected (N, C, H, W): images.permute(0, 3, 1, 2)")
    images = images if images.dtype == torch.uint8 else images.to(torch.int64)
    low, high = int(images.min()), int(images.max())
    if low < 0 or high >= n_levels:
        raise DataError(f"{where}: a level of {low if low < 0 else high}, but n_levels = {n_levels}")
    if high == 1 and n_levels > 2:
        raise DataError(
            f"{where}: levels 0 and 1 alone, but n_levels = {n_levels}; n_levels = 2 for black and white, and pixels x "
            f"from 0 to 1 become levels by ({n_levels - 1} * x).round()"
        )
    return images.to(torch.uint8)


def _labels(labels: Any, n: int, where: str) -> Tensor:
    if isinstance(labels, list | tuple):
        try:
            labels = torch.tensor(labels)
        except (TypeError, ValueError, RuntimeError) as error:
            raise DataError(f"{where}: labels are no whole numbers ({error}), expected {n}, -1 for none") from None
    labels = _tensor(labels, "labels", where)
    if labels.shape != (n,) or labels.dtype.is_floating_point or labels.dtype.is_complex or labels.dtype == torch.bool:
        raise DataError(
            f"{where}: labels {labels.dtype} {tuple(labels.shape)} for {n} images, expected int64 ({n},), -1 for none"
        )
    return labels.to(torch.int64)


def _tensor(found: Any, what: str, where: str) -> Tensor:
    if isinstance(found, np.ndarray):
        try:
            # torch has no arrays that run backwards, nor those of another machine's byte order
            return torch.from_numpy(np.ascontiguousarray(found.astype(found.dtype.newbyteorder("="), copy=False)))
        except TypeError:
            raise DataError(f"{where}: {what} are an array of {found.dtype}, expected whole numbers") from None
    if not isinstance(found, Tensor):
        raise DataError(f"{where}: {what} are {_kind(found)}, expected a tensor or an array of whole numbers")
    if found.is_meta or found.is_quantized or found.is_nested or found.layout != torch.strided:
        raise DataError(f"{where}: {what} are nested, sparse, quantized or on meta, expected a dense tensor of values")
    return found.detach()


def _kind(found: Any) -> str:
    return f"the class {found.__name__}" if isinstance(found, type) else f"of type {type(found).__name__}"
