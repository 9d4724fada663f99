"""In what precision a training step computes."""

from contextlib import AbstractContextManager

import torch

from ..errors import SettingsError

__all__ = ["check_precision", "branches_in"]


def check_precision(precision: str, device: torch.device) -> None:
    """Raises SettingsError where the device cannot compute in "fp32", "tf32" or "bf16"."""
    if precision == "tf32" and (device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0)):
        raise SettingsError("precision = 'tf32': needs an NVIDIA GPU of compute capability 8.0 or more; take 'fp32'")
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise SettingsError("precision = 'bf16': this GPU does not compute in bfloat16; take 'fp32'")


def branches_in(precision: str, device: torch.device) -> AbstractContextManager:
    """The residual branches and their products in bfloat16, if asked; log-determinants and norms stay in float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
