"""See what a convolutional network sees.

>>> import convscope as cs
>>> import torch
>>> from torch import nn
>>> net = cs.Network(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), torch.zeros(1, 3, 8, 8))
>>> net.layers["0"].receptive_field
(3, 3)
"""

import re
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import Any

from convscope.arguments import checked

__version__ = "0.1.0"

# The stub is the one list of the public names, for type checkers and for this module alike.
_STUB = Path(__file__).with_suffix(".pyi").read_text("utf-8")
_HOME_OF = {name: module for module, name in re.findall(r"from (\S+) import (\w+) as", _STUB)}
# Functions before the classes that they return, as the reference lists them.
__all__ = [*sorted(_HOME_OF, key=str.swapcase), "__version__"]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import convscope`` costs nothing."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'convscope' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    if isinstance(value, FunctionType):
        value = checked(value)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return list(__all__)
