"""See what a convolutional network sees.

>>> import convscope as cs
>>> import torch
>>> from torch import nn
>>> net = cs.Network(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), torch.zeros(1, 3, 8, 8))
>>> net.layers["0"].receptive_field
(3, 3)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convscope.errors import ConvscopeError
    from convscope.methods.project import project, strongest_maps
    from convscope.models import load
    from convscope.network import Layer, Network
    from convscope.records import Projection

__version__ = "0.1.0"

__all__ = [
    "ConvscopeError",
    "Layer",
    "Network",
    "Projection",
    "__version__",
    "load",
    "project",
    "strongest_maps",
]

_HOMES = {
    "ConvscopeError": "convscope.errors",
    "Layer": "convscope.network",
    "Network": "convscope.network",
    "Projection": "convscope.records",
    "load": "convscope.models",
    "project": "convscope.methods.project",
    "strongest_maps": "convscope.methods.project",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import convscope`` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'convscope' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return list(__all__)
