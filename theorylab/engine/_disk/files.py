"""Files that are written whole or not at all, and are read with a look at what they hold; nothing is unpickled."""

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np


class StoreError(ValueError):
    """A store that does not fit what is asked of it, or is damaged."""


def write(path: Path, save: Callable[[Any], None]) -> None:
    """Write a file whole or not at all: temporary name, fsync, rename.

    **Raises** `OSError` with the cure when the disk refuses; what stood before still stands.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            save(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(
            error.errno,
            f"store: {path} could not be written ({error.strerror}). What was written before is whole: make room and"
            " run the same call again to go on.",
        ) from error


def write_json(path: Path, content: Any) -> None:
    write(path, lambda file: file.write(json.dumps(content, indent=1, allow_nan=False).encode()))


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    content = {**arrays, "sha256": np.frombuffer(_digest(arrays), np.uint8)}
    write(path, lambda file: np.savez(file, allow_pickle=False, **content))


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file, after a look at its checksum.

    **Raises** `StoreError` when it is truncated or altered.
    """
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        if arrays.pop("sha256").tobytes() == _digest(arrays):
            return arrays
        reason = "its checksum does not fit its content"
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        reason = str(error)
    raise StoreError(
        f"store: {path} is damaged ({reason}). Delete this file and run the same call again: only its lanes are"
        " computed anew"
    )


def _digest(arrays: Mapping[str, np.ndarray]) -> bytes:
    content = hashlib.sha256()
    for name in sorted(arrays):
        x = np.ascontiguousarray(arrays[name])
        content.update(f"{name} {x.dtype.str} {x.shape} ".encode())
        content.update(x.tobytes())
    return content.digest()


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise StoreError(f"store: {path} cannot be read ({error}); is {path.parent} a theorylab store?") from error
