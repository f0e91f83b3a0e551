"""``convscope correspondence``: the same part hidden in several images."""

from pathlib import Path

from convscope.cli.calls import method


@method("convscope.methods.correspondence:correspondence", "hiding parts", "correspondence.png")
def correspondence(
    parts: Path,
    layer: list[str] | None = None,
    fill: str = "gray",
    repeats: int = 10,
    seed: int = 0,
    budget: str | None = None,
) -> None:
    """Hide the same part in several images and compare how a layer's features change.

    Ctrl-C stops; what is done by then is written, marked as partial.

    Args:
        parts (PARTS.csv): A table: image, part, left, top, right, bottom, in pixels of the
            pictures.
        layer: A layer (repeat for more); the first block's, the middle's, the last.
        fill: What hides a part: gray, black, mean, blur, ...; see occlude.
        repeats: How many random boxes to draw for each part and image.
        seed: Of the random places.
    """
