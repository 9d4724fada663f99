"""A file of tensors and of facts about them: Safetensors, with a checksum of the whole among the facts."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor, contiguous_format

from ..errors import DataError
from .files import from_json, json_object, write_whole

CHECKSUM = "sha256"
"""The fact that holds the SHA-256 of the whole file, in which its own digits count as zeros. Older files have none."""
DIGITS = re.compile(rb'"\\"([0-9a-f]{64})\\""')


def write_sealed(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write a file, whole or not at all. Raises NotWritten."""
    plain = {name: t.detach().cpu().clone(memory_format=contiguous_format) for name, t in tensors.items()}
    told = {name: json.dumps(value) for name, value in ({**facts, CHECKSUM: "0" * 64}).items()}
    content = bytearray(save(plain, told))
    start, _ = _digits(content)
    content[start : start + 64] = hashlib.sha256(content).hexdigest().encode()
    write_whole(path, content)


def read_sealed(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and facts. The whole file at once: another process may replace it meanwhile. Raises DataError."""
    try:
        content = Path(path).read_bytes()
        _verify(content)
        size = int.from_bytes(content[:8], "little")
        return load(content), _facts(content[8 : 8 + size])
    except Exception as error:
        raise unreadable(path, error) from error


def read_facts(path: Path) -> dict[str, Any]:
    """The facts alone, without a look at the checksum. Raises DataError."""
    try:
        with Path(path).open("rb") as file:
            return _facts(file.read(int.from_bytes(file.read(8), "little")))
    except Exception as error:
        raise unreadable(path, error) from error


def _facts(header: bytes) -> dict[str, Any]:
    told = json_object(header)["__metadata__"]
    return {name: from_json(value) for name, value in told.items() if name != CHECKSUM}


def _digits(content: bytes) -> tuple[int, bytes]:
    """Where the digits of a file's checksum start, and which they are; (0, nothing) where it has none."""
    header = bytes(content[: 8 + int.from_bytes(content[:8], "little")])
    found = DIGITS.search(header)
    if found is None and f'"{CHECKSUM}"'.encode() in header:
        raise ValueError("its checksum is damaged")
    return (0, b"") if found is None else (found.start(1), found[1])


def _verify(content: bytes) -> None:
    start, digits = _digits(content)
    blank = content[:start] + b"0" * 64 + content[start + 64 :]
    if digits and digits.decode() != hashlib.sha256(blank).hexdigest():
        raise ValueError("its checksum is that of other content")


def unreadable(path: Path, error: Exception) -> DataError:
    """The sentence about a file that is not what fit writes."""
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path} is not a readable flow checkpoint: there is no such file; fit writes it")
    if isinstance(error, OSError):
        return DataError(f"{path} is not a readable flow checkpoint: {error.strerror}")
    told = str(error) or type(error).__name__
    return DataError(
        f"{path} is not a readable flow checkpoint ({told}): fetch it again, or remove it and train again; fit goes on "
        "from the folder's last checkpoint, where that is whole"
    )
