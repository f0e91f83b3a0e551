"""The grid that is really in a picture: energy at the multiples of 1/stride, over what lies beside.

A picture is taken as its energy at each pixel, the squares summed over channels. A grid makes that
energy periodic: its spectrum has lines at the multiples of 1/stride, while what a picture shows is
spread over all frequencies. So the lines are compared with the spectrum a little beside them. Over
several pictures the spectra are averaged with their phases: a grid has the same phase in all of
them, since it is tied to the pixels, and what they show has not.

The picture's own values would not do. Where filters prefer some frequency near 1/stride, as trained
ones do, the values have lines there though every phase of the stride is equally strong.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import pad

from convscope.methods.gridding.structure import strided_steps
from convscope.methods.projection import Projection
from convscope.network import Network
from convscope.network.windows.relations import Sliding

Pair = tuple[int, int]

PERIODS = 4
"""Periods of the grid that must fit into the picture to tell a line from what lies beside it."""

BESIDE = 3.0
"""How far beside a line is looked, in cycles a picture: the window's own width is two."""


@dataclass(frozen=True)
class Band:
    """The frequencies of one grid.

    Attributes:
        base: pixels between the units below the strided layer, down and across.
        stride: the layer's own, down and across.
    """

    base: Pair
    stride: Pair

    @property
    def period(self) -> Pair:
        """Pixels after which the grid repeats, down and across."""
        return self.base[0] * self.stride[0], self.base[1] * self.stride[1]

    def fits(self, size: Pair) -> bool:
        """Return whether a picture of *size* is large enough to tell the grid in it."""
        return all(
            own == 1 or PERIODS * period <= length
            for own, period, length in zip(self.stride, self.period, size, strict=True)
        )

    @cached_property
    def lines(self) -> Tensor:
        """[rows, columns] of the period, bool: which of its harmonics belong to this grid.

        Not those that the units below have by themselves, at the multiples of 1/base.
        """
        rows, columns = (
            torch.arange(period) % own for period, own in zip(self.period, self.stride, strict=True)
        )
        return (rows[:, None] > 0) | (columns > 0)


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


class GridMeter:
    """Measures one grid in pictures as they come in.

    >>> pictures = torch.rand(4, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    >>> meter = GridMeter(Band((1, 1), (2, 2)), (64, 64))
    >>> meter.add(pictures)
    >>> max(meter.energies()) < 0.003
    True
    >>> pictures[:, :, ::2] *= 2  # every other row four times the energy: 4 and 1 about 2.5
    >>> meter = GridMeter(Band((1, 1), (2, 2)), (64, 64))
    >>> meter.add(pictures)
    >>> round(meter.energies()[0] ** 0.5, 1)
    0.6
    """

    def __init__(self, band: Band, size: Pair) -> None:
        self.band = band
        self.size = size
        self.total: Tensor | None = None
        self.count = 0

    def add(self, pictures: Tensor) -> None:
        """Take in pictures [B, C, H, W]; those that are zero everywhere are left out."""
        energy = pictures.detach().double().square().sum(dim=1)
        rows, columns = (self._waves(axis).to(energy.device) for axis in (0, 1))
        windows = [_window(size).to(energy) for size in self.size]
        weight = windows[0] @ energy @ windows[1]
        live = weight > 0
        spectra = rows @ energy[live].to(rows.dtype) @ columns.T / weight[live, None, None]
        found = spectra.sum(dim=0).cpu()
        self.total = found if self.total is None else self.total + found
        self.count += int(live.sum())

    def energies(self) -> tuple[float, float]:
        """Return the energy at the grid's frequencies, of a mean energy of one, and that expected.

        The first is the square of the coefficient of variation between the phases of the stride;
        the other what the frequencies beside them make expected. Both are nan before any picture.
        """
        if self.total is None or not self.count:
            return float("nan"), float("nan")
        heights, widths = self.band.period
        # [3, rows, 3, columns]: on each harmonic in the middle, and on both sides of it.
        power = (self.total / self.count).abs().square().view(3, heights, 3, widths)
        line = power[1, :, 1]
        beside = (power.sum(dim=(0, 2)) - line) / 8
        chosen = self.band.lines
        return float(line[chosen].sum()), float(beside[chosen].sum())

    def _waves(self, axis: int) -> Tensor:
        """Return [3 * period, size]: the windowed waves of all harmonics and beside them."""
        period, size = self.band.period[axis], self.size[axis]
        step = min(BESIDE / size, 0.5 / period)
        aside = torch.tensor([-step, 0.0, step], dtype=torch.float64)
        frequencies = (
            aside[:, None] + torch.arange(period, dtype=torch.float64) / period
        ).flatten()
        places = torch.arange(size, dtype=torch.float64)
        turns = -2 * torch.pi * frequencies[:, None] * places
        return torch.polar(_window(size).expand_as(turns), turns)


class UnitMeter:
    """Measures one grid in projections of single units of the strided layer itself.

    Each shows the kernels that lead down from it. The absolute values are taken, not their squares:
    each tap then counts by its weight, and not the few largest ones alone.
    """

    def __init__(self, band: Band) -> None:
        self.band = band
        self.total = torch.zeros(band.period, dtype=torch.complex128)
        self.count = 0

    def add(self, projection: Projection) -> None:
        """Take in projections of single units: those least cut off by the image's border."""
        strength = projection.pixels.detach().double().abs().sum(dim=2).flatten(0, 1)
        extents = (projection.window[..., 2:] - projection.window[..., :2]).flatten(0, 1)
        whole = extents.prod(dim=1) == extents.prod(dim=1).max()
        chosen = strength[whole.to(strength.device)]
        chosen = folded(chosen, self.band.period)
        chosen = chosen[chosen.sum(dim=(1, 2)) > 0]
        shares = chosen / chosen.sum(dim=(1, 2), keepdim=True)
        # Summed first: there are none at all where nothing arrives.
        self.total += torch.fft.fft2(shares.sum(dim=0)).cpu()
        self.count += len(chosen)

    def variation(self) -> float:
        """Return the coefficient of variation between the phases; nan before any projection."""
        if not self.count:
            return float("nan")
        power = (self.total / self.count).abs().square()
        return float(power[self.band.lines].sum().sqrt())


def folded(values: Tensor, period: Pair) -> Tensor:
    """Return the sum over each phase of a period, [..., *period], of values [..., H, W].

    >>> folded(torch.tensor([[1.0, 2.0, 4.0]]), (1, 2))
    tensor([[5., 2.]])
    """
    rows, columns = period
    below, right = -values.shape[-2] % rows, -values.shape[-1] % columns
    wide = pad(values, (0, right, 0, below))
    height, width = wide.shape[-2:]
    pieces = wide.view(*wide.shape[:-2], height // rows, rows, width // columns, columns)
    return pieces.sum((-4, -2))


def _window(size: int) -> Tensor:
    """Return Hann's window, float64, which lets no line leak further than two cycles."""
    return torch.hann_window(size + 2, periodic=False, dtype=torch.float64)[1:-1]
