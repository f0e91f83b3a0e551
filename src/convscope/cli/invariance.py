"""``convscope invariance``: images moved, enlarged and turned, and what becomes of the features."""

from pathlib import Path
from typing import Any

from convscope.cli.calls import method
from convscope.cli.options import Showing, one_or_all


@method("convscope.methods.invariance:invariance", "transforming", "invariance.png")
def invariance(
    shown: Showing,
    images: list[Path],
    layer: list[str] | None = None,
    transform: list[str] | None = None,
    target: list[str] | None = None,
    steps: int = 25,
    fill: str = "reflect",
    budget: str | None = None,
    memory: str = "1GB",
) -> dict[str, Any]:
    """Move, enlarge and turn images, and show how far features and answer follow.

    Ctrl-C stops; what is done by then is written, marked as partial.

    Args:
        layer: A layer (repeat for more); the first block's, the middle's, the last.
        transform: translation, scale or rotation (repeat for more); all three.
        target: A class, by number or name, one for all or one an image; the answer.
        steps: How many amounts of each transformation.
        fill: Beyond the image: reflect, gray, black, mean, image-mean, #rrggbb.
    """
    from convscope.figures.invariance import check_fits

    if shown.drawn:
        check_fits(len(images))
    return {"target": one_or_all(target)}
