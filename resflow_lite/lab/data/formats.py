"""Readers of published image files.

Each takes the paths of the files and yields chunks: images, uint8 (n, C, H, W), and labels, int64 (n,). A set without
labels gets -1. A file that is not what it should be raises some error; the caller says which file it was.
"""

import gzip
import io
import math
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np

Chunk = tuple[np.ndarray, np.ndarray]
Reader = Callable[[list[Path]], Iterator[Chunk]]


def read_idx(paths: list[Path]) -> Iterator[Chunk]:
    """The gzipped IDX files of MNIST: one of images, one of labels."""
    images, labels = (_idx(gzip.decompress(path.read_bytes())) for path in paths)
    yield images[:, None], labels.astype(np.int64)


def _idx(data: bytes) -> np.ndarray:
    """Two zero bytes, the type (8: bytes), the number of axes, their lengths as big-endian uint32, the values."""
    zero, kind, n_axes = struct.unpack_from(">HBB", data)
    if (zero, kind) != (0, 8):
        raise ValueError("not an IDX file of bytes")
    shape = struct.unpack_from(f">{n_axes}I", data, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * n_axes).reshape(shape)


def read_cifar(paths: list[Path]) -> Iterator[Chunk]:
    """The binary version of CIFAR-10, files of records: a byte of label, 3 x 32 x 32 bytes of image."""
    return (_cifar_records(path.read_bytes()) for path in paths)


def read_cifar_archive(members: list[str]) -> Reader:
    """The same from the archive cifar-10-binary.tar.gz."""

    def read(paths: list[Path]) -> Iterator[Chunk]:
        with tarfile.open(paths[0]) as archive:
            for member in members:
                yield _cifar_records(archive.extractfile(member).read())

    return read


def _cifar_records(data: bytes) -> Chunk:
    records = np.frombuffer(data, np.uint8).reshape(-1, 1 + 3 * 32 * 32)
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].astype(np.int64)


def read_mat(paths: list[Path]) -> Iterator[Chunk]:
    """SVHN's MATLAB file: X (H, W, C, N) and y from 1 to 10, where 10 is the digit 0."""
    from scipy.io import loadmat

    content = loadmat(paths[0], variable_names=["X", "y"])
    yield content["X"].transpose(3, 2, 0, 1), content["y"].ravel().astype(np.int64) % 10


def read_npz_archive(paths: list[Path]) -> Iterator[Chunk]:
    """The official downsampled ImageNet: a zip of npz files, each with data (n, 3 H W) and labels from 1 to 1,000."""
    with zipfile.ZipFile(paths[0]) as archive:
        members = [name for name in archive.namelist() if name.endswith(".npz")]
        for member in sorted(members, key=lambda name: (len(name), name)):  # batch 10 comes after batch 9
            with np.load(io.BytesIO(archive.read(member)), allow_pickle=False) as content:
                images, labels = content["data"], content["labels"]
            side = math.isqrt(images.shape[1] // 3)
            yield images.reshape(-1, 3, side, side), np.asarray(labels, np.int64) - 1


def read_png_archive(paths: list[Path]) -> Iterator[Chunk]:
    """A tar archive of PNG images without labels, in the order of the archive."""
    return _unlabelled(_decoded(file.read()) for _, file in _members(paths[0], ".png"))


def read_folder(paths: list[Path]) -> Iterator[Chunk]:
    """A folder of PNG or JPEG images without labels, in the order of their names."""
    files = sorted(path for path in paths[0].iterdir() if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
    return _unlabelled(_decoded(path.read_bytes()) for path in files)


def read_tfrecord_archive(folder: str) -> Reader:
    """Glow's CelebA-HQ: an archive with TFRecord files of tf.train.Example messages in folders; those of one folder."""

    def read(paths: list[Path]) -> Iterator[Chunk]:
        shards = (file for name, file in _members(paths[0], ".tfrecords") if f"/{folder}/" in name)
        return _unlabelled(_example_image(record) for shard in shards for record in _records(shard))

    return read


def _members(path: Path, suffix: str) -> Iterator[tuple[str, IO[bytes]]]:
    """Names and contents of an archive's files with one ending, in one pass over it."""
    with tarfile.open(path, "r|*") as archive:
        while member := archive.next():
            archive.members.clear()  # tarfile would keep what it has seen, a GB for a million images
            if member.isfile() and member.name.endswith(suffix):
                yield member.name, archive.extractfile(member)


def _decoded(data: bytes) -> np.ndarray:
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB")).transpose(2, 0, 1)


def _unlabelled(images: Iterable[np.ndarray]) -> Iterator[Chunk]:
    images = iter(images)
    while chunk := list(islice(images, 500)):
        yield np.stack(chunk), np.full(len(chunk), -1, np.int64)


def _records(file: IO[bytes]) -> Iterator[bytes]:
    """TFRecord: length (uint64), its masked CRC-32C, the data, the data's masked CRC-32C; all little-endian.

    The CRC of the length is checked, which finds a reader that is out of step; that of the data is not, for in Python
    it would take hours.
    """
    while header := file.read(12):
        length, check = struct.unpack("<QI", header)
        if _masked_crc32c(header[:8]) != check:
            raise ValueError("not a TFRecord file")
        data = file.read(length)
        if len(data) + len(file.read(4)) != length + 4:
            raise EOFError("a TFRecord file is cut")
        yield data


def _masked_crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _example_image(record: bytes) -> np.ndarray:
    """The image of a tf.train.Example: its feature "data" holds the bytes of (H, W, 3), H = W."""
    for _, features in _fields(record):
        for _, entry in _fields(features):
            name, feature = (value for _, value in _fields(entry))
            if name == b"data":
                data = next(value for _, values in _fields(feature) for _, value in _fields(values))
                side = math.isqrt(len(data) // 3)
                return np.frombuffer(data, np.uint8).reshape(side, side, 3).transpose(2, 0, 1)
    raise ValueError("a record without image data")


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Numbers and values of the length-delimited fields of a protobuf message, the only kind that these nest."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        if key & 7 != 2:
            raise ValueError("not a tf.train.Example")
        length, at = _varint(message, at)
        yield key >> 3, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """An integer in groups of seven bits, the lowest first, and the position after it."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
