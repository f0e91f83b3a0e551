"""Pages: records become HTML that opens from a file, with no server and nothing fetched."""

from convscope.pages.renderer import image_source, png, render
from convscope.pages.tiles import unit_tiles

__all__ = ["image_source", "png", "render", "unit_tiles"]
