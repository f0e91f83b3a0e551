"""What a search for grids found: a projection a layer, and how much of a grid there is in each."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from convscope.images import Preprocess
from convscope.methods.gridding.spectrum import Band
from convscope.methods.gridding.structure import GridFinding, StridedLayer
from convscope.outputs import finite
from convscope.results import Result


@dataclass(frozen=True)
class GridSource:
    """The strided layers whose grids have the same frequencies.

    Attributes:
        band: those frequencies.
        layers: names of the layers, several where they lie side by side.
        fixed: whether one of them leaves the same pattern for every image, as max pools do not.
    """

    band: Band
    layers: tuple[str, ...]
    fixed: bool


@dataclass(frozen=True, eq=False, repr=False)
class Checkerboard(Result):
    """The projection from each layer of a network, deepest first, and the grids in them.

    L is the number of layers shown, S that of sources. Energies are of a mean energy of one: their
    square root is the coefficient of variation between the phases of a stride. All tensors lie on
    the CPU. What was not measured is nan: sources that do not lie below the layer, and grids so
    coarse that too few of their periods fit into the image.

    Attributes:
        image: [C, H, W], the first image, in the network's input space.
        pixels: [L, C, H, W]: the projection of each layer's first feature map for the first image.
        channels: [L, N, U], int64: the feature maps that were measured, for each image the
            strongest first; -1 for those that the budget left out.
        line: [L, S], float64: energy at the frequencies of each source.
        beside: [L, S]: what the frequencies beside them make expected.
        image_line: [S]: the same for the images themselves.
        image_beside: [S].
        of_units: [S]: coefficient of variation between the phases in projections of single units of
            the source's own layers; nan for max pools.
        layers: the layers' names, deepest first.
        structural: one a layer: how unevenly all ones at its output arrive at the pixels, through
            strides alone; pools count as even.
        with_pools: the same, where overlapping pools count as if every place won equally often.
        sources: what may leave a grid, in the order the layers run.
        strided: every strided layer of the network.
        findings: those that leave a grid whatever the weights, and what would not.
        rule: the rule of the projections.
        rank: how the strongest feature maps were found, ``"relative"`` or ``"raw"``; empty where
            one was given.
        network: the network's name.
        images: the number of images.
        title: what the first image is.
        preprocess: takes inputs back to pixels.
    """

    image: Tensor
    pixels: Tensor
    channels: Tensor
    line: Tensor
    beside: Tensor
    image_line: Tensor
    image_beside: Tensor
    of_units: Tensor
    layers: tuple[str, ...]
    structural: tuple[float, ...]
    with_pools: tuple[float, ...]
    sources: tuple[GridSource, ...]
    strided: tuple[StridedLayer, ...]
    findings: tuple[GridFinding, ...]
    rule: str
    rank: str
    network: str
    images: int
    title: str
    preprocess: Preprocess

    figure: ClassVar[str] = "checkerboard"
    seen_only: ClassVar[tuple[str, ...]] = ("image", "pixels")

    @property
    def by_source(self) -> Tensor:
        """[L, S]: the coefficient of variation between phases beyond what is expected."""
        return (self.line - self.beside).clamp(min=0).sqrt()

    @property
    def observed(self) -> Tensor:
        """[L]: the same over all sources together; nan where nothing could be measured."""
        energy = (self.line - self.beside).clamp(min=0)
        return torch.where(energy.isnan().all(1), torch.nan, energy.nansum(1).sqrt())

    @property
    def times(self) -> Tensor:
        """[L, S]: energy at each source's frequencies, over what lies beside and the image has.

        About 1 where there is no more of a grid than in the image. An image that happens to have
        less at these frequencies than beside them counts as having as much.
        """
        return self.line / self.beside / (self.image_line / self.image_beside).clamp(min=1)

    @property
    def over_image(self) -> Tensor:
        """[L]: :attr:`times` of the source that has most; nan where nothing could be measured."""
        if not len(self.sources):
            return torch.full((len(self.layers),), torch.nan, dtype=torch.float64)
        energy = (self.line - self.beside).nan_to_num(-torch.inf)
        return self.times.gather(1, energy.argmax(dim=1, keepdim=True))[:, 0]

    def strongest_source(self, layer: int) -> GridSource | None:
        """Return what leaves most of the grid in the layer number *layer*; None if nothing does."""
        found = self.by_source[layer].nan_to_num(0.0)
        if not len(found) or not found.max():
            return None
        return self.sources[int(found.argmax())]

    def _cause(self, layer: int) -> tuple[str, ...]:
        """Return the names of the layers that :meth:`strongest_source` finds."""
        source = self.strongest_source(layer)
        return () if source is None else source.layers

    def to_dict(self, **options: Any) -> dict[str, Any]:
        """Return all but the pixels, fit for JSON, with what follows from it."""
        derived = {
            "observed": self.observed.tolist(),
            "over_image": self.over_image.tolist(),
            "by_source": self.by_source.tolist(),
            "times": self.times.tolist(),
            "causes": [list(self._cause(place)) for place in range(len(self.layers))],
        }
        return {**super().to_dict(), **derived}

    def table(self) -> list[dict[str, Any]]:
        """Return a row a layer: how uneven its kernels and strides are, and what was seen."""
        return [
            {
                "layer": name,
                "channel": int(self.channels[place, 0, 0]),
                "structural": self.structural[place],
                "with_pools": self.with_pools[place],
                "observed": finite(float(self.observed[place])),
                "over_image": finite(float(self.over_image[place])),
                "cause": ", ".join(self._cause(place)),
            }
            for place, name in enumerate(self.layers)
        ]

    def summary(self) -> str:
        """Return a line a layer, and what leaves a grid whatever the weights."""
        lines = []
        for row in self.table():
            cause = f"; most from {row['cause']}" if row["cause"] else ""
            seen = "no stride to measure"
            if row["observed"] is not None:
                seen = f"seen {row['observed']:.3f}"
            if row["over_image"] is not None:  # an even image has nothing to compare with
                seen += f", {row['over_image']:.3g} times the image"
            lines.append(
                f"  {row['layer']}  channel {row['channel']}: strides alone "
                f"{row['structural']:.3f}, overlapping pools too {row['with_pools']:.3f}; "
                f"{seen}{cause}"
            )
        if not self.findings:
            lines.append("no layer leaves a grid of its own, whatever the weights")
        for finding in self.findings:
            lines += finding.lines()
        if self.partial:
            lines.append(f"partial: {self.notes[-1]}")
        return "\n".join(lines)
