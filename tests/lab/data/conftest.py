"""Every published set in miniature: 11 training and 5 test images in files of the real formats and names."""

import gzip
import hashlib
import io
import struct
import tarfile
import threading
import zipfile
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from resflow_lite.lab.data.formats import _masked_crc32c
from resflow_lite.lab.data.sources import IMAGE_SETS, ImageSet

N_TRAIN, N_TEST, N_VALIDATION = 11, 5, 3


def _idx(array):
    return gzip.compress(struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes())


def _mnist(train, test):
    return {
        f"{prefix}-{kind}-ubyte.gz": _idx(array)
        for prefix, (images, labels) in (("train", train), ("t10k", test))
        for kind, array in (("images-idx3", images[:, 0]), ("labels-idx1", labels.astype(np.uint8)))
    }


def _tar(files, mode):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode=mode) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return archive.getvalue()


def _cifar10(train, test):
    def records(images, labels):
        return np.hstack([labels[:, None].astype(np.uint8), images.reshape(len(images), -1)]).tobytes()

    chosen = np.array_split(np.arange(N_TRAIN), 5)
    batches = {f"data_batch_{i}.bin": records(train[0][part], train[1][part]) for i, part in enumerate(chosen, 1)}
    unpacked = {
        f"cifar-10-batches-bin/{name}": data for name, data in {**batches, "test_batch.bin": records(*test)}.items()
    }
    shuffled = dict(
        sorted(unpacked.items(), reverse=True)
    )  # as in the real archive, the order is not that of the names
    return {"cifar-10-binary.tar.gz": _tar(shuffled, "w:gz"), **unpacked}


def _svhn(train, test):
    files = {}
    for name, (images, labels) in (("train", train), ("test", test)):
        content = {"X": images.transpose(2, 3, 1, 0), "y": np.where(labels == 0, 10, labels)[:, None].astype(np.uint8)}
        file = io.BytesIO()
        savemat(file, content, do_compression=True)
        files[f"{name}_32x32.mat"] = file.getvalue()
    return files


def _png(image):
    file = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(file, "PNG")
    return file.getvalue()


def _small_imagenet(train, test):
    side = train[0].shape[-1]
    return {
        f"{name}_{side}x{side}.tar": _tar({f"{name}/{i:07}.png": _png(x) for i, x in enumerate(images)}, "w")
        for name, (images, _) in (("train", train), ("valid", test))
    }


def _official_imagenet32(train, test):
    def archive(batches):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
            for name, images, labels in batches:
                batch = io.BytesIO()
                np.savez(batch, data=images.reshape(len(images), -1), labels=labels + 1, mean=np.zeros(3))
                zipped.writestr(name, batch.getvalue())
        return file.getvalue()

    # eleven batches, so that number 10 has to come after number 9
    batches = [
        (f"Imagenet32_train_npz/train_data_batch_{i + 1}.npz", *(x[i : i + 1] for x in train)) for i in range(11)
    ]
    return {
        "Imagenet32_train_npz.zip": archive(sorted(batches, key=lambda batch: batch[0])),
        "Imagenet32_val_npz.zip": archive([("val_data.npz", *test)]),
    }


def _varint(value):
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])


def _field(number, data):
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _record(image):
    data = _field(1, _field(1, image.transpose(1, 2, 0).tobytes()))
    shape = _field(3, _field(1, b"".join(_varint(n) for n in (*image.shape[1:], 3))))
    entries = [_field(1, _field(1, name) + _field(2, value)) for name, value in ((b"shape", shape), (b"data", data))]
    example = _field(1, b"".join(entries))
    length = struct.pack("<Q", len(example))
    return length + struct.pack("<I", _masked_crc32c(length)) + example + b"\0\0\0\0"


def _celebahq256(train, test):
    shards = {
        "celeba-tfr/validation/validation-r08-s-0000-of-0001.tfrecords": test[0],
        "celeba-tfr/train/train-r08-s-0000-of-0002.tfrecords": train[0][:4],
        "celeba-tfr/train/train-r08-s-0001-of-0002.tfrecords": train[0][4:],
    }
    files = {name: b"".join(_record(image) for image in images) for name, images in shards.items()}
    folders = {
        f"{folder}/{i:05}.png": _png(image)
        for folder, (images, _) in (("train", train), ("validation", test))
        for i, image in enumerate(images)
    }
    return {"celeba-tfr.tar": _tar(files, "w:gz"), **folders}


WRITERS = {
    "mnist": _mnist,
    "fashion_mnist": _mnist,
    "cifar10": _cifar10,
    "svhn": _svhn,
    "imagenet32": _small_imagenet,
    "imagenet32_official": _official_imagenet32,
    "imagenet64": _small_imagenet,
    "celebahq256": _celebahq256,
}


@dataclass
class Miniature:
    """parts: images and labels of "train" and "test".  files: contents of all forms by name."""

    name: str
    parts: dict
    files: dict
    image_set: ImageSet

    @property
    def preferred(self):
        return {file.name for part in (self.image_set.train, self.image_set.test) for file in part.forms[0].files}

    def put(self, root, names=None):
        """Write files where a user would put them by hand: the preferred ones, or those of these names."""
        for name in self.preferred if names is None else names:
            path = root / self.name / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.files[name])
        return root / self.name


@pytest.fixture
def miniature(monkeypatch):
    """miniature(name, where): the set of that name, small, its files to be had at `where`; registered as that set."""

    def build(name, where="http://127.0.0.1:9/"):
        real = IMAGE_SETS[name]
        generator = np.random.default_rng(0)
        has_labels = name not in ("imagenet32", "imagenet64", "celebahq256")
        parts = {
            part: (
                generator.integers(0, 256, (n, *real.shape), dtype=np.uint8),
                generator.integers(0, 10, n) if has_labels else np.full(n, -1),
            )
            for part, n in (("train", N_TRAIN), ("test", N_TEST))
        }
        files = WRITERS[name](parts["train"], parts["test"])

        def small(file):
            if file.sha256 is None:
                return file
            data = files[file.name]
            return replace(file, url=where + file.name, size=len(data), sha256=hashlib.sha256(data).hexdigest())

        def shrink(part, n):
            forms = tuple(replace(form, files=tuple(small(file) for file in form.files)) for form in part.forms)
            return replace(part, n_images=n, forms=forms)

        image_set = replace(
            real, train=shrink(real.train, N_TRAIN), test=shrink(real.test, N_TEST), n_validation=N_VALIDATION
        )
        monkeypatch.setitem(IMAGE_SETS, name, image_set)
        return Miniature(name, parts, files, image_set)

    return build


@pytest.fixture
def server(monkeypatch):
    """A web server: `files` by name, `cut` for how many bytes of each it sends, `asked` for the names in order."""
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.lstrip("/")
            self.server.asked.append(name)
            if name not in self.server.files:
                return self.send_error(404)
            data = self.server.files[name]
            self.send_response(200)
            self.send_header("Content-Length", len(data))
            self.end_headers()
            self.wfile.write(data[: self.server.cut])

        def log_message(self, *_):
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.files, http.cut, http.asked = {}, None, []
        http.where = f"http://127.0.0.1:{http.server_port}/"
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield http
        http.shutdown()
        thread.join()
