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
    """Draw channels of layers, named as for :meth:`.Scan.plate`: patches, and what drives them."""
    return plate.figure(found.plate(layer, channels, rule=rule), style)
