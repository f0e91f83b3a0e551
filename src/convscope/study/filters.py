"""A layer's filters: how strongly each answers, which are dead, and what drives the strongest."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from convscope.errors import UnitError
from convscope.methods.project import project
from convscope.methods.projection import Projection
from convscope.network import Network
from convscope.network.walk import ascend

BATCH = 250
"""Images that go up at once: enough to keep two cores busy, few enough for any memory."""


@dataclass(frozen=True, eq=False)
class StrongestFilters:
    """The most activated filters of one layer, K of them, strongest first.

    Attributes:
        strength: [K], the mean over all images of the filter's peak in each.
        image: [K], int64: the image in which its peak is highest.
        projection: what drives each filter in its image; its image k shows filter k, so that its
            tensors are [K, 1, ...].
    """

    strength: Tensor
    image: Tensor
    projection: Projection

    @property
    def channels(self) -> list[int]:
        """The filters' channels."""
        return self.projection.channels[:, 0].tolist()

    def to_dict(self) -> list[dict[str, object]]:
        """Return all but the pictures, one entry a filter, fit for JSON."""
        return [
            {
                "channel": channel,
                "mean_peak": self.strength[k].item(),
                "highest_peak": self.projection.activation[k, 0].item(),
                "image": int(self.image[k]),
                "window": self.projection.window[k, 0].tolist(),
            }
            for k, channel in enumerate(self.channels)
        ]


def channel_peaks(net: Network, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
    """Return for each layer the largest value of every channel's map in every image.

    It is layer -> [I, K], on the CPU, of images [I, C, H, W] in the network's input space.

    Raises:
        UnitError: there is no such layer, or it gives no feature maps.

    >>> from torch import nn
    >>> net = Network(nn.Sequential(nn.MaxPool2d(2)), torch.zeros(1, 1, 4, 4))
    >>> channel_peaks(net, torch.arange(16.0).view(1, 1, 4, 4), ["0"])["0"]
    tensor([[15.]])
    """
    steps = [net.step(layer) for layer in layers]
    for step, layer in zip(steps, layers, strict=True):
        if not net.graph.is_map(step):
            raise UnitError(f"layer {layer!r} gives no feature maps")
    parts = [
        {
            step: maps.amax((2, 3)).cpu()
            for step, maps in ascend(net.graph, batch.to(net.device, net.dtype), steps).maps.items()
        }
        for batch in torch.split(images, BATCH)
    ]
    return {
        layer: torch.cat([part[step] for part in parts])
        for layer, step in zip(layers, steps, strict=True)
    }


def by_strength(peaks: Tensor) -> Tensor:
    """Return the channels by the mean over the images of their peaks, [I, K], strongest first.

    >>> by_strength(torch.tensor([[9.0, 4.0, 0.0], [0.0, 6.0, 1.0]])).tolist()
    [1, 0, 2]
    """
    return peaks.double().mean(0).argsort(descending=True, stable=True)


def strongest_filters(
    net: Network, images: Tensor, layer: str, peaks: Tensor, count: int
) -> StrongestFilters:
    """Find a layer's most activated filters and project each from its strongest image.

    A filter that fires hard once is not strong here, but one that many images drive: filters are
    ranked by the mean of their *peaks*, [I, K]. Where there are fewer than *count*, all are found.
    """
    channels = by_strength(peaks)[:count]
    image = peaks[:, channels].argmax(0)
    return StrongestFilters(
        strength=peaks.double().mean(0)[channels],
        image=image,
        projection=project(net, images[image], layer, channels[:, None], titles=[""] * len(image)),
    )
