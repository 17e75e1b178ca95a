"""A download is whole and what it should be, or it is not there; what is there needs no network."""

import hashlib
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from theorylab import data
from theorylab.data import download

CONTENT = bytes(range(256)) * 4096  # a mebibyte: several blocks
CHECKSUM = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
CLOSED = "http://127.0.0.1:9/"  # the discard port, where nothing answers


@pytest.fixture
def get(server, tmp_path):
    """`fetch` of the file that the server has, into a folder that is not there yet."""
    server.files["/file"] = CONTENT

    def get(*mirrors, checksum=CHECKSUM):
        return data.fetch("file", mirrors=mirrors or [server.address], checksum=checksum, folder=tmp_path / "a" / "b")

    return get


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_it_is_downloaded_once(get, server, tmp_path):
    path = get()
    assert path == tmp_path / "a" / "b" / "file" and path.read_bytes() == CONTENT and names(path.parent) == ["file"]
    server.stop()
    assert get() == path and server.requests == ["/file"]


def test_md5_is_a_checksum_too(get):
    md5 = "md5:" + hashlib.md5(CONTENT).hexdigest()
    with pytest.raises(ConnectionError, match=f"its checksum is {md5} where md5:0 is expected"):
        get(checksum="md5:0")
    assert get(checksum=md5) == get(checksum=md5) == get()


def test_the_next_mirror_helps_out(get, server):
    assert get(CLOSED, server.address + "not/here/", server.address).read_bytes() == CONTENT
    assert server.requests == ["/not/here/file", "/file"]


def test_without_network_it_says_what_it_tried_and_what_helps(get, server, tmp_path):
    with pytest.raises(ConnectionError) as caught:
        get(CLOSED, server.address + "not/here/")
    said = str(caught.value)
    for word in ("file could not be", f"{CLOSED}file: ", "404", f"put it into {tmp_path / 'a' / 'b'}", "as root="):
        assert word in said


@pytest.mark.parametrize("fault", ["checksum", "cut"])
def test_what_fails_leaves_nothing_and_the_next_call_heals_it(fault, get, server, tmp_path):
    words = "its checksum is sha256:.* where sha256:.* is expected"
    if fault == "cut":
        server.cut, words = 300_000, "it ended after 300,000 of 1,048,576 bytes"
    else:
        server.files["/file"] = CONTENT[::-1]
    with pytest.raises(ConnectionError, match=words):
        get()
    assert names(tmp_path / "a" / "b") == []
    server.cut, server.files["/file"] = None, CONTENT
    assert get().read_bytes() == CONTENT


def test_a_damaged_file_is_found_out_and_not_replaced_unasked(get, server):
    path = get()
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(ValueError, match=r"file has the checksum sha256:.* is expected: delete it") as caught:
        get()
    assert str(path) in str(caught.value) and CHECKSUM in str(caught.value)
    path.unlink()
    assert get().read_bytes() == CONTENT and len(server.requests) == 2


def test_several_at_once(get, server):
    """Each one's body is held back until all have asked, so that all of them write."""
    together = threading.Barrier(4, timeout=60)
    server.before = together.wait
    with ThreadPoolExecutor(4) as pool:
        paths = [pool.submit(get) for _ in range(4)]
    (path,) = {future.result() for future in paths}
    assert path.read_bytes() == CONTENT and names(path.parent) == ["file"] and len(server.requests) == 4


def test_a_process_that_is_killed_half_way(get, server, tmp_path):
    """What it leaves does not bear the name, and the next call is not disturbed by it."""
    asked, go = threading.Event(), threading.Event()

    def before():
        asked.set()
        go.wait(60)

    server.before = before
    code = f"""
from theorylab.data import fetch
fetch("file", mirrors=[{server.address!r}], checksum={CHECKSUM!r}, folder={str(tmp_path / "a" / "b")!r})
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=Path(data.__file__).parents[2]) as process:
        try:
            assert asked.wait(60)
            while not list(tmp_path.glob("a/b/.file.*.tmp")):  # the file is opened when the head of the answer is there
                assert process.poll() is None
        finally:
            process.send_signal(signal.SIGKILL)
    server.before = lambda: None
    go.set()
    assert not (tmp_path / "a" / "b" / "file").exists()
    assert get().read_bytes() == CONTENT


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("THEORYLAB_DATA", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert data.cache_folder() == tmp_path / ".cache" / "theorylab" / "data"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert data.cache_folder() == tmp_path / "xdg" / "theorylab" / "data"
    monkeypatch.setenv("THEORYLAB_DATA", "~/sets")
    assert data.cache_folder() == tmp_path / "sets"


def test_finding(tmp_path):
    (tmp_path / "b").write_bytes(b"")
    assert download.find(str(tmp_path), ["a", "b", "c"]) == tmp_path / "b"
    with pytest.raises(FileNotFoundError, match=r"root = '.*' has none of a, c: name a folder"):
        download.find(tmp_path, ["a", "c"])
