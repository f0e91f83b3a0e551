"""Pages: records become HTML that opens from a file, with no server and nothing fetched."""

from convscope.pages.renderer import render

__all__ = ["render"]
