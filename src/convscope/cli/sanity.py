"""``convscope sanity``: whether the picture depends on what it claims to show."""

from pathlib import Path

from convscope.cli.calls import method


@method("convscope.methods.sanity:sanity", "testing", "sanity.png")
def sanity(
    image: Path,
    rule: list[str] | None = None,
    target: str | None = None,
    layer: str | None = None,
    channel: int | None = None,
    seeds: int = 3,
    seed: int = 0,
    init: str = "centred",
    others: int = 10,
    other: Path | None = None,
    budget: str | None = None,
    memory: str = "1GB",
) -> None:
    """Measure what projections depend on: weights, unit, switches, the image's edges.

    Ctrl-C stops; what is done by then is written, marked as partial.

    Args:
        image (IMAGE): A picture file.
        rule: deconvnet, guided, gradient, epsilon-plus, ... (repeat); the first three.
        target: A class, by number or name; 281-282, a difference; 3@10,20,40,60, class 3 in a box
            (TOP,LEFT,BOTTOM,RIGHT); 4,8399, one of the numbers; by default the most probable class.
        layer: Project a unit of this layer instead of a target.
        channel: That unit's map; the most strongly activated.
        seeds: How many times to draw random weights.
        seed: The first seed; the others follow it.
        init: centred (normal, own deviation, kernels of mean zero), draw (own mean too) or permute.
        others: How many other units to compare with.
        other: Picture whose switches to take; IMAGE mirrored.
    """
