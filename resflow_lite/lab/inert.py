"""Files of torch.save, read without running anything that they name.

A pickle is a program: it names functions, and the usual reader imports and calls them. `read_inert` imports nothing. It
knows plain values and tensors, makes an empty shell of every class that it is told of, and refuses all other names.

torch.load(weights_only=True) does the same for the zip archives that torch writes since 1.6, but refuses what was
written before whenever a module is inside; this reads both.
"""

import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from ..errors import DataError

MAGIC = 0x1950A86A20F9469CFC6C
"""The first pickle of a file that is no archive."""
KINDS = dict(Float="float32", Double="float64", Half="float16", BFloat16="bfloat16", Bool="bool", Byte="uint8")
KINDS |= dict(Char="int8", Short="int16", Int="int32", Long="int64")
CODES = set("PROTO STOP MARK GLOBAL REDUCE NEWOBJ BUILD BINPERSID TUPLE TUPLE1 TUPLE2 TUPLE3 NONE NEWTRUE".split())
CODES |= set("NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE EMPTY_TUPLE EMPTY_LIST EMPTY_DICT".split())
CODES |= set("APPEND APPENDS SETITEM SETITEMS BINPUT LONG_BINPUT BINGET LONG_BINGET".split())
"""The instructions that torch.save writes; others can take all memory."""
DTYPES = {f"torch.{kind}Storage": getattr(torch, name) for kind, name in KINDS.items()}


class Shell:
    """Stands for an object whose class is not imported: it has the attributes of the file, and does nothing."""

    def __init__(self, *_: Any) -> None: ...


def read_inert(path: Path | str, known: Callable[[str], bool]) -> Any:
    """What torch.save wrote into a file; tensors on the CPU. known: whether a class of this name becomes a Shell.

    Raises DataError for a file that is missing, damaged or none of torch.save, and for one that names anything else.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            zipped = file.read(4) == b"PK\3\4"
            file.seek(0)
            return _read_archive(file, known, path) if zipped else _read_stream(file, known, path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a pickle that is no longer what it was fails in any way at all
        told = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{path} is not read ({told}): expected what torch.save wrote, whole; fetch it again"
        ) from error


def _read_archive(file: IO[bytes], known: Callable[[str], bool], path: Path) -> Any:
    with zipfile.ZipFile(file) as archive:
        (pickled,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        if any(record.compress_type != zipfile.ZIP_STORED for record in archive.infolist()):
            raise ValueError("it is compressed, which torch.save never does")
        reader, found = _load(BytesIO(archive.read(pickled)), known, path.stat().st_size)
        for key, numbers in reader.storages.items():
            _fill_(numbers, archive.read(f"{pickled.removesuffix('.pkl')}/{key}"))
    return found


def _read_stream(file: IO[bytes], known: Callable[[str], bool], path: Path) -> Any:
    """Pickles one after the other, the third of them the object; then each storage, its length before it."""
    size = path.stat().st_size
    plain = [_load(file, lambda name: False, size)[1] for _ in range(3)]
    if plain[:2] != [MAGIC, 1001] or not plain[2]["little_endian"]:
        raise ValueError("its beginning is another")
    reader, found = _load(file, known, size)
    for key in _load(file, lambda name: False, size)[1]:
        numbers = reader.storages[key]
        if int.from_bytes(file.read(8), "little") != len(numbers):
            raise ValueError("it ends early, or holds other numbers than it says")
        _fill_(numbers, file.read(numbers.nbytes))
    return found


def _fill_(numbers: Tensor, content: bytes) -> None:
    if len(content) != numbers.nbytes:
        raise ValueError("it ends early, or holds other numbers than it says")
    if content:
        numbers.copy_(torch.frombuffer(bytearray(content), dtype=numbers.dtype))


def _load(file: IO[bytes], known: Callable[[str], bool], largest: int) -> tuple["_Reader", Any]:
    """The next pickle of a file and the reader that read it."""
    start, kept = file.tell(), 0
    for code, told, _ in pickletools.genops(file):
        if code.name not in CODES or code.name.endswith("PUT") and told > kept:
            raise pickle.UnpicklingError(f"{code.name} {told} has no place in it")
        kept += code.name.endswith("PUT")
    file.seek(start)
    reader = _Reader(file, known, largest)
    return reader, reader.load()


class _Reader(pickle.Unpickler):
    """storages: the numbers of the tensors by key, to be filled; largest: bytes of them together, at most."""

    def __init__(self, file: IO[bytes], known: Callable[[str], bool], largest: int) -> None:
        super().__init__(file)
        self.known, self.left = known, largest
        self.storages: dict[str, Tensor] = {}
        self.shell = type("Shell", (Shell,), {})  # of this file alone, as a pickle may set attributes of a class

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        plain = {"collections.OrderedDict": OrderedDict, "builtins.set": set, "__builtin__.set": set}
        plain |= {"torch._utils._rebuild_tensor_v2": self._tensor, "torch._utils._rebuild_parameter": self._parameter}
        found = (plain | DTYPES).get(full, self.shell if self.known(full) else None)
        if found is None:
            raise pickle.UnpicklingError(f"it asks for {full!r}, which has no place in it; nothing of it was run")
        return found

    def persistent_load(self, told: Any) -> Any:
        """A storage, or of a file that is no archive a class with its source."""
        if told[0] == "module":
            return told[1]
        kind, dtype, key, _, length, *view = told
        if kind != "storage" or any(view):
            raise pickle.UnpicklingError(f"it refers to a {kind!r} outside")
        if key not in self.storages:
            self.left -= length * dtype.itemsize
            if length < 0 or self.left < 0:
                raise pickle.UnpicklingError("it tells of more numbers than it has room for")
            self.storages[key] = torch.empty(length, dtype=dtype)
        return self.storages[key]

    def _tensor(self, storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
        return storage.as_strided(size, stride, offset)

    def _parameter(self, data: Tensor, *_: Any) -> Tensor:
        return data
