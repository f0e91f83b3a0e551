"""One channel of an atlas, with its strongest entries and their pictures."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from convscope.results import Result


@dataclass(frozen=True, eq=False, repr=False)
class AtlasUnit(Result):
    """One channel of an atlas: its statistics, and its n strongest entries, the strongest first.

    Attributes:
        patches, projections: uint8 [n, H, W, 3].
        image: [n], numbers of the images.
        peak: [n], the channel's highest activation in each...
        position: [n, 2], and where in the map.
        window: [n, 4], top, left, bottom, right of what the unit reads there.
        limit: [n], the value that a projection shows as white.
        clipped: [n], share of its values beyond that.
        titles: what the images are called.
        network: the network's name.
        layer: the convolution's name.
        read_at: where the activation is read.
        channel: its number, and...
        name: ...what it is called: a class's channel by that.
        receptive_field: height and width of what a unit reads.
        enlarged: pixels of a tile a pixel of the image; a whole number where it is above 1.
        statistics: those of the pages, by name.
        rule: of the projections.
        images: how many were scanned.
        data: what they are called.
    """

    patches: Tensor
    projections: Tensor
    image: Tensor
    peak: Tensor
    position: Tensor
    window: Tensor
    limit: Tensor
    clipped: Tensor
    titles: tuple[str, ...]
    network: str
    layer: str
    read_at: str
    channel: int
    name: str
    receptive_field: tuple[int, int]
    enlarged: float
    statistics: dict[str, Any]
    rule: str
    images: int
    data: str

    figure: ClassVar[str] = "unit"

    def to_dict(self, **options: Any) -> dict[str, Any]:
        """Return all but the pictures, fit for JSON."""
        return {**self.facts(), "entries": self.table()}

    def table(self) -> list[dict[str, Any]]:
        """Return a row an entry."""
        rows = zip(
            self.titles, self.image.tolist(), self.peak.tolist(), self.position.tolist(),
            self.window.tolist(), strict=True,
        )  # fmt: skip
        return [
            {
                "title": title, "image": image, "peak": peak, "row": row, "column": column,
                **dict(zip(("top", "left", "bottom", "right"), window, strict=True)),
            }
            for title, image, peak, (row, column), window in rows
        ]  # fmt: skip

    def summary(self) -> str:
        """Return which channel this is, and a line an entry."""
        lines = [
            f"  {e['title']}: peak {e['peak']:.4g} at row {e['row']}, column {e['column']}"
            for e in self.table()
        ]
        head = f"{self.network}, {self.layer}, {self.name}"
        return "\n".join([head, *lines]) if lines else f"{head}: never active"
