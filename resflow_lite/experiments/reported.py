"""Bits per dimension that others report, to print beside one's own and never mixed with them.

Source: Chen et al. 2019, table of density estimation, with the works that it cites. No error bars were reported. In
brackets there: with variational dequantisation, whose bound is tighter; those values are left out here.
"""

__all__ = ["REPORTED"]

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
