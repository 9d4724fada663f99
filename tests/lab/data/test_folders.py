"""A folder of images of one's own: every picture arrives as it is, or its file is named."""

import hashlib
import os
import re

import numpy as np
import pytest
import torch
from PIL import Image

import resflow_lite as rf
from resflow_lite.lab.data.images import images_label, known_images

RANDOM = np.random.Generator(np.random.PCG64(0))


def levels(*shape):
    return RANDOM.integers(0, 256, shape).astype(np.uint8)


@pytest.fixture
def put(tmp_path):
    """Saves an array or a Pillow image under a name in a folder."""

    def save(name, picture=None, **options):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = levels(4, 6) if picture is None else picture
        (Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture).save(path, **options)
        return path

    return save


@pytest.fixture
def load(tmp_path):
    return lambda split="test": rf.load_images(f"folder:{tmp_path}/pictures", split)


def only(put, load, picture, name="a.png", **options):
    """The pixels of the only test image."""
    put("train/x.png", levels(4, 6))
    put(f"test/{name}", picture, **options)
    (found,) = load().images
    return found.numpy()


def test_grey_and_rgb_arrive_as_they_are(put, load):
    grey, colour = levels(4, 6), levels(4, 6, 3)
    assert np.array_equal(only(put, load, grey), grey[None])
    assert np.array_equal(only(put, load, colour), colour.transpose(2, 0, 1))
    put("test/b.png", grey)
    assert np.array_equal(load().images[1], np.stack([grey] * 3))  # one colour image makes three channels of all


def test_black_and_white_are_0_and_255(put, load):
    drawn = levels(4, 6) > 127
    assert np.array_equal(only(put, load, Image.fromarray(drawn)), 255 * drawn[None])


def test_a_palette_is_its_colours(put, load):
    colours, indices = levels(256, 3), levels(4, 6)
    picture = Image.new("P", (6, 4))
    picture.putpalette(colours.tobytes())
    picture.putdata(indices.ravel().tolist())
    assert np.array_equal(only(put, load, picture), colours[indices].transpose(2, 0, 1))


def test_of_16_bits_the_upper_8_stay(put, load):
    deep = RANDOM.integers(0, 2**16, (4, 6)).astype(np.uint16)
    deep[0, 0] = 2**16 - 1
    assert np.array_equal(only(put, load, deep), deep[None] >> 8)
    with pytest.raises(rf.DataError, match=r"a\.png: 16 bits, but no level above 4000 of 65535: save it with 8"):
        only(put, load, np.full((4, 6), 4000, np.uint16))
    assert not only(put, load, np.zeros((4, 6), np.uint16)).any()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_an_opaque_alpha_channel_is_left_out_and_a_hole_is_refused(put, load, mode):
    picture = levels(4, 6, len(mode))
    picture[..., -1] = 255
    expected = picture[..., :-1].transpose(2, 0, 1)
    assert np.array_equal(only(put, load, Image.fromarray(picture, mode)), expected)
    picture[3, 5, -1] = 254
    with pytest.raises(rf.DataError, match=r"test/a\.png: some of its pixels can be seen through: lay it on"):
        only(put, load, Image.fromarray(picture, mode))


def test_a_transparent_colour_is_a_hole_too(put, load):
    picture = levels(4, 6) // 2
    assert np.array_equal(only(put, load, picture, transparency=200), picture[None])
    with pytest.raises(rf.DataError, match="can be seen through"):
        only(put, load, picture, transparency=int(picture[1, 2]))
    with pytest.raises(rf.DataError, match="can be seen through"):
        only(put, load, Image.fromarray(picture, "L").convert("P"), transparency=int(picture[1, 2]))


def test_the_cameras_turn_is_carried_out(put, load):
    upright, exif = levels(4, 6), Image.Exif()
    exif[0x0112] = 6  # "turn me by 90 degrees, clockwise"
    lying = np.rot90(upright)
    for picture in (lying, lying.astype(np.uint16) * 257):
        assert np.array_equal(only(put, load, picture, exif=exif), upright[None])


@pytest.mark.parametrize("mode", ["CMYK", "F", "I", "LAB"])
def test_a_mode_that_would_lose_something_is_refused(put, load, mode):
    with pytest.raises(rf.DataError, match=rf"test/a\.tif: mode {mode}, expected grey, RGB or a palette"):
        only(put, load, Image.new(mode, (6, 4)), "a.tif")


def test_a_film_is_refused(put, load):
    frames = [Image.fromarray(levels(4, 6)) for _ in range(3)]
    with pytest.raises(rf.DataError, match=r"a\.gif holds 3 images, expected one"):
        only(put, load, frames[0], "a.gif", save_all=True, append_images=frames[1:])


def test_another_size_is_refused_by_name(put, load):
    put("train/b.png", levels(6, 4))
    with pytest.raises(rf.DataError, match=r"train/b\.png has 6 x 4 pixels \(height x width\), but a\.png has 4 x 6"):
        only(put, load, levels(4, 6))


@pytest.mark.parametrize("kind", ["empty", "text", "cut", "bit"])
def test_a_file_that_is_no_whole_image_is_refused_by_name(put, load, kind):
    path = put("train/x.png", levels(40, 60))
    whole = path.read_bytes()
    flipped = whole[:900] + bytes([whole[900] ^ 1]) + whole[901:]
    path.write_bytes(dict(empty=b"", text=b"label,file\n", cut=whole[:900], bit=flipped)[kind])
    put("test/y.png", levels(40, 60))
    with pytest.raises(rf.DataError, match=r"train/x\.png is no image that Pillow reads whole"):
        load()


def test_a_pipe_among_the_images_is_refused_and_not_waited_for(put, load):
    for i in range(20):
        path = put(f"{i}.png")
    os.mkfifo(path.with_name("z.png"))
    with pytest.raises(rf.DataError, match="z.png is no file"):
        load("train")


@pytest.mark.parametrize("path", ["a/" * 5000, "~nobody-of-that-name"])
def test_a_path_that_cannot_be_looked_at_is_refused(path):
    with pytest.raises(rf.DataError, match="cannot be looked at"):
        rf.load_images(f"folder:{path}", "train")


def test_a_folder_that_is_not_there_or_empty_is_refused(tmp_path, load):
    with pytest.raises(rf.DataError, match=f"there is no folder {re.escape(str(tmp_path))}/pictures: expected one"):
        load()
    (tmp_path / "pictures").touch()
    with pytest.raises(rf.DataError, match="there is no folder"):
        load()
    (tmp_path / "pictures").unlink()
    (tmp_path / "pictures").mkdir()
    with pytest.raises(rf.DataError, match="there are no images in it"):
        load()


def test_file_names_split_a_folder_once_and_for_all(put, load):
    def expected(name):
        tenth = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % 10
        return {8: "validation", 9: "test"}.get(tenth, "train")

    names = [f"{i:03}.png" for i in range(60)]
    pictures = {name: levels(2, 2) for name in names}
    for name in names[:50]:
        put(name, pictures[name])
    before = {split: load(split).images for split in ("train", "validation", "test")}
    for name in names[50:]:
        put(name, pictures[name])
    put(".hidden.png")
    for split, images in before.items():
        mine = [name for name in names if expected(name) == split]
        assert np.array_equal(load(split).images, np.stack([pictures[name][None] for name in mine]))
        assert torch.equal(load(split).images[: len(images)], images)


def test_without_a_validation_folder_training_images_are_held_out(put, load):
    for i in range(40):
        put(f"train/{i}.png", np.full((2, 2), i, np.uint8))
    put("test/0.png", levels(2, 2))
    parts = [set(load(split).images[:, 0, 0, 0].tolist()) for split in ("train", "validation")]
    assert parts[0] | parts[1] == set(range(40)) and not parts[0] & parts[1] and 1 <= len(parts[1]) < 10


def test_folders_of_kinds_become_labels(put, load):
    for split, kinds in (("train", "cat dog owl"), ("test", "owl cat")):
        for kind in kinds.split():
            put(f"{split}/{kind}/1.png")
    assert load("train").labels.tolist() == [0, 1, 2] and load("test").labels.tolist() == [0, 2]
    put("validation/1.png")
    assert load("validation").labels.tolist() == [-1] and load("train").labels.dtype == torch.int64


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("x.png", r"x\.png lies beside folders for the splits: only train, validation, test may be there"),
        ("val/x.png", "val lies beside folders for the splits"),
        ("train/x.png", r"train/x\.png lies beside folders of images: put it into one of them"),
        ("train/cat/more/x.png", r"train/cat/more: a folder in a folder of one kind of images"),
        ("train/val/x.png", "train/val: the splits' folders are called train, validation, test"),
    ],
)
def test_what_lies_in_no_place_of_its_own_is_refused(put, load, name, sentence):
    for split in ("train", "test"):
        put(f"{split}/cat/1.png")
    put(name)
    with pytest.raises(rf.DataError, match=sentence):
        load()


def test_splits_of_other_names_are_no_kinds_of_images(put, load):
    put("Train/1.png"), put("Test/1.png")
    with pytest.raises(rf.DataError, match="Test: the splits' folders are called train, validation, test"):
        load()


def test_a_split_without_images_is_refused(put, load):
    put("train/1.png"), put("test/1.png")
    with pytest.raises(rf.DataError, match="none of its 2 images is for validation: add some"):
        load("validation")


def test_a_changed_file_is_read_again(put, load):
    put("train/1.png"), put("test/1.png", levels(4, 6))
    before = load().sha256()
    put("test/1.png", levels(4, 6))
    assert load().sha256() != before and load().n_levels == 256
    load().images.zero_()
    assert load().images.any()  # nobody changes what is kept in memory


def test_a_name_is_known_without_its_folder_and_labels_a_file_harmlessly():
    assert known_images("folder:gone") and known_images("digits") and known_images(len)
    assert not any(known_images(name) for name in ("folder:", "mnis", "", None, 5, ["digits"], rf.Images))
    assert images_label("folder:/a/../../my evil|<b>pictures") == "folder-my-evil-b-pictures"
    assert images_label("folder:..") == "folder" and images_label("digits") == "digits"
    assert images_label(lambda split: None) == "lambda" and "/" not in images_label("folder:a/b/")
