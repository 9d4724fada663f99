"""Arrays on disk: whole or not there, opened without being read, made by one process at a time."""

import multiprocessing
import os
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

import resflow_lite as rf
from resflow_lite.lab.data import arrays
from resflow_lite.lab.data.sources import IMAGE_SETS


@pytest.fixture
def mnist(miniature, tmp_path):
    small = miniature("mnist")
    small.put(tmp_path)
    return small


def test_images_are_a_memory_map_of_the_file(mnist, tmp_path):
    images = rf.load_images("mnist", "train", tmp_path).images
    with (tmp_path / "mnist" / "train.npy").open("r+b") as file:
        file.seek(-images[0].numel() * 11, os.SEEK_END)
        file.write(b"\x07\x08\x09")
    assert images[0, 0, 0, :3].tolist() == [7, 8, 9]  # a copy in memory would not know


def test_writing_to_the_images_leaves_the_file_alone(mnist, tmp_path):
    data = rf.load_images("mnist", "train", tmp_path)
    before = data.sha256()
    data.images.zero_()
    assert rf.load_images("mnist", "train", tmp_path).sha256() == before != data.sha256()


def test_published_files_are_not_needed_once_they_are_converted(mnist, tmp_path):
    before = rf.load_images("mnist", "train", tmp_path).sha256()
    for name in mnist.files:
        (tmp_path / "mnist" / name).unlink()
    assert rf.load_images("mnist", "train", tmp_path).sha256() == before


@pytest.mark.parametrize("name", ["train.npy", "train_labels.npy", "train_5bit.npy"])
def test_a_cut_or_foreign_array_is_refused_and_made_again_when_deleted(name, mnist, tmp_path):
    data = rf.load_images("mnist", "train", tmp_path, n_bits=5)
    before, labels = data.sha256(), data.labels.clone()  # data itself would follow the file
    path = tmp_path / "mnist" / name
    n_bits = 5 if "5bit" in name else 8

    def refused():
        with pytest.raises(rf.DataError, match=f"{name} is not the array.*Delete it"):
            rf.load_images("mnist", "train", tmp_path, n_bits=n_bits)

    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:100], whole[:5], b""):
        path.write_bytes(damaged)
        refused()
    np.save(path, np.zeros((11, 1, 28, 27), np.uint8))
    refused()
    path.unlink()
    rf.load_images("mnist", "train", tmp_path, n_bits=n_bits)
    after = rf.load_images("mnist", "train", tmp_path, n_bits=5)
    assert after.sha256() == before and torch.equal(after.labels, labels)
    assert path.read_bytes() == whole


def test_fewer_bits_are_not_taken_from_a_cut_array(mnist, tmp_path):
    rf.load_images("mnist", "test", tmp_path)
    path = tmp_path / "mnist" / "test.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(rf.DataError, match="test.npy is not the array.*Delete it"):
        rf.load_images("mnist", "test", tmp_path, n_bits=5)
    assert not (tmp_path / "mnist" / "test_5bit.npy").exists()


def test_a_conversion_that_breaks_off_leaves_no_array(mnist, tmp_path, monkeypatch):
    def full(_):
        raise OSError("No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        with pytest.raises(rf.DataError, match="cannot write to .*No space left on device.*RESFLOW_HOME"):
            rf.load_images("mnist", "train", tmp_path)
    assert not list((tmp_path / "mnist").glob("*.npy"))
    assert len(rf.load_images("mnist", "train", tmp_path).images) == 8


def test_a_folder_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(rf.DataError, match="cannot write to .*RESFLOW_HOME"):
        rf.load_images("mnist", "train", tmp_path / "file")


def test_files_without_a_checksum_are_counted(miniature, tmp_path, monkeypatch):
    small = miniature("celebahq256")
    small.put(tmp_path, [name for name in small.files if "/" in name])
    (tmp_path / "celebahq256" / "train" / "00004.png").unlink()
    with pytest.raises(rf.DataError, match="train.*10 images, expected 11"):
        rf.load_images("celebahq256", "train", tmp_path)
    expected = replace(small.image_set, train=replace(small.image_set.train, n_images=9))
    monkeypatch.setitem(IMAGE_SETS, "celebahq256", expected)
    with pytest.raises(rf.DataError, match="10 images, expected 9"):
        rf.load_images("celebahq256", "train", tmp_path)
    assert not (tmp_path / "celebahq256" / "train.npy").exists()


def test_images_of_another_size_are_refused(miniature, tmp_path):
    small = miniature("celebahq256")
    small.put(tmp_path, [name for name in small.files if "/" in name])
    png = miniature("imagenet32")
    small.files["train/00004.png"] = _first_png(png.files["valid_32x32.tar"])
    small.put(tmp_path, ["train/00004.png"])
    with pytest.raises(rf.DataError, match="train.*not the published images"):
        rf.load_images("celebahq256", "train", tmp_path)


def _first_png(archive):
    start = archive.index(b"\x89PNG")
    return archive[start : archive.index(b"IEND") + 8]


def test_a_cut_archive_without_a_checksum_is_refused(miniature, tmp_path):
    small = miniature("celebahq256")
    folder = small.put(tmp_path)
    whole = small.files["celeba-tfr.tar"]
    (folder / "celeba-tfr.tar").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(rf.DataError, match="celeba-tfr.tar: not the published images"):
        rf.load_images("celebahq256", "train", tmp_path)


def _convert_slowly(root, convert):
    def slow(*arguments):
        with (root / "conversions").open("a") as log:
            log.write("conversion\n")
        time.sleep(0.3)
        convert(*arguments)

    return slow


def _load_at_once(root, barrier, said):
    barrier.wait()
    said.put(rf.load_images("mnist", "train", root).sha256())


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_of_processes_that_start_at_once_one_converts(mnist, tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "_convert", _convert_slowly(tmp_path, arrays._convert))
    context, n = multiprocessing.get_context("fork"), 4
    barrier, said = context.Barrier(n), context.Queue()
    processes = [context.Process(target=_load_at_once, args=(tmp_path, barrier, said)) for _ in range(n)]
    for process in processes:
        process.start()
    hashes = {said.get(timeout=60) for _ in processes}
    for process in processes:
        process.join(timeout=60)
    assert hashes == {rf.load_images("mnist", "train", tmp_path).sha256()}
    assert (tmp_path / "conversions").read_text() == "conversion\n"
    assert np.array_equal(np.load(tmp_path / "mnist" / "train.npy"), mnist.parts["train"][0])


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_a_killed_conversion_neither_leaves_an_array_nor_keeps_the_lock(mnist, tmp_path, monkeypatch):
    read = mnist.image_set.train.forms[0].read
    started = multiprocessing.get_context("fork").Event()

    def stuck(paths):
        yield next(read(paths))
        started.set()
        time.sleep(60)

    form = replace(mnist.image_set.train.forms[0], read=stuck)
    stuck_set = replace(mnist.image_set, train=replace(mnist.image_set.train, forms=(form,)))
    process = multiprocessing.get_context("fork").Process(
        target=arrays.open_images, args=("mnist", stuck_set, "train", tmp_path / "mnist", 8)
    )
    process.start()
    assert started.wait(timeout=60)
    process.kill()
    process.join(timeout=60)
    assert (tmp_path / "mnist" / "train.npy.unfinished").exists() and not (tmp_path / "mnist" / "train.npy").exists()
    assert len(rf.load_images("mnist", "train", tmp_path).images) == 8
    assert not (tmp_path / "mnist" / "train.npy.unfinished").exists()
