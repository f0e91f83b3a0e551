"""Aliasing: a first layer whose stride cannot carry what its filters pass of the images."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from convscope.methods.diagnosis.finding import Finding, Thresholds, named
from convscope.methods.gridding.spectrum import folded
from convscope.methods.kernels import weight_tensor
from convscope.methods.scanning.strongest import Doubles
from convscope.methods.scanning.units import ScannedLayer
from convscope.network import Network
from convscope.network.ops import Convolution
from convscope.network.ops.base import pair
from convscope.wording import times

ALIASING = "aliasing"
GAP = "frequency gap"
CITED = "as Zeiler & Fergus did (sec. 4.1: from 11×11, stride 4 to 7×7, stride 2)"

SIDE = 64
"""Pixels along a side of the pieces that spectra are taken of."""


class ImageSpectrum:
    """The mean cross-spectrum of the colours of images, by Welch's method: Hann-windowed pieces."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.side = min(SIDE, *shape[1:])
        window = torch.hann_window(self.side, periodic=True, dtype=torch.float64)
        self._window = window[:, None] * window[None, :]
        size = (shape[0], shape[0], self.side, self.side)
        self._sums = torch.zeros(size, dtype=torch.complex128)
        self._count = 0

    def add(self, images: Tensor) -> None:
        """Count images [N, C, H, W], cut into pieces; their mean does not count."""
        for image in images.to("cpu", torch.float64):
            pieces = image.unfold(1, self.side, self.side).unfold(2, self.side, self.side)
            pieces = pieces.flatten(1, 2).transpose(0, 1)
            pieces = (pieces - pieces.mean((2, 3), keepdim=True)) * self._window
            found = torch.fft.fft2(pieces)
            self._sums += torch.einsum("nchw,ndhw->cdhw", found, found.conj())
            self._count += len(pieces)

    def mean(self) -> Tensor:
        """Return the cross-spectrum, complex [C, C, F, F], frequencies as ``fft2`` orders them."""
        return self._sums / max(self._count, 1)


@dataclass(frozen=True, eq=False)
class Response:
    """What the filters of a first layer pass of the images, before they are subsampled.

    Attributes:
        power: [K, F, F], float64: every filter's mean power at each frequency, summing to 1; all
            zeros for a filter without weights. Frequencies in the order of ``fft2``.
        energy: [K, F, F], float64: the same of the filter itself, as if all images' frequencies
            were equally strong.
        stride: rows and columns.
        kernel: height and width, dilation included.
        inputs: channels of the images.
    """

    power: Doubles
    energy: Doubles
    stride: tuple[int, int]
    kernel: tuple[int, int]
    inputs: int

    @property
    def rewrites_patches(self) -> bool:
        """Whether patches side by side are written in as many numbers as they have, or more.

        That loses nothing, whatever the frequencies.
        """
        numbers = self.inputs * self.kernel[0] * self.kernel[1]
        return self.kernel == self.stride and len(self.power) >= numbers

    def aliased(self) -> Doubles:
        """Return the share of each filter's power that the stride folds back, [K].

        That is what lies beyond half a cycle a step, along rows or columns (Nyquist): after the
        stride it cannot be told from lower frequencies.
        """
        rows, columns = (np.abs(np.fft.fftfreq(side)) for side in self.power.shape[1:])
        beyond = (rows > 0.5 / self.stride[0])[:, None] | (columns > 0.5 / self.stride[1])[None, :]
        found: Doubles = (self.power * beyond).sum((1, 2))
        return found

    def folded_octaves(self) -> Doubles:
        """Return how far each filter's energy lies beyond what the stride can carry, [K].

        The mean over its energy of the octaves above half a cycle a step, 0 for what lies below.
        White noise gives 0.46 at a stride of 2, and 1.32 at one of 4.
        """
        rows, columns = (np.abs(np.fft.fftfreq(side)) for side in self.energy.shape[1:])
        relative = np.maximum(
            2 * self.stride[0] * rows[:, None], 2 * self.stride[1] * columns[None, :]
        )
        found: Doubles = (self.energy * np.log2(np.maximum(relative, 1))).sum((1, 2))
        return found

    def bands(self) -> Doubles:
        """Return each filter's power at low, middle and high frequencies, [K, 3].

        Low: less than a cycle in the filter's width; high: above a quarter of a cycle a pixel.
        """
        radius = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n) for n in self.power.shape[1:])))
        low, high = radius < 1 / max(self.kernel), radius > 0.25
        masks = (low, ~low & ~high, high)
        return np.stack([(self.power * mask).sum((1, 2)) for mask in masks], axis=1)


def response_of(net: Network, layer: ScannedLayer, spectrum: ImageSpectrum) -> Response:
    """Return what the filters of *layer*, which reads the images, pass of them."""
    call = net.graph.steps[layer.convolution].call
    dilation = pair(call.arguments.get("dilation", 1))
    kernels = _dilated(weight_tensor(net, layer), (dilation[0], dilation[1]))
    size = spectrum.side
    # A kernel wider than a piece is laid around it: the frequencies stay the same.
    found = torch.fft.fft2(folded(kernels, (size, size)))
    power = torch.einsum("kchw,kdhw,cdhw->khw", found.conj(), found, spectrum.mean()).real
    energy = found.abs().square().sum(1)
    stride = pair(call.arguments.get("stride", 1))
    shape = (int(kernels.shape[2]), int(kernels.shape[3]))
    return Response(
        _shares(power), _shares(energy), (stride[0], stride[1]), shape, kernels.shape[1]
    )


def _shares(power: Tensor) -> Doubles:
    """Return power [K, F, F] as shares of each filter's."""
    power = power.clamp(min=0)
    total = power.sum((1, 2), keepdim=True)
    found: Doubles = torch.where(total > 0, power / total.clamp(min=1e-300), 0.0).numpy()
    return found


def first_layer(net: Network, layers: list[ScannedLayer]) -> ScannedLayer | None:
    """Return the convolution that reads the images themselves, if there is one such.

    Steps between that treat all positions alike, such as a normalisation, do not count. A
    transposed convolution, or one in groups, is none.
    """
    graph = net.graph
    for layer in layers:
        index = graph.steps[layer.convolution].inputs[0]
        while index and graph.steps[index].shape == graph.steps[0].shape:
            if len(graph.steps[index].inputs) != 1:
                break
            index = graph.steps[index].inputs[0]
        step = graph.steps[layer.convolution]
        plain = isinstance(step.operation, Convolution) and not step.operation.transposed
        if index == 0 and plain and step.call.arguments.get("groups", 1) == 1:
            return layer
    return None


def _dilated(kernels: Tensor, dilation: tuple[int, int]) -> Tensor:
    height, width = (
        (side - 1) * step + 1 for side, step in zip(kernels.shape[2:], dilation, strict=True)
    )
    found = kernels.new_zeros(*kernels.shape[:2], height, width)
    found[:, :, :: dilation[0], :: dilation[1]] = kernels
    return found


def aliased_share(response: Response) -> float:
    """Return the mean over the filters of the share of their response that is folded back.

    Filters without weights do not count; NaN if there are no others.
    """
    return _mean_of_living(response.aliased(), response.power)


def folded_octaves(response: Response) -> float:
    """Return the mean over the filters of how far their energy lies beyond the stride."""
    return _mean_of_living(response.folded_octaves(), response.energy)


def _mean_of_living(values: Doubles, power: Doubles) -> float:
    living = power.sum((1, 2)) > 0
    return float(values[living].mean()) if living.any() else float("nan")


def find_aliasing(layer: str, response: Response, thresholds: Thresholds) -> list[Finding]:
    """Return what is to be said of a first layer's stride."""
    octaves = folded_octaves(response)
    if response.rewrites_patches or not octaves > thresholds.aliased:
        return []
    own = response.folded_octaves()
    worst = np.flatnonzero(own > thresholds.aliased)
    evidence = (
        f"Its {times(response.kernel)} filters are read every {times(response.stride)} pixels, "
        f"which carries up to {0.5 / max(response.stride):.3g} cycles a pixel; their energy lies "
        f"{octaves:.2f} octaves beyond on average, more than {thresholds.aliased:g} in "
        f"{len(worst)} of {len(own)} filters (channels {named(list(worst))}). What they pass there "
        f"comes back as lower frequencies"
    )
    share = aliased_share(response)
    # Images that are the same all over get no response that a share could be of.
    evidence += "." if np.isnan(share) else f": {share:.1%} of their response to these images."
    half = [max(1, step // 2) for step in response.stride]
    suggestion = (
        f"Halve the stride to {times(half)}"
        f"{' and make the filters smaller' if max(response.kernel) > 7 else ''}, {CITED}; "
        f"or blur before subsampling (Zhang, arXiv 1904.11486)."
    )
    channels = tuple(map(int, worst))
    return [Finding(ALIASING, layer, channels, evidence, suggestion, min(1.0, octaves / 2))]


def find_gap(layer: str, response: Response, thresholds: Thresholds) -> list[Finding]:
    """Return what is to be said of a first layer that passes the extremes without the middle."""
    if max(response.kernel) < 5:
        return []  # too small to tell three bands apart
    passing = np.flatnonzero(response.power.sum((1, 2)) > 0)
    if not len(passing):
        return []
    low, middle, high = np.bincount(
        response.bands()[passing].argmax(axis=1), minlength=3
    ) / len(passing)  # fmt: skip
    if middle >= thresholds.gap or min(low, high) < thresholds.extremes:
        return []
    evidence = (
        f"Most of the response to these images lies at low frequencies, below a cycle in the "
        f"filter's width, in {low:.0%} of the filters, at high ones, above a quarter of a cycle a "
        f"pixel, in {high:.0%}, and in between in only {middle:.0%}."
    )
    suggestion = f"Make the filters smaller and the stride shorter, {CITED}."
    return [Finding(GAP, layer, (), evidence, suggestion, 0.5)]
