"""Occlusion: parts of an image are hidden one after another, and the network is asked each time."""

from convscope.methods.occlude.call import occlude, occlude_all

__all__ = ["occlude", "occlude_all"]
