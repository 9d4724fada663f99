"""In what precision a training step computes."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from ..errors import SettingsError

__all__ = ["check_precision", "branches_in", "tensor_float"]


def check_precision(precision: str, device: torch.device) -> None:
    """Raises SettingsError where the device cannot compute in "fp32", "tf32" or "bf16"."""
    if precision == "tf32" and (device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0)):
        raise SettingsError("precision = 'tf32': needs an NVIDIA GPU of compute capability 8.0 or more; take 'fp32'")
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise SettingsError("precision = 'bf16': this GPU does not compute in bfloat16; take 'fp32'")


def branches_in(precision: str, device: torch.device) -> AbstractContextManager:
    """The residual branches and their products in bfloat16, if asked; log-determinants and norms stay in float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


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
