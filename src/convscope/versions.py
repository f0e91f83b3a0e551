"""The versions of torch that convscope was tried with."""

import logging

import torch

NEWEST_TRIED = (2, 15)


def say_if_untried() -> None:
    """Say in one line of the log if this torch is newer than the newest that was tried."""
    release = tuple(int(number) for number in torch.__version__.split(".")[:2])
    if release > NEWEST_TRIED:
        logging.getLogger("convscope").warning(
            "convscope was tried with torch up to %d.%d, and this is %s: should it fail, try %d.%d",
            *(*NEWEST_TRIED, torch.__version__, *NEWEST_TRIED),
        )
