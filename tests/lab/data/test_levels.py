"""Data of one's own that are not what they say are refused where they come in, with what to do."""

import numpy as np
import pytest
import torch

import resflow_lite as rf
from resflow_lite.lab.data.levels import expect_alike


def levels(*shape, high=17, seed=0):
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


IMAGES, LABELS = levels(5, 1, 4, 4), torch.arange(5)


def load(*parts, found=None):
    def own(split):
        return rf.Images(*parts) if parts else found

    return rf.load_images(own, "test")


def test_whole_levels_come_through_unchanged():
    data = load(IMAGES, LABELS, 17)
    assert torch.equal(data.images, IMAGES) and torch.equal(data.labels, LABELS) and data.n_levels == 17


@pytest.mark.parametrize(
    ("images", "labels", "n_levels"),
    [
        (IMAGES.numpy(), LABELS.numpy(), np.int64(17)),
        (IMAGES.long(), LABELS.int(), 17),
        (IMAGES.numpy().astype(">i4"), LABELS.tolist(), 17),
        (IMAGES.numpy().astype(np.uint16), LABELS.numpy().astype(np.uint8), 17),
        (IMAGES.numpy()[:, :, ::-1][:, :, ::-1], [*range(5)], 17),
    ],
)
def test_arrays_and_other_whole_numbers_are_converted(images, labels, n_levels):
    data = load(images, labels, n_levels)
    assert torch.equal(data.images, IMAGES) and torch.equal(data.labels, LABELS) and type(data.n_levels) is int
    assert data.images.dtype == torch.uint8 and data.labels.dtype == torch.int64
    assert data.sha256() == rf.Images(IMAGES, LABELS, 17).sha256()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (dict(images=IMAGES / 16), r"own, test: torch.float32 images, expected whole levels 0 ... 16 as uint8"),
        (dict(images=IMAGES.numpy() / 16.0, n_levels=256), r"\(255 \* x\).round\(\).to\(torch.uint8\)"),
        (dict(images=IMAGES > 8), "torch.bool images"),
        (dict(images=(IMAGES / 16).to(torch.uint8), n_levels=256), "levels 0 and 1 alone, but n_levels = 256"),
        (dict(images=IMAGES.int() - 1), "a level of -1, but n_levels = 17"),
        (dict(images=IMAGES * 15), r"a level of \d+, but n_levels = 17"),
        (dict(images=IMAGES[:, 0]), r"shape \(5, 4, 4\), expected \(N, C, H, W\)"),
        (dict(images=IMAGES[:0], labels=LABELS[:0]), r"shape \(0, 1, 4, 4\).*at least one of each"),
        (dict(images=levels(5, 8, 8, 3)), r"images.permute\(0, 3, 1, 2\)"),
        (dict(images=IMAGES.tolist()), "images are of type list, expected a tensor or an array"),
        (dict(images=None), "images are of type NoneType"),
        (dict(images=np.array([{}])), "images are an array of object"),
        (dict(labels=LABELS[:4]), r"labels torch.int64 \(4,\) for 5 images"),
        (dict(labels=LABELS.float()), "labels torch.float"),
        (dict(labels=None), "labels are of type NoneType"),
        (dict(n_levels=1), "n_levels = 1, expected a whole number from 2 to 256"),
        (dict(n_levels=257), "n_levels = 257"),
        (dict(n_levels=17.0), "n_levels = 17.0"),
        (dict(n_levels=True), "n_levels = True"),
        (dict(n_levels=float("nan")), "n_levels = nan"),
    ],
)
def test_what_is_not_whole_levels_is_refused(change, sentence):
    with pytest.raises(rf.DataError, match=sentence):
        load(*(dict(images=IMAGES, labels=LABELS, n_levels=17) | change).values())


@pytest.mark.parametrize("found", [IMAGES, None, (IMAGES, LABELS), rf.Images, "digits"])
def test_what_is_no_images_at_all_is_refused(found):
    with pytest.raises(rf.DataError, match=r"own, test: .*expected rf.Images\(images, labels, n_levels\)"):
        load(found=found)


@pytest.mark.parametrize("name", [rf.Images, 5, None, ["digits"], "folder:", b"digits"])
def test_what_is_no_name_of_a_data_set_is_refused(name):
    with pytest.raises(rf.DataError, match="expected one of digits, .*folder:PATH, or a function of the split"):
        rf.load_images(name)


@pytest.mark.parametrize("root", [5, ["data"], b"data"])
def test_a_root_that_is_no_path_is_refused(root):
    with pytest.raises(rf.SettingsError, match="root = .*expected the path of a folder"):
        rf.load_images("mnist", root=root)


def test_other_shapes_and_levels_than_those_of_training_are_refused():
    data = rf.Images(IMAGES, LABELS, 17)
    expect_alike(data, (1, 4, 4), 17, "own, test")
    expect_alike(data, (1, 4, 4), None, "own, test")
    with pytest.raises(rf.DataError, match=r"own, test: images \(1, 4, 4\), but \(1, 8, 8\) in training"):
        expect_alike(data, (1, 8, 8), 17, "own, test")
    with pytest.raises(rf.DataError, match="own, test: n_levels = 17, but 256 in training"):
        expect_alike(data, (1, 4, 4), 256, "own, test")


@pytest.mark.parametrize(
    "images",
    [IMAGES.to("meta"), IMAGES.to_sparse()],
    ids=["meta", "sparse"],
)
def test_tensors_of_other_kinds_are_called_what_they_are(images):
    with pytest.raises(rf.DataError, match="own, test: images are nested, sparse, quantized or on meta"):
        load(images, LABELS, 17)


@pytest.mark.parametrize("labels", [[[0], [1, 2]], [*"abcde"], [None] * 5, [2**70] * 5], ids=str)
def test_lists_that_make_no_labels_are_refused(labels):
    with pytest.raises(rf.DataError, match="own, test: labels are no whole numbers"):
        load(IMAGES, labels, 17)
