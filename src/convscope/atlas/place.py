"""Where everything lies in an atlas folder."""

import re
from pathlib import Path

from convscope.methods.scanning.result import ATLAS

KIND = ATLAS
FACTS = "atlas.json"
UNITS = "units.csv"
STRONGEST = "strongest.csv"
ARRAYS = "arrays.safetensors"
TALLY = "scan.safetensors"
OVERVIEW = "index.html"


def rank_tally(rank: int, ranks: int) -> str:
    """Return the file of what one of several processes counted, until it is merged."""
    return f"rank-{rank}-of-{ranks}.safetensors"


def layer_slug(number: int, name: str) -> str:
    """Return a layer's file name: its place in the network and its name.

    >>> layer_slug(3, "features.3:conv2d@1")
    '03-features.3-conv2d-1'
    """
    return f"{number:02d}-{re.sub(r'[^A-Za-z0-9._]+', '-', name)}"


def layers_folder(folder: Path) -> Path:
    """Return where the layers' pages, data and sprites lie."""
    return folder / "layers"


def image_name(number: int, suffix: str) -> str:
    """Return the file of one of the scanned images.

    >>> image_name(12, ".png")
    'images/00000012.png'
    """
    return f"images/{number:08d}{suffix}"
