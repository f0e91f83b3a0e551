"""``convscope attribute``: what a class's score hangs on."""

from pathlib import Path

from convscope.cli.calls import method


@method("convscope.methods.attribute:attribute", "attributing", "attribution.png")
def attribute(
    images: list[Path],
    target: list[str] | None = None,
    method: str = "epsilon-plus",
    layer: str | None = None,
    baseline: list[Path] | None = None,
    steps: int = 50,
    noise: float = 0.15,
    seed: int = 0,
    scale: str = "tile",
    colour: str = "signed",
    contrast: str = "linear",
    memory: str = "1GB",
) -> None:
    """Show what a class's score hangs on: class activation maps, paths, rules.

    Args:
        method: As `convscope rules` lists.
        layer: Of a class activation map; the last feature maps.
        baseline: Picture that paths start from (repeat for more); the mean colour.
        steps: Points on a path, or noisy images.
        noise: Of smoothgrad, as a share of the range.
        seed: Of noise, and of what is drawn.
    """
    from convscope.display import Display
    from convscope.methods.attribute import method_named

    method_named(method)
    Display(scale, colour, contrast)
