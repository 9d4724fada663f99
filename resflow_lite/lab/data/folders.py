"""A folder of images of one's own.

PATH/1.png ... or PATH/cat/1.png, PATH/dog/1.png ...; or either of these in PATH/train, PATH/validation and PATH/test.
Names of subfolders become labels 0, 1, ... in the order of the alphabet. Names that start with a dot are left out.

Without folders for the splits, the SHA-256 of each file's path within PATH decides: of ten images, about eight are for
training, one for validation, one for the test. So a new file moves no other. PATH/train without PATH/validation gives
about one in ten to it, in the same way.

Pixels: black and white, grey and RGB are taken as they are, a palette as its colours; an opaque alpha channel is left
out, and of 16 bits the upper 8 stay. The camera's turn (EXIF) is carried out. If all images are grey there is one
channel, else there are three. Everything else is refused, with the file's name: pixels that can be seen through (nobody
chose the colour below them), CMYK, Lab, floats, animations, images of another size than the first.
"""

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...errors import DataError
from .levels import SPLITS, Images

LIKE_SPLITS = ("training", "val", "valid", "testing", *SPLITS)
"""Names of folders that mean a split, to people; a folder so called is no kind of image."""

TENTHS = (*["train"] * 8, "validation", "test")

DARK = 2**12
"""A 16-bit image whose levels all lie below was made with 12 bits or fewer: its upper 8 bits would be nearly black."""


class _File(NamedTuple):
    path: Path
    split: str
    kind: str


def open_folder(path: str, split: str) -> Images:
    """The images of one split, 256 levels. The whole folder is read at the first call, and kept in memory.

    Raises DataError for a folder that is not there or has no images of this split, and for a file that is no image or
    cannot be taken as it is: it names the file and what to do.
    """
    try:
        folder = Path(path).expanduser().absolute()
        there = folder.is_dir()
    except (OSError, RuntimeError) as error:  # a name that is too long, a user who is not known
        raise DataError(f"folder {path[:60]!r} cannot be looked at ({error}): expected one that holds images") from None
    if not there:
        raise DataError(f"there is no folder {folder}: expected one that holds images")
    try:
        files = list(_files(folder))
        stamps = tuple((file.path, file.path.stat().st_mtime_ns, file.path.stat().st_size) for file in files)
    except (OSError, ValueError) as error:
        raise DataError(f"folder {path}: {error}") from error
    chosen = [i for i, file in enumerate(files) if file.split == split]
    if not chosen:
        told = f"none of its {len(files)} images is for {split}: add some" if files else "there are no images in it"
        raise DataError(f"{folder}: {told}; subfolders train, validation and test may say what is for what")
    kinds = sorted({file.kind for file in files} - {""})
    labels = [kinds.index(files[i].kind) if files[i].kind else -1 for i in chosen]
    return Images(_read(stamps)[chosen], torch.tensor(labels), 256)


def _files(folder: Path) -> Iterator[_File]:
    inner = {path.name for path in _entries(folder) if path.is_dir()}
    if not inner & set(SPLITS):
        for path, kind in _of_kinds(folder):
            yield _File(path, TENTHS[_tenth(path, folder)], kind)
        return
    for path in _entries(folder):
        if path.name not in SPLITS:
            raise DataError(f"{path} lies beside folders for the splits: only {', '.join(SPLITS)} may be there")
        for image, kind in _of_kinds(path):
            held_out = path.name == "train" and "validation" not in inner and _tenth(image, folder) == 9
            yield _File(image, "validation" if held_out else path.name, kind)


def _of_kinds(folder: Path) -> Iterator[tuple[Path, str]]:
    """Files of a folder with "", or those of its folders with the folders' names."""
    entries = _entries(folder)
    folders = [path for path in entries if path.is_dir()]
    if folders and len(folders) < len(entries):
        loose = next(path for path in entries if not path.is_dir())
        raise DataError(f"{loose} lies beside folders of images: put it into one of them, or out of {folder}")
    if not folders:
        yield from ((path, "") for path in entries)
    for inner in folders:
        if inner.name.lower() in LIKE_SPLITS:
            raise DataError(f"{inner}: the splits' folders are called {', '.join(SPLITS)}, in PATH alone: rename it")
        for path in _entries(inner):
            if path.is_dir():
                raise DataError(f"{path}: a folder in a folder of one kind of images; put its images one level up")
            yield path, inner.name


def _entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _tenth(path: Path, folder: Path) -> int:
    """0 ... 9 from the file's path within the folder."""
    digest = hashlib.sha256(path.relative_to(folder).as_posix().encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") % 10


@lru_cache(maxsize=2)
def _read(stamps: tuple[tuple[Path, int, int], ...]) -> Tensor:
    """All images, uint8 (N, C, H, W). stamps: files, and what changes when a file does."""
    found: list[np.ndarray] = []
    for path, *_ in stamps:
        found.append(_pixels(path))
        if found[-1].shape[1:] != found[0].shape[1:]:
            (height, width), (first_height, first_width) = found[-1].shape[1:], found[0].shape[1:]
            raise DataError(
                f"{path} has {height} x {width} pixels (height x width), but {stamps[0][0].name} has {first_height} x "
                f"{first_width}: make all images of one size"
            )
    channels = max(len(image) for image in found)
    pixels = torch.empty(len(found), channels, *found[0].shape[1:], dtype=torch.uint8)
    for part, image in zip(pixels, found):
        part.copy_(torch.from_numpy(image))  # one channel fills all three
    return pixels


def _pixels(path: Path) -> np.ndarray:
    """uint8 (1 or 3, H, W)."""
    from PIL import Image, ImageOps

    if not path.is_file():  # a pipe would be read for ever
        raise DataError(f"{path} is no file: move it away")
    try:
        with Image.open(path) as image:
            if getattr(image, "n_frames", 1) > 1:
                raise DataError(f"{path} holds {image.n_frames} images, expected one: save each as a file of its own")
            pixels = np.array(_plain(ImageOps.exif_transpose(image), path))
    except DataError:
        raise
    except Exception as error:  # each of Pillow's readers has errors of its own
        raise DataError(f"{path} is no image that Pillow reads whole ({error}): replace it, or move it away") from error
    if pixels.dtype != np.uint8:
        if 0 < pixels.max() < DARK:
            raise DataError(f"{path}: 16 bits, but no level above {pixels.max()} of 65535: save it with 8 bits")
        pixels = (pixels >> 8).astype(np.uint8)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _plain(image, path: Path):
    """A Pillow image in mode L, RGB or 16-bit grey, with the same colours. Raises DataError where there is none."""
    grey, mode = image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I;16"), image.mode
    if mode not in ("1", "L", "P", "RGB", "LA", "La", "PA", "RGBA", "RGBa", "I;16", "I;16L", "I;16B"):
        raise DataError(f"{path}: mode {mode}, expected grey, RGB or a palette, of 1, 8 or 16 bits: save it as RGB")
    if "A" in mode.upper() or "transparency" in image.info:
        image = image.convert("LA" if grey else "RGBA")
        if image.getchannel("A").getextrema()[0] < 255:
            raise DataError(
                f"{path}: some of its pixels can be seen through: lay it on a ground of your choice, and save it "
                "without transparency"
            )
    if mode.startswith("I;16"):
        return image
    return image.convert("L" if grey else "RGB")
