"""Pages: records become HTML that opens from a file, with no server and nothing fetched."""

from convscope.pages.renderer import image_source, render

__all__ = ["image_source", "render"]
