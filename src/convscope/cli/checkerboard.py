"""``convscope checkerboard``: the grids that strides leave in projections."""

from pathlib import Path
from typing import Annotated

import typer

from convscope.cli.networks import NamedNetwork, network_options
from convscope.cli.options import Memory, Rank, Reference, Rule, Showing, result_options
from convscope.cli.printing import kept


@network_options()
@result_options("checkerboard.png")
def checkerboard(
    network: NamedNetwork,
    shown: Showing,
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Pictures; the first one is shown.")
    ],
    layer: Annotated[
        list[str] | None,
        typer.Option(help="A layer (repeat for more); by default one a convolution or block."),
    ] = None,
    channel: Annotated[
        int | None, typer.Option(help="A feature map of every layer; by default the strongest.")
    ] = None,
    rank: Rank = None,
    reference: Reference = None,
    top: Annotated[
        int, typer.Option(help="How many of the strongest feature maps are measured.")
    ] = 8,
    rule: Rule = "deconvnet",
    budget: Annotated[
        str | None,
        typer.Option(metavar="SECONDS", help="Begin no projection after this long, such as 60."),
    ] = None,
    memory: Memory = "1GB",
) -> None:
    """Show the projection from each layer, and measure the grids that strides leave in them.

    Names the layers whose kernel and stride leave a grid, and kernels or strides that would not.
    Ctrl-C stops; what is done by then is written, marked as partial.
    """
    from convscope.methods.budget import Deadline
    from convscope.methods.checkerboard import checkerboard as look_for_grids
    from convscope.methods.gridding.result import Checkerboard
    from convscope.methods.ranking import check_rank
    from convscope.network.rules import rule_named

    shown.check(Checkerboard)
    rule_named(rule)
    check_rank(rank)
    Deadline(budget)
    net = network.load()
    found = kept(
        "projecting", look_for_grids, net, images, layer, channel, rank=rank, reference=reference,
        top=top, rule=rule, budget=budget, memory=memory,
    )  # fmt: skip
    shown.finish(found)
