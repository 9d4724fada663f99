"""Published images: found or downloaded, verified, and converted once to arrays that open without being read."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...errors import DataError
from ..files import whole
from .sources import Form, ImageSet, Part, SourceFile


def open_images(name: str, image_set: ImageSet, part: str, folder: Path, n_bits: int) -> tuple[Tensor, Tensor]:
    """Images, uint8 (N, C, H, W), and labels, int64 (N,), of the "train" or "test" part, as memory maps.

    The array of all 8 bits is made at the first call from the published files, one of fewer bits from that array. A
    file lock lets one process at a time make arrays in a folder, and an array gets its name only when it is whole: many
    processes may start at once, and any may be killed. Who writes to the tensors changes a copy in memory.

    Raises DataError for a file that is missing or not what it should be, and for a folder that cannot be written.
    """
    shape = (getattr(image_set, part).n_images, *image_set.shape)
    labels = folder / f"{part}_labels.npy"
    array = folder / f"{part}.npy"
    wanted = array if n_bits == 8 else folder / f"{part}_{n_bits}bit.npy"
    if not (wanted.exists() and labels.exists()):
        from filelock import FileLock

        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / ".lock"):
                if not (array.exists() and labels.exists()):
                    _convert(name, image_set, part, shape, array, labels)
                if not wanted.exists():
                    chunks = _opened(array, np.uint8, shape).split(1000)
                    _write(wanted, shape, ((chunk >> (8 - n_bits)).numpy() for chunk in chunks))  # the highest bits
        except OSError as error:
            raise DataError(f"cannot write to {folder} ({error}): RESFLOW_HOME names another place for data") from error
    return _opened(wanted, np.uint8, shape), _opened(labels, np.int64, shape[:1])


def _convert(name: str, image_set: ImageSet, part: str, shape: tuple[int, ...], images: Path, labels: Path) -> None:
    """Labels come last: where both files are, both are whole."""
    form, paths = _obtain(name, image_set, getattr(image_set, part), images.parent)
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
    dtype = np.dtype(np.uint8 if len(shape) > 1 else np.int64)
    with whole(path) as file:
        np.lib.format.write_array_header_1_0(file, dict(descr=dtype.str, fortran_order=False, shape=shape))
        for chunk in chunks:
            file.write(np.ascontiguousarray(chunk))


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


def _obtain(name: str, image_set: ImageSet, part: Part, folder: Path) -> tuple[Form, list[Path]]:
    """A form of the part whose files lie verified in the folder, and their paths; downloads what may be downloaded.

    Raises DataError for a file that is missing, cut or not the published one: which, what was expected, where it is.
    """
    form = next((form for form in part.forms if all((folder / file.name).exists() for file in form.files)), None)
    if form is None:
        form, wanted = part.forms[0], _wanted(image_set, folder)
        if image_set.by_hand:
            raise DataError(
                f"{name} cannot be downloaded without you. Put into {folder}\n{wanted}\n{image_set.by_hand}\n"
                f"Then run: python -m resflow_lite fetch {name}"
            )
        for file in form.files:
            if not (folder / file.name).exists():
                try:
                    _download(file, folder)
                except (ValueError, OSError) as error:  # a wrong checksum; a network or a disk that fails
                    raise DataError(
                        f"{file.url} could not be downloaded ({error}). On a machine with internet run: python -m "
                        f"resflow_lite fetch {name}. Or put by hand into {folder}\n{wanted}"
                    ) from error
    for file in form.files:
        _verify(folder / file.name, file)
    return form, [folder / file.name for file in form.files]


def _wanted(image_set: ImageSet, folder: Path) -> str:
    """The missing files of both parts, one a line."""
    files = dict.fromkeys(image_set.train.forms[0].files + image_set.test.forms[0].files)
    missing = [file for file in files if not (folder / file.name).exists()]
    return "\n".join(f"  {file.name} ({_expected(file)}) from {file.url}" for file in missing)


def _expected(file: SourceFile) -> str:
    return "size and checksum not published" if file.size is None else f"{file.size:,} bytes, SHA-256 {file.sha256}"


def _download(file: SourceFile, folder: Path) -> None:
    """Into the folder under its name only when it is whole and right; two more tries after a failure."""
    import pooch

    registry, urls = {file.name: f"sha256:{file.sha256}"}, {file.name: file.url}
    source = pooch.create(path=folder, base_url="", registry=registry, urls=urls, retry_if_failed=2)
    source.fetch(file.name, downloader=pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=60))


def _verify(path: Path, file: SourceFile) -> None:
    import pooch

    found, size = "", path.stat().st_size
    if file.size not in (None, size):
        found = f"{size:,} bytes"
    elif file.size and (digest := pooch.file_hash(str(path), alg="sha256")) != file.sha256:
        found = f"SHA-256 {digest}"
    if found:
        raise DataError(f"{path} has {found}, expected {_expected(file)}. Delete it and get it again from {file.url}")
