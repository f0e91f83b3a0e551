"""``convscope layers``: a network's layers as a table."""

import sys
from dataclasses import asdict

from convscope.cli.calls import taking
from convscope.cli.networks import NamedNetwork
from convscope.cli.printing import print_json
from convscope.wording import times


@taking("weights", "device", says_notes=False)
def layers(network: NamedNetwork, weights: str | None = None, as_json: bool = False) -> None:
    """List the layers: shape, stride, padding offset, receptive field, parameters, cost.

    Args:
        weights: A .safetensors or .pth file; without, random ones do.
    """
    net = network.shaped(weights)
    rows = list(net.layers.values())
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    from rich.console import Console
    from rich.table import Table

    from convscope.network.layers import both

    table = Table(title=f"{net.name}, input {times(net.input_shape)}", box=None)
    table.add_column("layer", overflow="fold")
    table.add_column("kind")
    for heading in ("output", "stride", "padding", "receptive field", "parameters", "mult-adds"):
        table.add_column(heading, justify="right")
    for row in rows:
        stride, field = row.field_words()
        padding = "" if row.stride is None else both(row.padding)
        costs = (f"{cost:,}" if cost else "" for cost in (row.parameters, row.multiply_adds))
        table.add_row(row.name, row.op, times(row.shape), stride, padding, field, *costs)
    table.add_section()
    parameters = sum(row.parameters for row in rows)
    cost = sum(row.multiply_adds for row in rows)
    table.add_row("total", "", "", "", "", "", f"{parameters:,}", f"{cost:,}")
    # A pipe has no width: give the table what it needs instead of cutting it at 80 columns.
    Console(width=None if sys.stdout.isatty() else 160).print(table)
