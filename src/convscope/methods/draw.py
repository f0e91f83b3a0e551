"""Draw: a network's architecture, as papers draw it."""

from dataclasses import dataclass
from typing import Any, ClassVar

from convscope.network import Network
from convscope.network.shield import shielded
from convscope.network.volumes import Volume, volumes_of
from convscope.results import Result
from convscope.wording import counted, times


@dataclass(frozen=True, eq=False, repr=False)
class Architecture(Result):
    """A network's architecture.

    Attributes:
        network: the network's name.
        input_shape: channels, height and width.
        parameters: learned values.
        multiply_adds: an image.
        volumes: what is drawn, in the order it runs.
    """

    network: str
    input_shape: tuple[int, int, int]
    parameters: int
    multiply_adds: int
    volumes: tuple[Volume, ...]

    figure: ClassVar[str] = "draw"

    def table(self) -> list[dict[str, Any]]:
        """Return a row a volume."""
        return [
            {
                **volume.to_dict(),
                "inputs": ", ".join(self.volumes[place].name for place in volume.inputs),
                "before": ", ".join(volume.before),
                "after": ", ".join(volume.after),
            }
            for volume in self.volumes
        ]

    def summary(self) -> str:
        """Return what it takes, and what it costs."""
        shape = times(self.input_shape)
        return (
            f"{self.network}: input {shape}, {self.parameters:,} parameters, "
            f"{self.multiply_adds:,} multiply-adds an image, {counted(len(self.volumes), 'volume')}"
        )


@shielded
def draw(net: Network) -> Architecture:
    """Draw a network's architecture, a box for each volume.

    A box is as high, deep and wide as it has rows, columns and channels, each by its square root.
    Rectifiers and normalisations are stripes on the volume that they belong to. Branches, skips and
    joins are lines; blocks that repeat are drawn once and counted.

    Args:
        net: any network; no weight of it is shown.

    >>> import torch
    >>> from torch import nn
    >>> net = Network(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), torch.zeros(1, 3, 9, 9))
    >>> [(volume.name, volume.channels, volume.after) for volume in draw(net).volumes]
    [('images', 3, ()), ('0', 8, ('rectifier',))]
    """
    layers = net.layers.values()
    return Architecture(
        network=net.name,
        input_shape=net.input_shape,
        parameters=sum(layer.parameters for layer in layers),
        multiply_adds=sum(layer.multiply_adds for layer in layers),
        volumes=volumes_of(net.graph),
    )
