"""Published images, converted once to arrays on disk that open without being read."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...errors import DataError
from .files import obtain
from .sources import Form, ImageSet


def open_images(name: str, image_set: ImageSet, part: str, folder: Path, n_bits: int) -> tuple[Tensor, Tensor]:
    """Images, uint8 (N, C, H, W), and labels, int64 (N,), of the "train" or "test" part, as memory maps.

    The array of all 8 bits is made at the first call from the published files, one of fewer bits from that array. A
    file lock lets one process at a time make arrays in a folder, and an array gets its name only when it is whole: many
    processes may start at once, and any may be killed. Who writes to the tensors changes a copy in memory.

    Raises DataError for a file that is missing or not what it should be, and for a folder that cannot be written.
    """
    shape = (getattr(image_set, part).n_images, *image_set.shape)
    labels = folder / f"{part}_labels.npy"
    whole = folder / f"{part}.npy"
    wanted = whole if n_bits == 8 else folder / f"{part}_{n_bits}bit.npy"
    if not (wanted.exists() and labels.exists()):
        from filelock import FileLock

        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / ".lock"):
                if not (whole.exists() and labels.exists()):
                    _convert(name, image_set, part, shape, whole, labels)
                if not wanted.exists():
                    chunks = _opened(whole, np.uint8, shape).split(1000)
                    _write(wanted, shape, ((chunk >> (8 - n_bits)).numpy() for chunk in chunks))  # the highest bits
        except OSError as error:
            raise DataError(f"cannot write to {folder} ({error}): RESFLOW_HOME names another place for data") from error
    return _opened(wanted, np.uint8, shape), _opened(labels, np.int64, shape[:1])


def _convert(name: str, image_set: ImageSet, part: str, shape: tuple[int, ...], images: Path, labels: Path) -> None:
    """Labels come last: where both files are, both are whole."""
    form, paths = obtain(name, image_set, getattr(image_set, part), images.parent)
    read_labels: list[np.ndarray] = []
    _write(images, shape, _images(form, paths, shape, read_labels))
    _write(labels, shape[:1], read_labels)


def _images(form: Form, paths: list[Path], shape: tuple[int, ...], labels: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Chunks of images, checked; appends their labels. Raises DataError for files that do not hold what they should."""
    from tqdm import tqdm

    n_images = 0
    try:
        with tqdm(total=shape[0], desc=f"converting {paths[0].name}", unit=" images", disable=None, leave=False) as bar:
            for images, some_labels in form.read(paths):
                if (images.dtype, images.shape[1:]) != (np.uint8, shape[1:]):
                    raise ValueError(f"images of {images.dtype} {images.shape[1:]}, expected uint8 {shape[1:]}")
                if some_labels.shape != images.shape[:1]:
                    raise ValueError(f"{len(some_labels):,} labels of {len(images):,} images")
                n_images += len(images)
                labels.append(some_labels)
                bar.update(len(images))
                yield images
        if n_images != shape[0]:
            raise ValueError(f"{n_images:,} images, expected {shape[0]:,}")
    except Exception as error:  # each reader has errors of its own
        files = ", ".join(map(str, paths))
        raise DataError(f"{files}: not the published images ({error}). Get them from {form.files[0].url}") from error


def _write(path: Path, shape: tuple[int, ...], chunks: Iterable[np.ndarray]) -> None:
    """Chunk after chunk into an .npy file, atomically: it gets its name when all is on the disk."""
    unfinished = path.with_suffix(".unfinished")
    dtype = np.dtype(np.uint8 if len(shape) > 1 else np.int64)
    with unfinished.open("wb") as file:
        header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for chunk in chunks:
            file.write(np.ascontiguousarray(chunk))
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)


def _opened(path: Path, dtype: type, shape: tuple[int, ...]) -> Tensor:
    try:
        array = np.load(path, mmap_mode="c")
        if (array.dtype, array.shape) != (dtype, shape):
            raise ValueError(f"{array.dtype} {array.shape}, expected {np.dtype(dtype)} {shape}")
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{path} is not the array that was written there ({error}). Delete it: it will be made again from the "
            "published files"
        ) from error
    return torch.from_numpy(array)
