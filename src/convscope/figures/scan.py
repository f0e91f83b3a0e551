"""A scan drawn: channels of some layers, each with its strongest patches, as a plate."""

from collections.abc import Mapping, Sequence

from convscope.figures import plate
from convscope.figures.sheet import Sheet
from convscope.figures.style import Style
from convscope.methods.scanning.result import Scan
from convscope.network.layers import LayerName


def figure(
    found: Scan,
    style: Style,
    layer: LayerName | Sequence[LayerName] | None = None,
    channels: Sequence[int] | Mapping[str, Sequence[int]] | None = None,
    rule: str = "deconvnet",
) -> Sheet:
    """Draw channels of layers: nine patches of each, and what drives it there.

    Args:
        found: what to draw.
        style: how wide, and with which caption.
        layer: as for :meth:`.Scan.plate`, and so are...
        channels: ...these, and...
        rule: ...this.

    Raises:
        OutputError: if the network and images are not at hand.
        UnitError: if there is no such layer or channel in the scan.
    """
    return plate.figure(found.plate(layer, channels, rule=rule), style)
