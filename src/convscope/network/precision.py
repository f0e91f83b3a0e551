"""Which devices compute faster in half the precision."""

from typing import Any

import torch


def halves_are_fast(kind: str) -> bool:
    """Tell whether a kind of device multiplies bfloat16 numbers faster than single ones.

    Processors with instructions for it convolve about twice as fast; those without are slowed down.

    Args:
        kind: as ``torch.device.type``, or ``"auto"`` for the best there is.

    """
    if kind in ("auto", "cuda") and torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    if kind == "mps" or (kind == "auto" and torch.backends.mps.is_available()):
        return False
    # Newer than the oldest PyTorch that this package takes.
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
