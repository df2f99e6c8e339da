"""Image readers on files as they are distributed, on damaged ones and on hostile ones."""

import gzip
import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hilnas import plugins
from hilnas.errors import BadFile, UsageError
from searchers.image_data import count_images, load_dataset, load_images, load_rest, stratified_order
from searchers.image_data._base import ImageFormat

FORMATS = plugins.names("searchers.image_data")
N = 12


def bytes_of(n, *shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), np.uint8)


def labels_of(n, classes=3):
    return (np.arange(n) % classes).astype(np.uint8)


def idx(array):
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(folder, images, labels, packed=False):
    for name, array in (("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels)):
        data = idx(array)
        (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(data) if packed else data)


def write_cifar_binary(folder, pixels, labels, coarse=False):
    flat = pixels.reshape(len(pixels), -1)
    columns = [labels[:, None] // 2, labels[:, None]] if coarse else [labels[:, None]]
    data = np.hstack([*columns, flat]).astype(np.uint8)
    if coarse:
        (folder / "train.bin").write_bytes(data.tobytes())
        return
    for number, part in enumerate(np.array_split(data, 3), start=1):
        (folder / f"data_batch_{number}.bin").write_bytes(part.tobytes())


def cifar_batch(pixels, labels, key="labels", as_bytes=False):
    names = [f"image_{i}.png" for i in range(len(labels))]
    found = {"data": pixels.reshape(len(pixels), -1), key: labels.tolist(), "filenames": names, "batch_label": "b"}
    return {name.encode(): value for name, value in found.items()} if as_bytes else found


def write_cifar_pickle(folder, pixels, labels, protocol=2, as_bytes=False):
    parts = zip(np.array_split(pixels, 2), np.array_split(labels, 2), strict=True)
    for number, (images, own) in enumerate(parts, start=1):
        data = pickle.dumps(cifar_batch(images, own, as_bytes=as_bytes), protocol)
        (folder / f"data_batch_{number}").write_bytes(data)


def write_folder(folder, images, labels, ending="png"):
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / f"class{label}"
        place.mkdir(exist_ok=True)
        Image.fromarray(image).save(place / f"{number:03}.{ending}")


def write(name, folder):
    """Write a small set in one format, as it is distributed; return what its images are in the order of its labels."""
    labels = labels_of(N)
    if name == "idx":
        images = bytes_of(N, 5, 6)
        write_idx(folder, images, labels, packed=True)
        return np.repeat(images[:, None], 3, axis=1), labels
    if name == "image_folder":
        images = bytes_of(N, 5, 6, 3)
        write_folder(folder, images, labels)
        order = np.argsort(labels, kind="stable")
        return images[order].transpose(0, 3, 1, 2), labels[order]
    images = bytes_of(N, 3, 32, 32)
    if name == "cifar_binary":
        write_cifar_binary(folder, images, labels)
    elif name == "cifar_pickle":
        write_cifar_pickle(folder, images, labels)
    else:
        np.savez_compressed(folder / "set.npz", x=images.transpose(0, 2, 3, 1), y=labels.astype(np.int64))
    return images, labels


def in_order(folder, n=N):
    """Return all images of a folder with their labels."""
    found = load_images(folder, n, seed=0)
    return sort_pairs(found.images, found.labels)


def sort_pairs(images, labels):
    """Return images as bytes with their labels, in an order of their own: how they were chosen does not matter."""
    whole = images if images.dtype == np.uint8 else np.round(images * 255).astype(np.uint8)
    return sorted((image.tobytes(), int(label)) for image, label in zip(whole, labels, strict=True))


def test_all_formats_are_found():
    assert {"idx", "cifar_binary", "cifar_pickle", "image_folder", "npz"} <= set(FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_a_set_arrives_as_it_was_written(name, tmp_path):
    images, labels = write(name, tmp_path)
    assert in_order(tmp_path) == sort_pairs(images, labels)
    found = load_images(tmp_path, N, seed=0)
    assert found.images.dtype == np.float32 and found.images.shape[:2] == (N, 3)
    assert found.labels.dtype == np.int64
    assert found.source == f"{name}:{tmp_path.name}"
    assert plugins.load("searchers.image_data", name, ImageFormat)().files


@pytest.mark.parametrize("name", FORMATS)
def test_images_come_at_the_size_that_is_asked_for(name, tmp_path):
    write(name, tmp_path)
    found = load_images(tmp_path, 4, seed=1, size=(7, 9)).images
    assert found.shape == (4, 3, 7, 9)
    assert 0 <= found.min() <= found.max() <= 1
    assert found.std() > 0


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=30, deadline=None)
@given(cut=st.floats(0, 1, exclude_max=True), change=st.binary(min_size=1, max_size=4), place=st.floats(0, 1))
def test_damage_is_an_error_that_can_be_read_or_another_set_of_images(name, tmp_path_factory, cut, change, place):
    """Whatever a file holds, the answer is images in [0, 1] or BadFile: no other exception, nothing endless."""
    folder = tmp_path_factory.mktemp("damaged")
    write(name, folder)
    path = sorted(item for item in folder.rglob("*") if item.is_file())[0]
    data = path.read_bytes()
    at = int(place * len(data))
    for damaged in (data[: int(cut * len(data))], data[:at] + change + data[at + len(change) :]):
        path.write_bytes(damaged)
        try:
            found = load_images(folder, 2, seed=0, size=(8, 8))
        except (BadFile, UsageError) as error:
            assert str(folder) in str(error) or "images" in str(error)
        else:
            assert found.images.shape == (2, 3, 8, 8)
            assert 0 <= found.images.min() <= found.images.max() <= 1


@pytest.mark.parametrize("name", ["idx", "cifar_binary", "cifar_pickle", "npz"])
def test_a_truncated_file_is_refused(name, tmp_path):
    write(name, tmp_path)
    path = sorted(item for item in tmp_path.iterdir() if item.is_file())[0]
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(BadFile):
        load_images(tmp_path, 2, seed=0)


@pytest.mark.parametrize("packed", [False, True])
def test_idx_is_read_packed_or_not(packed, tmp_path):
    images, labels = bytes_of(6, 4, 4), labels_of(6)
    write_idx(tmp_path, images, labels, packed)
    assert in_order(tmp_path, 6) == sort_pairs(np.repeat(images[:, None], 3, axis=1), labels)


def test_idx_heads_that_lie_are_refused(tmp_path):
    write_idx(tmp_path, bytes_of(6, 4, 4), labels_of(6))
    path = tmp_path / "train-images-idx3-ubyte"
    for size in (5, 7, 2**32 - 1):
        path.write_bytes(bytes((0, 0, 8, 3)) + struct.pack(">3I", size, 4, 4) + bytes(96))
        with pytest.raises(BadFile, match="should hold"):
            load_images(tmp_path, 2, seed=0)
    path.write_bytes(bytes((0, 0, 13, 3)) + struct.pack(">3I", 6, 4, 4) + bytes(384))
    with pytest.raises(BadFile, match="no IDX file of bytes"):
        load_images(tmp_path, 2, seed=0)


def test_as_many_labels_as_images_are_needed(tmp_path):
    write_idx(tmp_path, bytes_of(6, 4, 4), labels_of(5))
    with pytest.raises(BadFile, match="6 images but 5 labels"):
        load_images(tmp_path, 2, seed=0)


def test_a_file_that_unfolds_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("searchers.image_data.idx.MAX_BYTES", 1000)
    write_idx(tmp_path, bytes_of(6, 40, 40) * 0, labels_of(6), packed=True)
    with pytest.raises(BadFile, match="more than"):
        load_images(tmp_path, 2, seed=0)


def test_cifar_100_has_its_fine_labels(tmp_path):
    pixels, labels = bytes_of(8, 3, 32, 32), np.arange(8, dtype=np.uint8)
    (tmp_path / "binary").mkdir()
    write_cifar_binary(tmp_path / "binary", pixels, labels, coarse=True)
    (tmp_path / "pickled").mkdir()
    batch = {**cifar_batch(pixels, labels, "fine_labels"), "coarse_labels": (labels // 2).tolist()}
    (tmp_path / "pickled" / "train").write_bytes(pickle.dumps(batch, 2))
    (tmp_path / "pickled" / "meta").write_bytes(b"")
    expected = sort_pairs(pixels, labels)
    assert in_order(tmp_path / "binary", 8) == in_order(tmp_path / "pickled", 8) == expected


def test_labels_that_are_not_cifars_are_refused(tmp_path):
    write_cifar_binary(tmp_path, bytes_of(6, 3, 32, 32), labels_of(6) + 9)
    with pytest.raises(BadFile, match="the label 10; CIFAR-10 has none above 9"):
        load_images(tmp_path, 2, seed=0)


@pytest.mark.parametrize("as_bytes", [False, True])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_every_protocol_and_of_both_pythons_are_read(protocol, as_bytes, tmp_path):
    images, labels = bytes_of(6, 3, 32, 32), labels_of(6)
    write_cifar_pickle(tmp_path, images, labels, protocol, as_bytes)
    assert in_order(tmp_path, 6) == sort_pairs(images, labels)


def test_a_batch_of_cifars_size_is_read(tmp_path):
    """Ten thousand images are 30 million numbers: more than a table of numbers may hold."""
    images = np.zeros((10_000, 3, 32, 32), np.uint8)
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(cifar_batch(images, labels_of(10_000, 10)), 2))
    assert load_images(tmp_path, 10, seed=0).labels.tolist() != [0] * 10


class Command:
    """Runs a command when it is unpickled."""

    def __init__(self, command):
        self._command = command

    def __reduce__(self):
        return os.system, (self._command,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_hostile_pickle_is_refused_and_nothing_is_run(protocol, tmp_path):
    trace = tmp_path / "trace"
    batch = {**cifar_batch(bytes_of(2, 3, 32, 32), labels_of(2)), "extra": Command(f"touch {trace}")}
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(batch, protocol))
    with pytest.raises(BadFile, match="refused"):
        load_images(tmp_path, 2, seed=0)
    assert not trace.exists()


def test_a_hostile_npz_is_refused_and_nothing_is_run(tmp_path):
    trace = tmp_path / "trace"
    x = np.empty(2, object)
    x[:] = [Command(f"touch {trace}")] * 2
    np.savez(tmp_path / "set.npz", x=x, y=[0, 1])
    with pytest.raises(BadFile, match="not of plain numbers"):
        load_images(tmp_path, 2, seed=0)
    assert not trace.exists()


def test_an_npz_whose_head_asks_for_terabytes_is_refused(tmp_path):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": (2**40, 32, 32)})
    with zipfile.ZipFile(tmp_path / "set.npz", "w") as archive:
        archive.writestr("x.npy", head.getvalue() + bytes(64))
        archive.writestr("y.npy", b"")
    with pytest.raises(BadFile, match="as many bytes"):
        load_images(tmp_path, 2, seed=0)


@pytest.mark.parametrize("shape", [(6, 8, 9), (6, 8, 9, 1), (6, 8, 9, 3), (6, 1, 8, 9), (6, 3, 8, 9)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_npz_may_hold_channels_first_last_or_none(shape, order, tmp_path):
    x = np.random.default_rng(0).random(shape, np.float32)
    np.savez(tmp_path / "set.npz", x=np.asarray(x, order=order), y=labels_of(6))
    found = load_images(tmp_path / "set.npz", 6, seed=0)
    assert found.images.shape == (6, 3, 8, 9)
    expected = sorted(x.reshape(6, -1).mean(1).tolist())
    assert sorted(found.images.mean((1, 2, 3)).tolist()) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (np.zeros((4, 8, 8)) + 2, [0, 1, 0, 1]),
        (np.zeros((4, 8, 8)) * np.nan, [0, 1, 0, 1]),
        (np.zeros((4, 8, 8), np.int64), [0, 1, 0, 1]),
        (np.zeros((4, 8, 8, 2)), [0, 1, 0, 1]),
        (np.zeros((4, 0, 8)), [0, 1, 0, 1]),
        (np.zeros((4, 8)), [0, 1, 0, 1]),
        (np.zeros((4, 8, 8)), [0.0, 1.0, 0.0, 1.0]),
        (np.zeros((4, 8, 8)), [[0], [1], [0], [1]]),
        (np.zeros((4, 8, 8)), [0, 1, 0]),
        (np.zeros((0, 8, 8), np.uint8), np.zeros(0, np.int64)),
        (np.zeros((4, 8, 8)), [5, 5, 5, 5]),
    ],
)
def test_arrays_that_are_no_images_with_labels_are_refused(x, y, tmp_path):
    np.savez(tmp_path / "set.npz", x=x, y=np.array(y))
    with pytest.raises(BadFile):
        load_images(tmp_path, 2, seed=0)


def test_any_labels_are_numbered(tmp_path):
    np.savez(tmp_path / "set.npz", x=bytes_of(6, 8, 8), y=np.array([-7, 900, 3, 3, 900, -7]))
    assert sorted(load_images(tmp_path, 6, seed=0).labels.tolist()) == [0, 0, 1, 1, 2, 2]


def test_jpegs_and_grey_pictures_are_read(tmp_path):
    write_folder(tmp_path, np.repeat(bytes_of(4, 1, 1), 64, axis=2).repeat(64, axis=1), labels_of(4, 2), "jpg")
    found = load_images(tmp_path, 4, seed=0)
    assert found.images.shape == (4, 3, 64, 64)
    expected = bytes_of(4, 1, 1).ravel() / 255
    assert sorted(found.images.mean((1, 2, 3)).tolist()) == pytest.approx(sorted(expected), abs=0.01)


def test_what_is_no_picture_is_refused(tmp_path):
    write_folder(tmp_path, bytes_of(4, 8, 8), labels_of(4, 2))
    (tmp_path / "class0" / "000.png").write_text("not a picture")
    with pytest.raises(BadFile, match=r"000\.png cannot be decoded"):
        load_images(tmp_path, 4, seed=0)
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "class0" / "000.png")
    with pytest.raises(BadFile, match="not 8 bits"):
        load_images(tmp_path, 4, seed=0)


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr("searchers.image_data.image_folder._MAX_PIXELS", 63)
    write_folder(tmp_path, bytes_of(4, 8, 8), labels_of(4, 2))
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(BadFile, match="too many"):
        load_images(tmp_path, 4, seed=0)


def test_a_class_without_pictures_and_a_single_class_are_refused(tmp_path):
    write_folder(tmp_path, bytes_of(2, 8, 8), [0, 0])
    with pytest.raises(BadFile, match="one class"):
        load_images(tmp_path, 2, seed=0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadFile, match="'empty'"):
        load_images(tmp_path, 2, seed=0)


def test_folders_without_images_say_what_is_known_and_what_was_meant(tmp_path):
    with pytest.raises(BadFile, match="there is no"):
        load_images(tmp_path / "nowhere", 2, seed=0)
    with pytest.raises(BadFile, match="train-images-idx3-ubyte"):
        load_images(tmp_path, 2, seed=0)
    (tmp_path / "raw").mkdir()
    write_idx(tmp_path / "raw", bytes_of(6, 4, 4), labels_of(6))
    with pytest.raises(BadFile, match=r"Did you mean .*raw"):
        load_images(tmp_path, 2, seed=0)


def test_two_formats_in_one_folder_are_refused(tmp_path):
    write("idx", tmp_path)
    write("npz", tmp_path)
    with pytest.raises(BadFile, match="several formats: idx, npz"):
        load_images(tmp_path, 2, seed=0)


def test_without_a_folder_there_are_digits():
    found = load_images(None, 1797, seed=0)
    assert found.images.shape == (1797, 3, 8, 8) and found.source == "digits"
    assert np.bincount(found.labels).min() > 170
    with pytest.raises(UsageError, match="1798 images"):
        load_images(None, 1798, seed=0)


def test_the_seed_chooses():
    first, again, other = (load_images(None, 50, seed).images for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@given(st.lists(st.integers(0, 4), min_size=2, max_size=120), st.integers(0, 9))
def test_every_beginning_is_stratified(labels, seed):
    labels = np.unique(labels, return_inverse=True)[1]
    order = stratified_order(labels, seed)
    assert sorted(order.tolist()) == list(range(len(labels)))
    counts = np.bincount(labels)
    for n in range(1, len(labels) + 1):
        expected = counts * n / len(labels)
        # Half an image for rounding, and as much as the rounding of the other classes leaves over.
        assert (abs(np.bincount(labels[order[:n]], minlength=len(counts)) - expected) <= 0.5 + len(counts) / 2).all()


def test_a_quarter_is_held_out_and_never_trained_on(tmp_path):
    x = np.arange(400, dtype=np.float32).reshape(400, 1, 1) / 400 + np.zeros((400, 4, 4), np.float32)
    np.savez(tmp_path / "set.npz", x=x, y=np.arange(400) % 4)
    data = load_dataset(tmp_path, seed=3, images=200)
    parts = (data.train, data.validation)
    train, held_out = ({round(float(value) * 400) for value in part.images[:, 0, 0, 0]} for part in parts)
    assert len(train) == 150 and len(held_out) == 50 and not train & held_out
    assert sorted(np.bincount(data.validation.labels).tolist()) == [12, 12, 13, 13]
    assert data.mean == pytest.approx(data.train.images.mean((0, 2, 3)), rel=1e-5)
    assert data.std == pytest.approx(data.train.images.std((0, 2, 3)), rel=1e-5)
    assert data.classes == 4
    assert load_dataset(tmp_path, seed=3, images=200).fingerprint == data.fingerprint
    assert load_dataset(tmp_path, seed=4, images=200).fingerprint != data.fingerprint


def test_images_without_any_variation_divide_by_one(tmp_path):
    np.savez(tmp_path / "set.npz", x=np.zeros((8, 4, 4), np.uint8), y=labels_of(8, 2))
    assert load_dataset(tmp_path, seed=0).std.tolist() == [1, 1, 1]


def test_too_few_images_cannot_be_split(tmp_path):
    np.savez(tmp_path / "set.npz", x=np.zeros((3, 4, 4), np.uint8), y=labels_of(3, 2))
    with pytest.raises(UsageError, match="too few"):
        load_dataset(tmp_path, seed=0)


def test_the_rest_is_what_a_set_of_the_same_seed_leaves(tmp_path):
    # Every picture is of one value, by which it is known again.
    pixels = np.broadcast_to(np.arange(40, dtype=np.uint8)[:, None, None], (40, 4, 4)).copy()
    write_idx(tmp_path, pixels, labels_of(40))
    assert count_images(tmp_path) == 40
    used = load_dataset(tmp_path, 3, 30)
    rest = load_rest(tmp_path, 3, 30, (4, 4), 100)

    def values(images):
        return set(np.round(images.images[:, 0, 0, 0] * 255).astype(int).tolist())

    parts = [values(item) for item in (used.train, used.validation, rest)]
    assert [len(item) for item in parts] == [22, 8, 10] and len(set().union(*parts)) == 40
    assert values(load_rest(tmp_path, 3, 30, (4, 4), 4)) <= parts[2]
    assert len(load_rest(tmp_path, 3, 30, (4, 4), 4).labels) == 4
    with pytest.raises(UsageError, match="is left to test with: 40 of 40"):
        load_rest(tmp_path, 3, 40, (4, 4), 100)
