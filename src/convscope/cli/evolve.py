"""``convscope evolve``: one filter a layer through a training."""

from pathlib import Path

from convscope.cli.calls import method


@method("convscope.study.evolve:evolve", "checkpoints", "evolution.png", of_network=False)
def evolve(
    run: Path,
    data: Path,
    layer: list[str] | None = None,
    channel: list[int] | None = None,
    sample: int = 1_000,
    rule: str = "deconvnet",
    device: str = "cpu",
) -> None:
    """Show how one filter of each layer forms during training (Zeiler & Fergus, fig. 4).

    A .gif or .mp4 is a film, a frame a moment. Ctrl-C stops; what is done by then is written,
    marked as partial.

    Args:
        run (RUN): A folder that `train` made.
        layer: A layer (repeat for more); by default all rectifiers.
        channel: One a layer, in the same order; by default the strongest.
        sample: How many training images to look at.
        device: Where to run, such as cpu or cuda.
    """
