"""Files of a run: written whole or not at all, and read with a sentence where they are not what they were."""

import errno
import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NoReturn

from ..errors import DataError, ResflowError

FULL = (errno.ENOSPC, errno.EDQUOT)


class NotWritten(ResflowError, OSError):
    """The system would not write a file: a full disk, a folder that is read-only. What was written before is kept."""


@contextmanager
def writing(path: Path, size: int | None = None) -> Iterator[None]:
    """Inside, whatever the system says against writing this file of so many bytes becomes a NotWritten that names it,
    and how much room was missing."""
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        reason = getattr(error, "strerror", None) or error
        if size is not None and getattr(error, "errno", None) in FULL:
            missing = size - shutil.disk_usage(path.parent).free
            reason = f"{reason}: {size:,} bytes to write" + f", {missing:,} more than are free" * (missing > 0)
        told = f"{path} cannot be written ({reason}): what was written before is kept; make room, or choose another"
        raise NotWritten(f"{told} folder, and give the same command again") from error


@contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to, which has its name when all of it is on the disk, and not before."""
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        with unfinished.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, whatever happens meanwhile. Raises NotWritten."""
    with writing(path, len(content)), whole(path) as file:
        file.write(content)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, whole or not at all. Raises NotWritten."""
    write_whole(path, (as_json(content, indent=1) + "\n").encode())


def add_line(path: Path, row: dict[str, Any]) -> None:
    """Add a JSON line to a file, whole or not at all; half a line that a killed process has left goes first."""
    line = (as_json(row) + "\n").encode()
    with writing(path, len(line)):
        drop_half_line(path)
        with path.open("ab") as file:
            size = file.tell()
            try:
                file.write(line)
                file.flush()
            except OSError:
                os.truncate(path, size)
                raise


def drop_half_line(path: Path) -> bool:
    """Cut the end of a file of lines after its last whole one; whether there was something to cut."""
    content = path.read_bytes() if path.exists() else b""
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
    return whole < len(content)


def as_json(value: Any, indent: int | None = None) -> str:
    """JSON as everybody reads it: a number that is not finite becomes null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises DataError, with its name, for a file that is missing, damaged or another."""
    try:
        return json_object(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read ({_told(error)}): expected JSON of names and values; mend or remove it"
        ) from None


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON lines of a file, which need not exist; a last line that is still being written is left out.

    Raises DataError, with the file and the line, for one that is none."""
    try:
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    except OSError as error:
        raise DataError(f"{path} cannot be read ({_told(error)}): expected a file of lines") from None
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found += [json_object(line.decode())] if line.endswith(b"\n") else []
        except ValueError as error:
            told = f"{path}, line {number} is damaged ({_told(error)})"
            raise DataError(f"{told}: remove this line; the weights do not need it") from None
    return found


def json_object(text: str | bytes, **how: Any) -> dict[str, Any]:
    """The object that a JSON text holds. Raises ValueError where it holds another thing, and as from_json."""
    found = from_json(text, **how)
    if not isinstance(found, dict):
        raise ValueError(f"it holds {'null' if found is None else type(found).__name__}")
    return found


def from_json(text: str | bytes, **how: Any) -> Any:
    """The value of a JSON text. Raises ValueError for what is none, is nested too deep or gives a key twice."""
    try:
        return json.loads(text, object_pairs_hook=_once, **how)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} is given twice")
        found[name] = value
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _told(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error)
