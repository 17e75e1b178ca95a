"""The loaders, with tiny files of the format in the place of the real ones; nothing is asked of the network."""

import gzip
import hashlib
import shutil

import numpy as np
import pytest

from theorylab import data
from theorylab.data import mnist_sets

LOADERS = {"MNIST": data.mnist, "FASHION_MNIST": data.fashion_mnist}


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + np.asarray(array.shape, ">u4").tobytes() + array.tobytes()


@pytest.fixture(params=LOADERS)
def tiny(request, server, monkeypatch, tmp_path):
    """A data set of 5 + 3 pictures that the server has and the loader takes for its own; its arrays and the loader."""
    draw = np.random.default_rng(0).integers
    shapes = ((5, 28, 28), (5,), (3, 28, 28), (3,))
    arrays = [draw(0, 256 if len(shape) > 1 else 10, shape, np.uint8) for shape in shapes]
    source, files = getattr(mnist_sets, request.param), []
    for file, array in zip(source.files, arrays, strict=True):
        packed = gzip.compress(idx(array))
        server.files[f"/{file.name}.gz"] = packed
        digests = (hashlib.sha256(content).hexdigest() for content in (packed, idx(array)))
        files.append(mnist_sets.IdxFile(file.name, *digests))
    monkeypatch.setattr(mnist_sets, request.param, source._replace(mirrors=(server.address,), files=tuple(files)))
    monkeypatch.setenv("THEORYLAB_DATA", str(tmp_path / "cache"))
    return arrays, LOADERS[request.param], tmp_path / "cache" / source.folder / "raw"


def same(found, arrays):
    mine = found.train_images, found.train_labels, found.test_images, found.test_labels
    return all(np.array_equal(a, b) and a.dtype == np.uint8 for a, b in zip(mine, arrays, strict=True))


def test_first_from_the_network_then_from_the_cache(tiny, server):
    arrays, load, _ = tiny
    assert same(load(), arrays) and len(server.requests) == 4
    server.stop()
    assert same(load(), arrays) and len(load().classes) == 10


def test_it_goes_on_where_it_failed(tiny, server):
    """The files that were whole are kept; the one that was lost is asked for again."""
    arrays, load, _ = tiny
    lost = server.files.pop("/t10k-images-idx3-ubyte.gz")
    with pytest.raises(ConnectionError, match=r"t10k-images-idx3-ubyte\.gz could not be downloaded"):
        load()
    server.files["/t10k-images-idx3-ubyte.gz"] = lost
    assert same(load(), arrays)
    assert [server.requests.count(path) for path in server.files] == [1, 1, 1, 2]


@pytest.mark.parametrize("layout", ["flat", "torchvision", "unpacked", "packed anew"])
def test_a_folder_of_ones_own(layout, tiny, server, tmp_path):
    arrays, load, kept = tiny
    load()
    root = tmp_path / "mine"
    folder = root / kept.parent.name / "raw" if layout == "torchvision" else root
    shutil.copytree(kept, folder)
    for packed in folder.iterdir():
        content = gzip.decompress(packed.read_bytes())
        if layout in ("torchvision", "unpacked"):
            packed.with_suffix("").write_bytes(content)
        if layout == "unpacked":
            packed.unlink()
        if layout == "packed anew":
            packed.write_bytes(gzip.compress(content, 1, mtime=1))
    shutil.rmtree(kept)
    asked = len(server.requests)
    assert same(load(root=root), arrays) and same(load(str(root)), arrays)
    assert len(server.requests) == asked and not kept.exists()


def test_files_put_into_the_cache_by_hand(tiny, server):
    """As the error for want of a network says: packed or not, and by whatever program."""
    arrays, load, kept = tiny
    kept.mkdir(parents=True)
    for number, (path, content) in enumerate(server.files.items()):
        content = gzip.decompress(content)
        if number % 2:
            (kept / path[1:]).write_bytes(gzip.compress(content, 1, mtime=1))
        else:
            (kept / path[1:]).with_suffix("").write_bytes(content)
    assert same(load(), arrays) and not server.requests


def test_a_folder_that_lacks_a_file(tiny, tmp_path, server):
    _, load, kept = tiny
    load()
    (kept / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"has none of train-labels-idx1-ubyte\.gz, .*leave root out"):
        load(root=kept)
    assert len(server.requests) == 4


def test_files_of_another_data_set(tiny):
    """The names are the same: only the content tells them apart."""
    _, load, kept = tiny
    load()
    other = next(one for one in LOADERS.values() if one is not load)
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz: the sha256 .* another data set's"):
        other(root=kept)


def test_the_tables_name_sixteen_different_files():
    """Digests of 64 hexadecimal digits, none twice."""
    files = mnist_sets.MNIST.files + mnist_sets.FASHION_MNIST.files
    digests = [digest for file in files for digest in (file.packed, file.content)]
    assert len(set(digests)) == 16 and all(len(bytes.fromhex(digest)) == 32 for digest in digests)
    assert [file.name for file in files[:4]] == [file.name for file in files[4:]]
    assert all(mirror.endswith("/") for mirror in mnist_sets.MNIST.mirrors + mnist_sets.FASHION_MNIST.mirrors)
