"""What others report, to print beside one's own and never mixed with it. No error bars were reported.

REPORTED: bits per dimension on test images. Source: Chen et al. 2019, table of density estimation, with the works that
it cites. VARIATIONAL: the values in brackets there, with variational dequantisation, whose bound is tighter.
SECOND_HAND: read in a text that cites the source, not in the source itself; marked so wherever it is printed.
"""

REPORTED: dict[str, dict[str, float]] = {
    "Real NVP (Dinh et al. 2017)": dict(mnist=1.06, cifar10=3.49, imagenet32=4.28, imagenet64=3.98),
    "Glow (Kingma and Dhariwal 2018)": dict(
        mnist=1.05, cifar10=3.35, imagenet32=4.09, imagenet64=3.81, celebahq256=1.03
    ),
    "FFJORD (Grathwohl et al. 2019)": dict(mnist=0.99, cifar10=3.40),
    "Flow++ (Ho et al. 2019)": dict(cifar10=3.29),
    "i-ResNet (Behrmann et al. 2019)": dict(mnist=1.05, cifar10=3.45),
    "Residual Flow (Chen et al. 2019)": dict(
        mnist=0.970, cifar10=3.280, imagenet32=4.010, imagenet64=3.757, celebahq256=0.992
    ),
}

VARIATIONAL: dict[str, dict[str, float]] = {
    "Flow++ (Ho et al. 2019)": dict(cifar10=3.09, imagenet32=3.86, imagenet64=3.69)
}

SECOND_HAND: dict[str, str] = {
    "i-DenseNet (Perugachi-Diaz et al. 2021), bits/dim": "CIFAR-10 3.25, ImageNet 32 3.98",
    "Residual Flow (Chen et al. 2019), FID of CIFAR-10 samples": "46.37",
}
