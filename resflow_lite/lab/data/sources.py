"""Where each image data set comes from and how to know that it arrived whole; data/README.md tells it in words.

Sizes and SHA-256 are those that TensorFlow Datasets records (tensorflow_datasets/url_checksums); for MNIST and CIFAR-10
they were computed again from the files.
"""

from dataclasses import dataclass

from . import formats


@dataclass(frozen=True)
class SourceFile:
    """A file (or, with a name that ends in "/", a folder) as its publisher made it.

    url: of the file or, where that needs an account, of the page that leads to it.
    size: bytes.  sha256: hexadecimal.  None where it is not publicly known.
    """

    name: str
    url: str
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Form:
    """Files that together hold the images of a part, and their reader."""

    files: tuple[SourceFile, ...]
    read: formats.Reader


@dataclass(frozen=True)
class Part:
    """The published training or test images. forms: any one of them will do; the first is the one to get."""

    n_images: int
    forms: tuple[Form, ...]


@dataclass(frozen=True)
class ImageSet:
    """A published set of 8-bit images (C, H, W).

    n_validation: how many of the training images, the last ones, are held out.
    n_bits: the bits of each level that density models of this set use.
    by_hand: why the files cannot be downloaded without a person, and what else that person must know; or "".
    """

    shape: tuple[int, int, int]
    train: Part
    test: Part
    n_validation: int
    n_bits: int = 8
    by_hand: str = ""


def _file(where: str, name: str, *size_and_sha256: int | str) -> SourceFile:
    """where: a folder on the web, which ends in "/", or the page that leads to the file."""
    return SourceFile(name, where + name if where.endswith("/") else where, *size_and_sha256)


def _part(n_images: int, read: formats.Reader, *files: SourceFile) -> Part:
    return Part(n_images, (Form(files, read),))


def _mnist(where: str, *files: tuple[str, int, str]) -> ImageSet:
    train_images, train_labels, test_images, test_labels = (_file(where, *file) for file in files)
    train = _part(60_000, formats.read_idx, train_images, train_labels)
    test = _part(10_000, formats.read_idx, test_images, test_labels)
    return ImageSet((1, 28, 28), train, test, n_validation=5_000)


def _cifar10() -> ImageSet:
    """From the archive or, where somebody has unpacked it, from its folder."""
    where, folder = "https://www.cs.toronto.edu/~kriz/", "cifar-10-batches-bin/"
    whole = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
    archive = _file(where, "cifar-10-binary.tar.gz", 170052171, whole)
    batches = {
        "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
        "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
        "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
        "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
        "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
        "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
    }

    def part(*names: str) -> Part:
        unpacked = tuple(_file(archive.url, folder + name, 30730000, batches[name]) for name in names)
        packed = Form((archive,), formats.read_cifar_archive([folder + name for name in names]))
        return Part(10_000 * len(names), (packed, Form(unpacked, formats.read_cifar)))

    *train, test = batches
    return ImageSet((3, 32, 32), part(*train), part(test), n_validation=5_000)


def _svhn() -> ImageSet:
    where = "http://ufldl.stanford.edu/housenumbers/"
    train = "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8"
    test = "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b"
    return ImageSet(
        (3, 32, 32),
        _part(73_257, formats.read_mat, _file(where, "train_32x32.mat", 182040794, train)),
        _part(26_032, formats.read_mat, _file(where, "test_32x32.mat", 64275384, test)),
        n_validation=5_000,
    )


_TERMS = "ImageNet is for research and teaching, by those who accept its terms: https://image-net.org/download"


def _small_imagenet(side: int, page: str, train: tuple[int, str], test: tuple[int, str]) -> ImageSet:
    """The images of van den Oord et al. (2016)."""
    return ImageSet(
        (3, side, side),
        _part(1_281_149, formats.read_png_archive, _file(page, f"train_{side}x{side}.tar", *train)),
        _part(49_999, formats.read_png_archive, _file(page, f"valid_{side}x{side}.tar", *test)),
        n_validation=10_000,
        by_hand=f"image-net.org has withdrawn these files, that page has copies. {_TERMS}",
    )


def _official_imagenet32() -> ImageSet:
    """The images of Chrabaszcz et al. (2017)."""
    page = "https://image-net.org/download-images"
    train = "94226337ecc1b0309d9fcd0167127aaadc931587035fbcb53925235edbaec4fc"
    test = "013990e6dec1237dcd1f9beadbab81ead6604cc119af5cacbfb59ae28148377a"
    return ImageSet(
        (3, 32, 32),
        _part(1_281_167, formats.read_npz_archive, _file(page, "Imagenet32_train_npz.zip", 3580435279, train)),
        _part(50_000, formats.read_npz_archive, _file(page, "Imagenet32_val_npz.zip", 139697668, test)),
        n_validation=10_000,
        by_hand=f"That page asks for an account. {_TERMS}",
    )


def _celebahq256() -> ImageSet:
    """From the archive of Kingma and Dhariwal (2018) or from two folders of images."""
    where = "https://openaipublic.azureedge.net/glow-demo/data/"
    terms = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"

    def part(n_images: int, folder: str) -> Part:
        records = Form((_file(where, "celeba-tfr.tar"),), formats.read_tfrecord_archive(folder))
        return Part(n_images, (records, Form((_file(terms, f"{folder}/"),), formats.read_folder)))

    return ImageSet(
        (3, 256, 256),
        part(27_000, "train"),
        part(3_000, "validation"),
        n_validation=1_000,
        n_bits=5,
        by_hand="Two folders of PNG or JPEG images of 256 x 256 will do too: train/ with 27,000, validation/ with "
        f"3,000. CelebA-HQ is for research and teaching that is not commercial, by its terms: {terms}",
    )


IMAGE_SETS = {
    "mnist": _mnist(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        ("train-images-idx3-ubyte.gz", 9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        ("train-labels-idx1-ubyte.gz", 28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        ("t10k-images-idx3-ubyte.gz", 1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        ("t10k-labels-idx1-ubyte.gz", 4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    ),
    "fashion_mnist": _mnist(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ("train-images-idx3-ubyte.gz", 26421880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        ("train-labels-idx1-ubyte.gz", 29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        ("t10k-images-idx3-ubyte.gz", 4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        ("t10k-labels-idx1-ubyte.gz", 5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    ),
    "cifar10": _cifar10(),
    "svhn": _svhn(),
    "imagenet32": _small_imagenet(
        32,
        "https://academictorrents.com/details/bf62f5051ef878b9c357e6221e879629a9b4b172",
        train=(4113018880, "244a323d48f8d72f65ad8b54658c01fed68d2d7bdc77ccb43da58c11e94224e5"),
        test=(161474560, "862e559462b24cf736212a19f6b0d47b55c2dc8ebdaa95ccecfe71260124c8f7"),
    ),
    "imagenet32_official": _official_imagenet32(),
    "imagenet64": _small_imagenet(
        64,
        "https://academictorrents.com/details/96816a530ee002254d29bf7a61c0c158d3dedc3b",
        train=(12112588800, "e2a2c1947a748d0d256e98e6d82800d855441dc9e4de2e71a773f1324c4524d7"),
        test=(477255680, "eeac03ec4f585baf871d2b4cb9c974bfe345e74878a74e5820fe6eb1041629cd"),
    ),
    "celebahq256": _celebahq256(),
}
"""By name. `imagenet32` is the paper's; numbers on `imagenet32_official`, other images of the same photographs, are not
comparable with it."""

MADE_HERE = {"digits": (1, 8, 8), "mnist14": (1, 14, 14)}
"""Shapes (C, H, W) of the sets that are not a publisher's files as they are: images.py makes them."""
