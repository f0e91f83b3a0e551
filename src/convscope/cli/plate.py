"""``convscope plate``: channels of several layers of an atlas, as one picture."""

from pathlib import Path

from convscope.cli.calls import taking
from convscope.cli.options import Showing
from convscope.errors import UnitError


@taking(output="plate.png")
def plate(
    shown: Showing,
    atlas: Path,
    layer: list[str] | None = None,
    channel: list[str] | None = None,
    count: int = 6,
    choose: str = "consistent",
    seed: int = 0,
) -> None:
    """Draw channels of several layers: their strongest patches beside what drives them there.

    Args:
        layer: A convolution (repeat for more); by default the last of each size of maps.
        channel ([LAYER:]NUMBER): A channel of that layer, or of the one --layer names (repeat for
            more).
        count: How many channels of a layer to choose.
        choose: consistent: those whose strongest patches are alike and stand out; or random.
        seed: Of a random choice.
    """
    from convscope.atlas.atlas import Atlas
    from convscope.methods.plate import Plate

    shown.check(Plate)
    found = Atlas(atlas).plate(
        layer=layer, channels=_channels(channel), count=count, choose=choose, seed=seed
    )
    shown.finish(found)


def _channels(given: list[str] | None) -> list[int] | dict[str, list[int]] | None:
    """Return channels by number, or by layer and number."""
    if not given:
        return None
    by_layer: dict[str, list[int]] = {}
    for one in given:
        layer, _, number = one.rpartition(":")
        if not number.isdecimal():
            raise UnitError(f"a channel is NUMBER or LAYER:NUMBER, not {one!r}")
        by_layer.setdefault(layer, []).append(int(number))
    if "" in by_layer and len(by_layer) > 1:
        raise UnitError("give every channel its layer, or none: --channel LAYER:NUMBER")
    return by_layer.get("", by_layer)
