"""Layers of one shape, computed together: a model has few shapes and many layers, and on a GPU the many small
operations of each layer by itself cost more than their work. Nothing here is read back from the device."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ..numerics.kernels import gather, kernel_matrix, mirrored
from ..numerics.norms import binary_size
from ..numerics.stacked import leading_vectors


@torch.no_grad()
def update_together_(layers: Iterable[Any], tol: float) -> None:
    """Bring the vectors of 2-norm layers up to date with their weights, to tol; see `update_norms_`."""
    for group in _alike(layers):
        image, seeds = group[0].input_shape[2:], torch.stack([layer.updates for layer in group])
        found = leading_vectors(_kernels(group), image or (1, 1), _vectors(group), seeds, tol)
        found = found.view(len(group), 1, -1, *image).unbind()
        for layer, vector in zip(group, found):
            if layer.vector.shape != vector.shape:
                layer.vector = torch.empty_like(vector)
        torch._foreach_copy_([layer.vector for layer in group], found)
        torch._foreach_add_([layer.updates for layer in group], 1)


def prepare_together(layers: Iterable[Any], dtype: torch.dtype) -> dict[Any, list[Tensor]]:
    """`layer.tensors`, the weight as applied and the bias, of 2-norm layers that are matrices; in a dtype.

    With K the matrix of a layer from its narrow side to the wide one and v the kept vector there, sigma = |v K| / |v|.
    """
    found = {}
    for group in _alike(layers):
        kernels, vectors = _kernels(group), _vectors(group)
        matrices, rows = kernel_matrix(kernels), vectors[:, None]
        if kernels.shape[-1] > 1:
            pixels = vectors.view(len(group), -1, *group[0].input_shape[2:]).permute(0, 2, 3, 1)
            rows = gather(pixels).view(len(group), -1, matrices.shape[1])
        images = (rows @ matrices).flatten(1)
        unit = binary_size(images, (1,))
        sigma = (images / unit).norm(dim=1) * unit[:, 0] / vectors.norm(dim=1)
        applied = (matrices / (sigma / group[0].coeff).clamp_min(1)[:, None, None]).to(dtype).unbind()
        biases = [bias for side in _sides(group) for bias in torch.stack([layer.bias for layer in side]).to(dtype)]
        for layer, matrix, bias in zip(group, applied, biases):
            found[layer] = [matrix if layer.weight.dim() == 4 or _narrows(layer) else matrix.T, bias]
    return found


def _alike(layers: Iterable[Any]) -> list[list[Any]]:
    """Groups of layers that are the same map from their narrow side, up to its weight: those that widen come first."""
    groups: dict[tuple, list[Any]] = {}
    for layer in layers:
        sides, weight = frozenset(layer.weight.shape[:2]), layer.weight
        key = sides, weight.shape[2:], layer.input_shape[2:], layer.coeff, weight.dtype, weight.device
        groups.setdefault(key, []).append(layer)
    return [sorted(group, key=_narrows) for group in groups.values()]


def _narrows(layer: Any) -> bool:
    return layer.weight.shape[0] < layer.weight.shape[1]


def _sides(group: list[Any]) -> list[list[Any]]:
    """Those that widen and those that narrow."""
    sides = [[layer for layer in group if _narrows(layer) is narrows] for narrows in (False, True)]
    return [side for side in sides if side]


def _kernels(group: list[Any]) -> Tensor:
    """(L, wide, narrow, k, k), with k = 1 for a matrix."""
    kernels = [torch.stack([layer.weight for layer in side]) for side in _sides(group)]
    kernels = [k if k.dim() == 5 else k[..., None, None] for k in kernels]
    return torch.cat([mirrored(k) if k.shape[1] < k.shape[2] else k for k in kernels])


def _vectors(group: list[Any]) -> Tensor:
    """(L, n) the kept vectors on the narrow side; a copy, as an update may come before the backward pass."""
    return torch.stack([layer.narrow_vector().flatten() for layer in group])
