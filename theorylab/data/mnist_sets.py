"""MNIST and Fashion-MNIST: 70,000 grey pictures of 28 x 28 pixels each, in ten classes, as four IDX files."""

import os
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from .download import cache_folder, fetch, find
from .idx import read_idx


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """Labelled pictures, to train on and to test on, as NumPy arrays on the host.

    **Arguments**: `train_images` (n, *pixels) and `train_labels` (n,), `test_images` (k, *pixels) and `test_labels`
    (k,), all uint8: values from 0 to 255, and indices into `classes`, the names of the classes. The pixels of MNIST and
    its relatives are (28, 28).

    **Source**: derived here.

        >>> import numpy as np, theorylab as tl
        >>> images, labels = np.full((2, 28, 28), 51, np.uint8), np.asarray([1, 0], np.uint8)
        >>> data = tl.data.ImageDataset(images, labels, images[:1], labels[:1], ("cat", "dog"))
        >>> x = data.train_images.reshape(-1, 784) / np.float32(255)  # rows of features from 0 to 1
        >>> x.shape, x.dtype, data.classes[data.train_labels[0]]
        ((2, 784), dtype('float32'), 'dog')
    """

    train_images: UInt8[np.ndarray, " n *pixels"]
    train_labels: UInt8[np.ndarray, " n"]
    test_images: UInt8[np.ndarray, " k *pixels"]
    test_labels: UInt8[np.ndarray, " k"]
    classes: tuple[str, ...]


class IdxFile(NamedTuple):
    """A file by its name, unpacked, with the sha256 of the gzipped file as published, and of what it unpacks to.

    Files packed anew, by a Linux distribution for example, share the second alone.
    """

    name: str
    packed: str
    content: str


class Source(NamedTuple):
    """Where four files come from, in the order of `ImageDataset`; `folder` is torchvision's name of the data set."""

    folder: str
    mirrors: tuple[str, ...]
    files: tuple[IdxFile, ...]
    classes: tuple[str, ...]


MNIST = Source(
    "MNIST",
    ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
    (
        IdxFile(
            "train-images-idx3-ubyte",
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        IdxFile(
            "train-labels-idx1-ubyte",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        IdxFile(
            "t10k-images-idx3-ubyte",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        IdxFile(
            "t10k-labels-idx1-ubyte",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    tuple("0123456789"),
)

FASHION_MNIST = Source(
    "FashionMNIST",
    (
        # the bucket's web site answers without encryption alone: the checksum vouches for the files
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    (
        IdxFile(
            "train-images-idx3-ubyte",
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        IdxFile(
            "train-labels-idx1-ubyte",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
        IdxFile(
            "t10k-images-idx3-ubyte",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        IdxFile(
            "t10k-labels-idx1-ubyte",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
    ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)


def mnist(root: str | os.PathLike[str] | None = None) -> ImageDataset:
    """MNIST: handwritten digits, 60,000 to train on and 10,000 to test on.

    Downloaded once, 11 MB, into `cache_folder()`. Every reading tests the checksums.

    **Arguments**: `root`, a folder that holds the four official files, gzipped or not, itself or as torchvision lays
    them down, in `MNIST/raw`; with it nothing is downloaded.

    **Returns** an `ImageDataset`, whose labels are the digits.

    **Raises** `ConnectionError` where the files are neither there nor to be had, `FileNotFoundError` where `root` lacks
    one, `ValueError` for a file with another checksum.

    **Source**: LeCun, Bottou, Bengio, Haffner (1998), Gradient-based learning applied to document recognition. The
    files are those of the mirrors that torchvision and TensorFlow Datasets use.

        >>> import theorylab as tl
        >>> tl.data.mnist(root="a folder without it")
        Traceback (most recent call last):
        ...
        FileNotFoundError: root = 'a folder without it' has none of train-images-idx3-ubyte.gz, ...
    """
    return _load(MNIST, root)


def fashion_mnist(root: str | os.PathLike[str] | None = None) -> ImageDataset:
    """Fashion-MNIST: pictures of clothes, 60,000 to train on and 10,000 to test on, in the format of MNIST.

    Downloaded once, 30 MB, into `cache_folder()`. Every reading tests the checksums.

    **Arguments**: `root`, a folder that holds the four official files, gzipped or not, itself or as torchvision lays
    them down, in `FashionMNIST/raw`; with it nothing is downloaded.

    **Returns** an `ImageDataset`.

    **Raises** as `mnist` does.

    **Source**: Xiao, Rasul, Vollgraf (2017), arXiv 1708.07747.

        >>> import theorylab as tl
        >>> tl.data.fashion_mnist(root="a folder without it")
        Traceback (most recent call last):
        ...
        FileNotFoundError: root = 'a folder without it' has none of train-images-idx3-ubyte.gz, ...
    """
    return _load(FASHION_MNIST, root)


def _load(source: Source, root: str | os.PathLike[str] | None) -> ImageDataset:
    images, labels, more_images, more_labels = (
        read_idx(_path(source, file, root), sha256=file.content) for file in source.files
    )
    return ImageDataset(images, labels, more_images, more_labels, source.classes)


def _path(source, file, root):
    packed, layout = f"{file.name}.gz", f"{source.folder}/raw/"
    if root is not None:
        return find(root, (packed, file.name, layout + packed, layout + file.name))
    folder = cache_folder() / layout
    for kept in (folder / packed, folder / file.name):
        if kept.is_file():
            return kept
    return fetch(packed, mirrors=source.mirrors, checksum=f"sha256:{file.packed}", folder=folder)
