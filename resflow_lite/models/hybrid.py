"""One network for p(x) and p(y | x): a flow whose features feed a classifier."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from .. import incoming
from ..errors import SettingsError
from ..expect import integer, number, one_of
from ..layers.bijection import Bijection, Chain
from ..layers.elementwise import ActNorm, Normalize
from ..layers.residual import ResidualBlock
from ..layers.shape import Squeeze, squeezed
from .branches import conv_branch
from .flow import Flow, standard_normal_log_prob
from .image import ImageModel
from .systems import systems

Shape = tuple[int, int, int]
COUPLINGS = {"coupling": systems["realnvp"], "coupling+1x1": systems["glow"]}
hybrid_kinds = ("residual", *COUPLINGS)


class _Standardize(ActNorm):
    """An ActNorm whose log-determinant nobody needs."""

    def forward(self, x: Tensor) -> Tensor:
        return self.transform(x)


HEADS = {"normed": lambda width: [_Standardize(width), nn.ReLU()], "plain": lambda width: [nn.SiLU()]}
"""What follows a head's convolution. normed: as in the paper's public code."""


class HybridFlow(Flow):
    """log p(x, y) = log p(x) + log p(y | x): the flow gives the first, the classifier on its features the second.

    scales: bijections of images, one after the other.  shapes: (C, H, W) of the event and of what leaves each scale.
    Each scale's output goes through a head: a 3x3 convolution to head_width channels, a SiLU (heads="normed": an
    ActNorm and a ReLU, as in the paper's public code), and the mean over pixels; one linear layer reads all heads.
    Source: paper, sec. 5; Nalisnick et al. 2019.
    """

    def __init__(
        self,
        scales: Sequence[Bijection],
        shapes: Sequence[Shape],
        n_classes: int,
        head_width: int,
        heads: str = "plain",
    ) -> None:
        n_classes, head_width = integer(2)("n_classes", n_classes), integer(1)("head_width", head_width)
        after = HEADS[one_of(tuple(HEADS))("heads", heads, "HybridFlow")]
        super().__init__(Chain(scales), shapes[0], shapes[-1])
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, head_width, 3, padding=1), *after(head_width), nn.AdaptiveAvgPool2d(1))
            for c, _, _ in shapes[1:]
        )
        self.classifier = nn.Linear(head_width * len(self.heads), n_classes)

    @torch.no_grad()
    def initialize_(self, x: Tensor) -> None:
        """Start the ActNorms, those of the heads as well, from the statistics of a batch, and the norms from its image
        size. Once, before training."""
        super().initialize_(x)
        for scale, head in zip(self.bijection.layers, self.heads):
            x = scale.transform(x)
            if isinstance(head[1], ActNorm):
                head[1].initialize_(head[0](x))

    def joint(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """log p(x), (B,) nats, and the logits of p(y | x), (B, n_classes), from one pass."""
        self._events(x, generator)
        total, features = x.new_zeros(len(x)), []
        for scale, head in zip(self.bijection.layers, self.heads):
            x, log_det = scale(x, generator)
            total = total + log_det
            features.append(head(x))
        return standard_normal_log_prob(x) + total, self._read(features)

    def logits(self, x: Tensor) -> Tensor:
        """(B, n_classes) logits of p(y | x) alone, with no work on log-determinants."""
        self._events(x)
        features = []
        for scale, head in zip(self.bijection.layers, self.heads):
            x = scale.transform(x)
            features.append(head(x))
        return self._read(features)

    def _read(self, features: list[Tensor]) -> Tensor:
        return self.classifier(torch.cat(features, 1).flatten(1))

    def objective(self, x: Tensor, labels: Tensor, weight: float, generator: torch.Generator | None = None) -> Tensor:
        """weight * log p(x) + log p(y | x), (B,) nats, to be maximised.

        weight: the paper's lambda. 1 is the likelihood of (x, y), 0 a classifier alone, which then costs no
        log-determinant; 1/D with D dimensions lets one label count as much as one pixel.
        labels: (B,) integers. Raises SettingsError for a negative weight and other labels, DataError for labels that
        are no classes.
        """
        weight = number("[0, inf)")("weight", weight)
        incoming.levels("labels", labels, self.classifier.out_features, ())
        if len(labels) != len(x):
            raise SettingsError(f"{len(labels)} labels for {len(x)} events: expected one each")
        labels = labels.long()
        if weight == 0:
            return -cross_entropy(self.logits(x), labels, reduction="none")
        log_prob, logits = self.joint(x, generator)
        return weight * log_prob - cross_entropy(logits, labels, reduction="none")


def hybrid_flow(
    shape: Shape,
    n_classes: int,
    blocks: tuple[int, ...] = (4, 4),
    width: int = 64,
    kind: str = "residual",
    head_width: int = 64,
    heads: str = "plain",
) -> HybridFlow:
    """A HybridFlow of residual or of coupling blocks: everything but the blocks is the same.

    shape, blocks, width: as in ImageModel.  kind: one of hybrid_kinds, the paper's three.  heads: see HybridFlow.
    A Normalize stands before the first block, an ActNorm after each, a Squeeze between scales. The paper has 256
    channels in each head.
    For equal sizes: with_budget(lambda w: hybrid_flow((1, 8, 8), 10, width=w, kind="coupling"), parameters).

    Raises SettingsError for an unknown kind and as ImageModel.
    """
    one_of(hybrid_kinds)("kind", kind, "hybrid_flow")
    model = ImageModel(shape, blocks, width)
    scales, shapes = [], [model.shape]
    for i, n_blocks in enumerate(model.blocks):
        now = squeezed(shapes[-1]) if i else model.shape
        layers = [Squeeze()] if i else [Normalize(now[0])]
        scales.append(Chain(layers + _scale(kind, model, now[0], n_blocks, first=i == 0)))
        shapes.append(now)
    return HybridFlow(scales, shapes, n_classes, head_width, heads)


def _scale(kind: str, model: ImageModel, channels: int, n_blocks: int, *, first: bool) -> list[Bijection]:
    if kind != "residual":
        return COUPLINGS[kind].scale(channels, n_blocks, model.width)
    layers: list[Bijection] = []
    for i in range(n_blocks):
        branch = conv_branch(channels, model.width, model.activation, model.coeff, preactivation=i > 0 or not first)
        layers += [ResidualBlock(branch), ActNorm(channels)]
    return layers
