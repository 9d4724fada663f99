"""Downloads and files placed by hand: what is not the published file is refused, with what was expected and where."""

import pytest

import resflow_lite as rf
from resflow_lite.__main__ import main
from resflow_lite.lab.data.sources import IMAGE_SETS

BY_HAND = [name for name, image_set in IMAGE_SETS.items() if image_set.by_hand]


def test_a_set_is_downloaded_once_and_for_all(miniature, server, tmp_path):
    small = miniature("mnist", server.where)
    server.files = small.files
    first = rf.load_images("mnist", "train", tmp_path)
    assert server.asked == ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]
    rf.load_images("mnist", "test", tmp_path)
    assert sorted(server.asked) == sorted(small.files)
    assert all((tmp_path / "mnist" / name).read_bytes() == data for name, data in small.files.items())
    again = rf.load_images("mnist", "train", tmp_path)
    assert len(server.asked) == 4 and again.sha256() == first.sha256()


def test_only_what_is_missing_is_downloaded(miniature, server, tmp_path):
    small = miniature("mnist", server.where)
    server.files = small.files
    small.put(tmp_path, ["train-images-idx3-ubyte.gz"])
    rf.load_images("mnist", "train", tmp_path)
    assert server.asked == ["train-labels-idx1-ubyte.gz"]


def test_a_cut_or_wrong_download_is_refused_and_leaves_nothing(miniature, server, tmp_path):
    small = miniature("svhn", server.where)
    whole = small.files["test_32x32.mat"]

    def refused(match):
        with pytest.raises(rf.DataError, match=match) as refusal:
            rf.load_images("svhn", "test", tmp_path)
        assert [path.name for path in (tmp_path / "svhn").iterdir()] == [".lock"]
        for part in (f"{server.where}test_32x32.mat", f"{len(whole):,} bytes", "fetch svhn", str(tmp_path / "svhn")):
            assert part in str(refusal.value)

    server.files, server.cut = dict(small.files), len(whole) // 2
    refused("could not be downloaded")
    server.cut = None
    server.files["test_32x32.mat"] = whole[: len(whole) // 2]
    refused("could not be downloaded.*does not match the known hash")
    server.files["test_32x32.mat"] = whole[:-1] + bytes([whole[-1] ^ 1])
    refused("could not be downloaded.*does not match the known hash")
    assert len(server.asked) == 9  # three times three tries
    del server.files["test_32x32.mat"]
    refused("could not be downloaded.*404")
    server.files["test_32x32.mat"] = whole
    assert len(rf.load_images("svhn", "test", tmp_path).images) == 5


def test_a_network_that_is_not_there_is_reported(miniature, tmp_path, server):
    miniature("cifar10", "http://127.0.0.1:9/")  # nothing listens on the port called discard
    with pytest.raises(
        rf.DataError, match="(?s)127.0.0.1.*machine with internet.*fetch cifar10.*cifar-10-binary.tar.gz"
    ):
        rf.load_images("cifar10", "train", tmp_path)


def test_a_cut_or_altered_file_placed_by_hand_is_refused_and_kept(miniature, tmp_path):
    small = miniature("imagenet32")
    folder = small.put(tmp_path)
    path, file = folder / "valid_32x32.tar", small.image_set.test.forms[0].files[0]
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    with pytest.raises(rf.DataError, match=f"valid_32x32.tar has 1,000 bytes, expected {file.size:,} bytes") as refusal:
        rf.load_images("imagenet32", "test", tmp_path)
    assert file.sha256 in str(refusal.value) and file.url in str(refusal.value)
    altered = bytes([whole[0] ^ 1]) + whole[1:]
    path.write_bytes(altered)
    with pytest.raises(rf.DataError, match="valid_32x32.tar has SHA-256 [0-9a-f]{64}, expected .*" + file.sha256):
        rf.load_images("imagenet32", "test", tmp_path)
    assert path.read_bytes() == altered and not (folder / "test.npy").exists()


@pytest.mark.parametrize("name", IMAGE_SETS)
def test_every_file_of_every_set_is_missed_and_checked(name, miniature, server, tmp_path):
    """Not there, cut, and with one bit changed: the refusal names the file, what was expected and where to get it."""
    small = miniature(name)
    for part, published in (("train", small.image_set.train), ("test", small.image_set.test)):
        for i, file in enumerate(published.forms[0].files):
            whole = small.files[file.name]
            altered = whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]
            for kind, content in (("missing", None), ("cut", whole[: len(whole) // 3]), ("altered", altered)):
                if kind == "altered" and file.sha256 is None:
                    continue  # nothing tells
                root = tmp_path / f"{part}{i}{kind}"
                path = small.put(root) / file.name
                path.unlink() if content is None else path.write_bytes(content)
                with pytest.raises(rf.DataError) as refusal:
                    rf.load_images(name, part, root)
                expected = "" if file.sha256 is None else f"{file.size:,} bytes, SHA-256 {file.sha256}"
                assert all(word in str(refusal.value) for word in (file.name, expected, file.url)), (kind, file.name)
                assert not (path.parent / f"{part}.npy").exists()


@pytest.mark.parametrize("name", BY_HAND)
def test_what_must_be_placed_by_hand_is_named_with_size_checksum_and_source(name, tmp_path):
    with pytest.raises(rf.DataError) as refusal:
        rf.load_images(name, "train", tmp_path)
    for part in (IMAGE_SETS[name].train, IMAGE_SETS[name].test):
        for file in part.forms[0].files:
            for detail in (file.name, file.url, str(tmp_path / name), f"fetch {name}"):
                assert detail in str(refusal.value)
            if file.sha256:
                assert f"{file.size:,} bytes, SHA-256 {file.sha256}" in str(refusal.value)


def test_a_file_that_is_there_already_is_not_asked_for(miniature, tmp_path):
    small = miniature("imagenet64")
    small.put(tmp_path, ["valid_64x64.tar"])
    with pytest.raises(rf.DataError) as refusal:
        rf.load_images("imagenet64", "train", tmp_path)
    assert "train_64x64.tar" in str(refusal.value) and "valid_64x64.tar" not in str(refusal.value)
    assert len(rf.load_images("imagenet64", "test", tmp_path).images) == 5


def test_fetch_says_how_many_images_are_where(miniature, server, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RESFLOW_HOME", str(tmp_path))
    server.files = miniature("fashion_mnist", server.where).files
    assert main(["fetch", "fashion_mnist"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "fashion_mnist, train: 8 images of 1 x 28 x 28, 256 levels",
        "fashion_mnist, validation: 3 images of 1 x 28 x 28, 256 levels",
        "fashion_mnist, test: 5 images of 1 x 28 x 28, 256 levels",
        f"in {tmp_path / 'data' / 'cache' / 'fashion_mnist'}",
    ]
    assert main(["fetch", "digits"]) == 0 and "nothing to download" in capsys.readouterr().out


def test_fetch_asks_for_what_it_cannot_get(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RESFLOW_HOME", str(tmp_path))
    assert main(["fetch", "celebahq256"]) == 2
    said = capsys.readouterr().err
    assert f"Put into {tmp_path / 'data' / 'cache' / 'celebahq256'}\n  celeba-tfr.tar" in said and "train/" in said
