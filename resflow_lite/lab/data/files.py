"""Published files: find them in a folder, download them, check that they are whole."""

import sys
from pathlib import Path

from ...errors import DataError
from .sources import Form, ImageSet, Part, SourceFile


def obtain(name: str, image_set: ImageSet, part: Part, folder: Path) -> tuple[Form, list[Path]]:
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
