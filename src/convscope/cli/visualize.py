"""``convscope visualize``: pictures that drive channels as far as they go."""

from pathlib import Path
from typing import Any

from convscope.cli.calls import method


@method("convscope.methods.visualize:visualize", "optimising", "visualization.png")
def visualize(
    layer: str,
    channel: list[int],
    select: str = "peak",
    frequencies: str = "free",
    atlas: Path | None = None,
    steps: int = 128,
    seed: int = 0,
    memory: str = "1GB",
) -> dict[str, Any]:
    """Find a picture that drives each channel as far as it goes, by optimisation.

    Args:
        layer: A layer.
        channel: A channel (repeat for more).
        select: peak: one unit amid the map; map: the mean of the whole map.
        frequencies: free; or natural: each as strong as in photographs.
        atlas (ATLAS): Show the strongest real patches beside each picture.
        steps: Of the ascent.
        seed: Of its beginning.
    """
    from convscope.atlas.atlas import Atlas

    return {"atlas": None if atlas is None else Atlas(atlas)}
