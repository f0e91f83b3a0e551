"""What :func:`convscope.visualize` found."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from convscope.methods.scanning.unit import AtlasUnit
from convscope.results import Result


@dataclass(frozen=True, eq=False, repr=False)
class Visualization(Result):
    """Pictures that drive channels of one layer, found by optimisation.

    Attributes:
        pixels: [U, C, H, W] in 0..1, one picture a channel.
        activation: [U], what each channel answers to its picture.
        typical: [U], what each typically reaches at its peak in real pictures; NaN if not known.
        channels: their numbers, and...
        names: ...what they are called: a class's channel by that.
        strongest: of each channel its strongest real patches; none if no atlas was given.
        layer: the layer's name.
        select: whether one unit was driven, ``"peak"``, or the mean of its map, ``"map"``.
        frequencies: whether their strengths were ``"free"``, or those of photographs.
        steps: of the ascent.
        seed: of its beginning.
        network: the network's name.
    """

    pixels: Tensor
    activation: Tensor
    typical: Tensor
    channels: tuple[int, ...]
    names: tuple[str, ...]
    strongest: tuple[AtlasUnit, ...]
    layer: str
    select: str
    frequencies: str
    steps: int
    seed: int
    network: str

    figure: ClassVar[str] = "visualize"

    def table(self) -> list[dict[str, Any]]:
        """Return a row a channel."""
        real = [float(u.peak[0]) if len(u.peak) else None for u in self.strongest]
        rows = zip(
            self.channels, self.names, self.activation.tolist(), self.typical.tolist(),
            real or [None] * len(self.channels), strict=True,
        )  # fmt: skip
        return [
            {"channel": channel, "name": name, "activation": own, "typical": typical, "real": peak}
            for channel, name, own, typical, peak in rows
        ]

    def to_dict(self, **options: Any) -> dict[str, Any]:
        """Return all but the pictures, fit for JSON."""
        return {**self.facts(), "rows": self.table()}

    def summary(self) -> str:
        """Return a line a channel: its activation, and that of the strongest real patch."""
        lines = [f"{self.network}, {self.layer}: activation of the optimised picture"]
        for row in self.table():
            beside = "" if row["real"] is None else f", strongest real patch {row['real']:.4g}"
            lines.append(f"  {row['channel']}: {row['activation']:.4g}{beside}")
        return "\n".join(lines)
