"""The IDX format of MNIST and its relatives: an array behind a header of four bytes and its sides."""

import gzip
import hashlib
import os
import zlib
from math import prod
from pathlib import Path

import numpy as np

GZIP = b"\x1f\x8b"
DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
CURE = "put a whole one in its place (in theorylab's cache: delete it, and it is downloaded anew)"


def read_idx(path: str | os.PathLike[str], *, sha256: str | None = None) -> np.ndarray:
    """The array in an IDX file, gzipped or not.

    **Arguments**: `path`, of the file; `sha256`, in hexadecimal digits, that its content must have, unpacked: the same
    for every way of packing it.

    **Returns** the array, of the shape and the type that the file says, in this machine's byte order.

    **Raises** `ValueError` for a file that is truncated, damaged or of another format, and for another checksum.

    **Source**: the format as given with MNIST by LeCun, Cortes and Burges.

        >>> import pathlib, tempfile, theorylab as tl
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "labels-idx1-ubyte"
        >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))  # unsigned bytes, one axis, of length 3
        >>> tl.data.read_idx(path)
        array([7, 2, 1], dtype=uint8)
    """
    content = _unpack(Path(path))
    if sha256 is not None and (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise ValueError(
            f"{path}: the sha256 of its content is {found} where {sha256} is expected, so that it is damaged or another"
            f" data set's: {CURE}"
        )
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in DTYPES:
        raise ValueError(f"{path} is no IDX file, it begins with {content[:4].hex(' ') or 'nothing'}: {CURE}")
    dtype, header = np.dtype(DTYPES[content[2]]), 4 + 4 * content[3]
    shape = tuple(np.frombuffer(content[4:header].ljust(header - 4, b"\0"), ">u4").tolist())
    expected = header + prod(shape) * dtype.itemsize
    if len(content) != expected:
        raise ValueError(
            f"{path} has {len(content):,} bytes, unpacked, where its header promises {expected:,}, an array of shape"
            f" {shape}: {CURE}"
        )
    return np.frombuffer(content, dtype, offset=header).reshape(shape).astype(dtype.newbyteorder("="))


def _unpack(path: Path) -> bytes:
    content = path.read_bytes()
    if not content.startswith(GZIP):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} cannot be unpacked ({error}): {CURE}") from error
