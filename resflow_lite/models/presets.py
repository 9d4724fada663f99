"""The models of the papers, every value with its source.

`presets` maps a name to the settings of an image flow, `recipes` the same name to how it was trained. "paper" is the
Residual Flows paper (Chen et al. 2019); most values come from its public code (github.com/rtqichen/residual-flows: the
defaults of train_img.py and the commands of its README), where the paper's text is shorter. The two differ in the law:
the text says N ~ Geometric(0.5), sec. 3.1. To take that one:

    text = rf.PowerSeries(rf.Roulette(rf.Geometric(0.5), n_exact=2), probe="gaussian")
    model = dataclasses.replace(rf.presets["paper/cifar10"], train_estimator=text)
"""

from dataclasses import dataclass, replace

from ..estimators.logdet import PowerSeries
from ..estimators.series import Poisson, Roulette, Truncated
from ..expect import Named
from .image import ImageModel


def poisson(n_exact: int) -> PowerSeries:
    """The law of the public code's image models: N ~ Poisson(2) after n_exact terms, Gaussian probes, one N per block.

    With the Neumann gradient that code runs one Jacobian product more than its series has terms: its training gradient
    with n_exact_terms = 2 is the gradient of our series with n_exact = 3.
    """
    return PowerSeries(Roulette(Poisson(2.0), n_exact=n_exact), probe="gaussian")


@dataclass(frozen=True)
class Recipe:
    """How a model of the paper was trained, beside what `fit` always does: Adam with betas 0.9 and 0.99, gradients
    clipped at norm 1, norms of the layers updated after each step to a tolerance of 1e-3.

    batch_size: images per pass.  accumulation: passes per step of the optimiser.  epochs: at most.
    lr: after warm_up passes of linear rise, with no decay.  ema: decay of the averaged weights that are evaluated.
    flip: random horizontal flips.

    The defaults are those of the public code. It counts warm-up in passes, keeps the checkpoint with the best TEST
    bits/dim and reports that one.
    """

    batch_size: int = 64
    accumulation: int = 1
    epochs: int = 1000
    lr: float = 1e-3
    warm_up: int = 1000
    ema: float = 0.999
    flip: bool = False


# Public code, defaults: blocks 16-16-16, width 512, kernels 3-1-3, LipSwish, pre-activation but in the very first
# block, ActNorm before the first block and after each, four dense blocks of width 128, coeff 0.98, no factor-out; 2
# exact terms in training (3 of ours, see `poisson`) and 20 in evaluation.
_mnist = ImageModel(
    (1, 28, 28),
    blocks=(16, 16, 16),
    width=512,
    n_dense=4,
    dense_width=128,
    activation="lipswish",
    alpha=1e-6,  # of the logit, for MNIST alone
    coeff=0.98,
    train_estimator=poisson(3),
    eval_estimator=poisson(20),
)
_cifar10 = replace(_mnist, shape=(3, 32, 32), alpha=0.05)
_imagenet32 = replace(_cifar10, blocks=(32, 32, 32))  # README: --nblocks 32-32-32
_truncated = PowerSeries(Truncated(5), probe="gaussian")

presets = Named(
    "preset",
    {
        "paper/mnist": _mnist,
        "paper/cifar10": _cifar10,
        "paper/imagenet32": _imagenet32,
        # README: --factor-out True --squeeze-first True
        "paper/imagenet64": replace(_imagenet32, shape=(3, 64, 64), squeeze_first=True, factor_out=True),
        # README: --act elu --n-exact-terms 8 --fc-end False --factor-out True --squeeze-first True, six scales of 16
        "paper/celebahq256": replace(
            _cifar10,
            shape=(3, 256, 256),
            blocks=(16,) * 6,
            n_dense=0,
            activation="elu",
            squeeze_first=True,
            factor_out=True,
            train_estimator=poisson(9),
        ),
        # Arguments of toy_flow. Public code (train_toy.py), defaults: 100 blocks with four hidden layers of 128, coeff
        # 0.9, LipSwish, Geometric(0.5); trained with Adam at lr 1e-3, weight decay 1e-5, batches of 500, 50,000 steps.
        # It has an activation before the first layer and no ActNorm; toy_flow has ActNorms and no such activation.
        "paper/toy": dict(n_blocks=100, hidden=(128,) * 4, activation="lipswish", coeff=0.9),
        # i-ResNets as the Residual Flow changed in two things only: ELU and a truncated series, of 5 terms as in the
        # script dens_est_cifar.sh of github.com/jhjacobsen/invertible-resnet. (That script also has coeff 0.9,
        # factor-out, no dense blocks, no logit.) Evaluation stays unbiased: a truncated one would report too few bits.
        "iresnet/mnist": replace(_mnist, activation="elu", train_estimator=_truncated),
        "iresnet/cifar10": replace(_cifar10, activation="elu", train_estimator=_truncated),
        # Ours: what trains in minutes on two cores (the laptop profile); alpha and coeff as for MNIST.
        "laptop/digits": ImageModel((1, 8, 8), blocks=(4, 4), width=64, n_dense=2, dense_width=64),
    },
)

recipes = Named(
    "recipe",
    {
        "paper/mnist": Recipe(),
        "paper/cifar10": Recipe(flip=True),
        "paper/imagenet32": Recipe(),
        "paper/imagenet64": Recipe(),
        # README: --batchsize 8 --update-freq 5
        "paper/celebahq256": Recipe(batch_size=8, accumulation=5, flip=True),
        "iresnet/mnist": Recipe(),
        "iresnet/cifar10": Recipe(flip=True),
    },
)
