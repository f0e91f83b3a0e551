"""How many images there is time for, by the clock and not by guess."""

import time

import torch

from convscope.errors import ImageError
from convscope.methods.scanning.sources import Images, checked_image
from convscope.network import Network

FEWEST = 8
"""However short the time: fewer images say nothing."""
TIMED = 2
TRIED = 10


def images_affordable(net: Network, images: Images, seconds: float | None, passes: float) -> int:
    """Return how many of a set's images a network can look at in a time.

    A pass over a few of them is timed: loading, and the way up.

    Args:
        net: the network.
        images: the set.
        seconds: the time; None for no limit.
        passes: how many times each image goes up.

    Returns:
        at least 8, at most all of them; all as well if none of the first few can be read.
    """
    if seconds is None:
        return len(images)
    found = []
    for number in range(min(TRIED, len(images))):
        began = time.monotonic()
        try:
            image = checked_image(images.load(number)[0], net)[None]
        except ImageError:
            continue
        with torch.no_grad():
            net(image)
        found.append(time.monotonic() - began)
        if len(found) > TIMED:
            break
    if not found:
        return len(images)
    # The first one is slower than all that follow.
    one = min(found)
    return min(len(images), max(FEWEST, int(seconds / (passes * max(one, 1e-6)))))
