"""The guide's blocks run as they stand, and print what the text around them says."""

import hashlib
import re

import jax
import numpy as np
import pytest

from theorylab.data import mnist_sets


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + np.asarray(array.shape, ">u4").tobytes() + array.tobytes()


@pytest.fixture(scope="module")
def guide(guide_blocks, run_block):
    """The names that the blocks leave behind, all but the last, and what each printed."""
    names = {}
    return names, [run_block(code, names) for code in guide_blocks("lora_on_your_model")[:-1]]


def numbers(text):
    return [float(word) for word in re.findall(r"\d+\.?\d*", text)]


def test_what_was_learned_first(guide):
    upright, turned = numbers(guide[1][0])
    assert upright > 0.9 and turned < 0.2


def test_tuning(guide):
    names, printed = guide
    trained, weights, accuracy = numbers(printed[1])
    # rank (in + out) for each layer, and each layer's weight and bias
    assert trained == 4 * (64 + 64) + 4 * (64 + 10) and weights == 65 * 64 + 65 * 10
    assert trained / weights == pytest.approx(1 / 6, abs=0.005) and accuracy > 0.75
    for old, new in zip(names["model"].layers, names["tuned"].layers, strict=True):
        assert np.array_equal(old.weight, new.linear.weight) and np.array_equal(old.bias, new.linear.bias)
    assert jax.tree.structure(names["merged"]) == jax.tree.structure(names["model"])


def test_alpha_and_ranks_by_layer(guide, page_blocks):
    names, printed = guide
    assert printed[2] == page_blocks("guides/lora_on_your_model")[2][1]
    for layer, rank in zip(names["patterned"].layers, (8, 2), strict=True):
        assert layer.A.shape[0] == rank and layer.scaling == 16 / rank


def test_the_spectral_start_is_ahead(guide):
    names, printed = guide
    spectral, lowest, highest = (numbers(line) for line in printed[3].splitlines()[1:])
    assert len(names["standard"]) == 4
    assert spectral[0] < lowest[0] and spectral[3] > highest[3] + 0.1
    assert spectral[1] == pytest.approx(lowest[1] / 2, rel=0.2) and spectral[2] == pytest.approx(lowest[2] / 2, rel=0.2)


def test_flax_is_the_same_computation(guide):
    """The first losses to rounding, which a hundred steps of Adam then enlarge; the last as printed, nearly."""
    names, printed = guide
    found, expected = np.asarray(names["flax_losses"]), names["losses"]
    assert np.allclose(found[:5], expected[:5], rtol=1e-4, atol=0)
    steps, flax, equinox = numbers(printed[4])
    assert steps == 100 and flax == pytest.approx(equinox, abs=0.03)


@pytest.mark.slow
def test_pictures_from_files(guide, guide_blocks, run_block, monkeypatch, tmp_path):
    """The same functions on what `theorylab.data` reads: digits, three times as large, as Fashion-MNIST's files."""
    names = dict(guide[0])
    small = (names["upright"].reshape(-1, 8, 8) * 255).astype(np.uint8)
    pictures = np.pad(np.kron(small, np.ones((3, 3), np.uint8)), ((0, 0), (2, 2), (2, 2)))
    labels = names["labels"].astype(np.uint8)
    train, test = slice(0, 400, 2), slice(1, 400, 2)
    arrays = pictures[train], labels[train], pictures[test], labels[test]
    folder, files = tmp_path / "FashionMNIST" / "raw", []
    folder.mkdir(parents=True)
    for file, array in zip(mnist_sets.FASHION_MNIST.files, arrays, strict=True):
        (folder / file.name).write_bytes(idx(array))
        files.append(file._replace(content=hashlib.sha256(idx(array)).hexdigest()))
    monkeypatch.setenv("THEORYLAB_DATA", str(tmp_path))
    monkeypatch.setattr(mnist_sets, "FASHION_MNIST", mnist_sets.FASHION_MNIST._replace(files=tuple(files)))
    before, after = numbers(run_block(guide_blocks("lora_on_your_model")[-1], names))
    assert names["data"].train_images.shape == (200, 28, 28)
    assert before < 0.3 and after > 0.6
