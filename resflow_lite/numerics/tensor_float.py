"""Products of float32 numbers on CUDA, rounded or not."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["tensor_float"]


@contextmanager
def tensor_float(allowed: bool) -> Iterator[None]:
    """Whether CUDA may round the factors of float32 products to TF32's ten bits. PyTorch allows it in convolutions."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
