"""Each published format comes back as the arrays that were put in; what does not hold them is refused."""

import io

import numpy as np
import pytest

import resflow_lite as rf
from resflow_lite.lab.data import formats
from resflow_lite.lab.data.sources import IMAGE_SETS

# Written by another library (tfrecord 1.14.6): features attr, data, label, shape; data is 0 ... 11 as (2, 2, 3).
RECORD = bytes.fromhex(
    "6500000000000000ebd05a690a630a250a0461747472121d1a1b0a19feffffffffffffffff01ffffffffffffffffff0100010203040a0e0a"
    "056c6162656c12051a030a01010a180a046461746112100a0e0a0c000102030405060708090a0b0a100a05736861706512071a050a030202"
    "032de22db0"
)


@pytest.mark.parametrize("name", IMAGE_SETS)
def test_files_placed_by_hand_come_back_as_the_images_that_they_hold(name, miniature, tmp_path):
    small = miniature(name)
    small.put(tmp_path)
    splits = {split: rf.load_images(name, split, tmp_path, n_bits=8) for split in ("train", "validation", "test")}
    for part, chosen in (("train", ("train", "validation")), ("test", ("test",))):
        images, labels = small.parts[part]
        assert np.array_equal(np.concatenate([splits[split].images for split in chosen]), images)
        assert np.array_equal(np.concatenate([splits[split].labels for split in chosen]), labels)
    assert [len(data.images) for data in splits.values()] == [8, 3, 5]
    assert all(data.n_levels == 256 for data in splits.values())


@pytest.mark.parametrize(
    ("name", "archive"), [("cifar10", "cifar-10-binary.tar.gz"), ("celebahq256", "celeba-tfr.tar")]
)
def test_unpacked_folders_hold_the_same_as_the_archive(name, archive, miniature, tmp_path):
    small = miniature(name)
    small.put(tmp_path / "packed", [archive])
    small.put(tmp_path / "unpacked", [file for file in small.files if file != archive])
    for split in ("train", "validation", "test"):
        packed, unpacked = (rf.load_images(name, split, tmp_path / form) for form in ("packed", "unpacked"))
        assert packed.sha256() == unpacked.sha256() and np.array_equal(packed.labels, unpacked.labels)


def test_a_record_that_another_library_has_written_is_understood():
    (record,) = formats._records(io.BytesIO(RECORD))
    assert np.array_equal(formats._example_image(record).transpose(1, 2, 0).ravel(), np.arange(12))


@pytest.mark.parametrize("at", [0, 9])
def test_a_record_with_a_wrong_length_or_checksum_is_refused(at):
    damaged = bytearray(RECORD)
    damaged[at] ^= 1
    with pytest.raises(ValueError, match="not a TFRecord"):
        list(formats._records(io.BytesIO(damaged)))


def test_a_cut_record_is_refused():
    with pytest.raises(EOFError, match="cut"):
        list(formats._records(io.BytesIO(RECORD[:-5])))


def test_pickles_in_an_npz_file_are_refused(miniature, tmp_path):
    small = miniature("imagenet32_official")
    file = io.BytesIO()
    np.savez(file, data=np.array([{}], dtype=object), labels=[1])
    with formats.zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("val_data.npz", file.getvalue())
    with pytest.raises(ValueError, match="allow_pickle=False"):
        next(small.image_set.test.forms[0].read([tmp_path / "set.zip"]))
