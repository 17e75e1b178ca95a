"""Arrays written by the format's description come back; anything else is told apart."""

import gzip
import hashlib

import numpy as np
import pytest

from theorylab import data

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def written(array):
    header = bytes([0, 0, CODES[array.dtype.str[1:]], array.ndim]) + np.asarray(array.shape, ">u4").tobytes()
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.fixture
def read(tmp_path):
    def read(content, **keywords):
        (tmp_path / "file").write_bytes(content)
        return data.read_idx(tmp_path / "file", **keywords)

    return read


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("shape", [(5,), (2, 3, 4), (0, 3), ()])
def test_it_reads_what_the_format_says(dtype, shape, read):
    array = np.asarray(np.arange(np.prod(shape, dtype=int)).reshape(shape) * 97 - 60, dtype)
    for content in (written(array), gzip.compress(written(array))):
        found = read(content)
        assert found.dtype == np.dtype(dtype) and found.dtype.isnative and found.flags.writeable
        assert found.shape == shape and np.array_equal(found, array)


def test_the_checksum_is_of_what_is_inside(read):
    content = written(np.arange(5, dtype="u1"))
    digest = hashlib.sha256(content).hexdigest()
    for packed in (content, gzip.compress(content, mtime=0), gzip.compress(content, 1, mtime=1)):
        assert read(packed, sha256=digest).tolist() == [0, 1, 2, 3, 4]
    other = written(np.arange(1, 6, dtype="u1"))
    expected = f"content is {hashlib.sha256(other).hexdigest()} where {digest} is expected"
    with pytest.raises(ValueError, match=f"file: the sha256 of its {expected}"):
        read(other, sha256=digest)


WHOLE = written(np.arange(12, dtype="i2").reshape(3, 4))


@pytest.mark.parametrize(
    "content, words",
    [
        (WHOLE[:-1], r"has 35 bytes, unpacked, where its header promises 36, an array of shape \(3, 4\)"),
        (WHOLE + b"\0", "has 37 bytes"),
        (WHOLE[:9], "has 9 bytes"),
        (gzip.compress(WHOLE, mtime=0)[:-9], "cannot be unpacked"),
        (gzip.compress(WHOLE, mtime=0)[:-8] + bytes(8), "cannot be unpacked"),
        (gzip.compress(WHOLE, mtime=0)[:12] + b"\xff" * 20, "cannot be unpacked"),
        (b"<html>", "is no IDX file, it begins with 3c 68 74 6d"),
        (b"\0\0\x0a\1\0\0\0\0", "is no IDX file"),
        (b"", "it begins with nothing"),
    ],
)
def test_other_files(content, words, read):
    with pytest.raises(ValueError, match=rf"file.*{words}.*: put a whole one in its place"):
        read(content)
