"""Which grids can be in a projection: the frequencies that belong to each strided layer."""

from convscope.methods.gridding.spectrum import Band
from convscope.methods.gridding.structure import strided_steps
from convscope.network import Network
from convscope.network.windows import Sliding


def bands_of(net: Network) -> dict[Band, list[int]]:
    """Return the bands of a network's strided layers, and the steps whose grids lie in each.

    Layers side by side, as a block's strided convolution and the one on its shortcut, share a band.
    Layers are left out that make maps larger, or lie where the image's pixels between neighbouring
    units are no whole number.

    >>> import torch
    >>> from torch import nn
    >>> module = nn.Sequential(nn.Conv2d(3, 4, 4, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2))
    >>> net = Network(module, torch.zeros(1, 3, 16, 16))
    >>> [(band.base, band.stride, steps) for band, steps in bands_of(net).items()]
    [((1, 1), (2, 2), [1]), ((2, 2), (2, 2), [3])]
    """
    found: dict[Band, list[int]] = {}
    for index in strided_steps(net):
        band = _band(net, index)
        if band is not None:
            found.setdefault(band, []).append(index)
    return found


def _band(net: Network, index: int) -> Band | None:
    base, stride = [], []
    for axis in (0, 1):
        steps = net.receptive_fields.relation(index, 0, axis)
        along = net.receptive_fields.along(index, axis)
        own = getattr(steps, "stride", 0)
        if (not isinstance(steps, Sliding) and own != 1) or along is None:
            return None
        below = along[0] / own
        if below != int(below):
            return None
        base.append(int(below))
        stride.append(own)
    return Band((base[0], base[1]), (stride[0], stride[1]))
