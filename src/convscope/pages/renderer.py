"""From values to one page of HTML: pure, so that files, reports and a server share it."""

import base64
import io
import re
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib import rc_context
from PIL import Image

from convscope.figures.sheet import Sheet, number
from convscope.results import provenance

LOSSLESS_TO = 64
"""Pixels of a picture's longer side up to which each counts."""

DARK_INKS = ("#222222", "#3d3d3a", "#000000")
"""What figures write and draw lines with, which a dark page would hide."""


def render(template: str, **values: Any) -> str:
    """Return a page.

    Every value is escaped. The style sheet and the scripts stand in the page itself, so that it
    stays whole when it is moved or sent.

    Args:
        template: name of a file in ``pages/templates``; it extends ``page.html``.
        values: what the template names; a name without a value is an error.

    >>> render("page.html", title="Tea & toast").splitlines()[5].strip()
    '<title>Tea &amp; toast</title>'
    """
    return _environment().get_template(template).render(made_with=provenance(), **values)


def image_source(content: bytes, kind: str = "png") -> str:
    """Return what an ``img`` needs as its source to hold a picture file of a kind itself.

    >>> image_source(b"not really")
    'data:image/png;base64,bm90IHJlYWxseQ=='
    """
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def png(picture: npt.NDArray[np.uint8], small: bool = True) -> bytes:
    r"""Return a picture, uint8 [H, W] or [H, W, 3 or 4], as a PNG file's bytes.

    To make them *small* takes ten times as long.

    >>> png(np.zeros((1, 1, 3), np.uint8))[:4]
    b'\x89PNG'
    """
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png", optimize=small, compress_level=9 if small else 1)
    return file.getvalue()


def small_picture(picture: npt.NDArray[np.uint8]) -> str:
    """Return what an ``img`` needs to hold a picture, uint8 [H, W, 3 or 4].

    Small ones, whose pixels are seen one by one, lose nothing; larger ones a little.
    """
    if max(picture.shape[:2]) <= LOSSLESS_TO:
        return image_source(png(picture))
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "webp", quality=88, method=4)
    return image_source(file.getvalue(), "webp")


def svg(sheet: Sheet) -> bytes:
    """Return a figure as the bytes of an SVG file, without a ground of its own."""
    file = io.BytesIO()
    # Without a date, and with fixed names inside, the same figure gives the same file.
    with rc_context({"svg.hashsalt": "convscope"}):
        sheet.figure.savefig(file, format="svg", facecolor="none", metadata={"Date": None})
    return file.getvalue()


def drawn_inline(sheet: Sheet) -> Markup:
    """Return a figure as SVG to stand in the page itself, in the page's ink and on its paper."""
    drawn = svg(sheet).decode()
    drawn = drawn[drawn.index("<svg") :]
    for ink in DARK_INKS:
        drawn = drawn.replace(ink, "var(--ink)")
    return Markup(drawn)


@cache
def _environment() -> Environment:
    """Return the templates.

    They may quote a style sheet or a script as ``asset("page.css")``, shorten a value by
    ``value | number``, and let a name be broken by ``name | breakable``.
    """
    environment = Environment(
        loader=PackageLoader("convscope.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["asset"] = _asset
    environment.filters["number"] = number
    environment.filters["breakable"] = _breakable
    return environment


def _breakable(name: str) -> Markup:
    """Return a layer's name, which may go on in the next line after a dot or an underscore.

    >>> _breakable("block.conv_<1>")
    Markup('block.<wbr>conv_<wbr>&lt;1&gt;')
    """
    return Markup("<wbr>").join(re.split(r"(?<=[._])(?=.)", name))


def _asset(name: str) -> Markup:
    """Return a style sheet or script of ours, which is trusted and not escaped."""
    return Markup((files("convscope.pages") / "assets" / name).read_text("utf-8"))
