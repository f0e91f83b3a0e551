"""``convscope evolve``: one filter a layer through a training."""

from pathlib import Path
from typing import Annotated

import typer

from convscope.cli.calls import taking
from convscope.cli.options import Cifar10, Rule, Showing
from convscope.cli.printing import kept


@taking(output="evolution.png")
def evolve(
    shown: Showing,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A folder that `train` made.")],
    data: Cifar10,
    layer: Annotated[
        list[str] | None, typer.Option(help="A layer (repeat for more); by default all rectifiers.")
    ] = None,
    channel: Annotated[
        list[int] | None,
        typer.Option(help="One a layer, in the same order; by default the strongest."),
    ] = None,
    sample: Annotated[int, typer.Option(help="How many training images to look at.")] = 1_000,
    rule: Rule = "deconvnet",
    device: Annotated[str, typer.Option(help="Where to run, such as cpu or cuda.")] = "cpu",
) -> None:
    """Show how one filter of each layer forms during training (Zeiler & Fergus, fig. 4).

    A .gif or .mp4 is a film, a frame a moment. Ctrl-C stops; what is done by then is written,
    marked as partial.
    """
    from convscope.study.evolve import Evolution
    from convscope.study.evolve import evolve as follow

    shown.check(Evolution)
    found = kept(
        "checkpoints", follow, run, data, layer=layer or None, channels=channel or None,
        sample=sample, rule=rule, device=device,
    )  # fmt: skip
    shown.finish(found)
