"""Products of float32 numbers, rounded or not."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


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


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Products in the precision of their dtype, outside autocast: with ten bits a norm would pass its bound."""
    with tensor_float(False), torch.autocast(device.type, enabled=False):
        yield
