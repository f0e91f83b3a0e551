"""The page's questions, by name with their parameters as text; knows nothing of servers."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from convscope.errors import ConvscopeError
from convscope.explorer.session import Pixels, Session
from convscope.pages.renderer import png

PLACES = 64
"""Patches in one question at most."""

Given = Mapping[str, str]


def answer(session: Session, question: str, given: Given, small: bool = False) -> bytes:
    """Return a question's answer: JSON, or a picture after what is known of it.

    A picture's answer begins with the length of its JSON in 4 bytes, then has the JSON, then a PNG.

    Args:
        session: what is asked.
        question: a key of :data:`QUESTIONS`.
        given: its parameters.
        small: whether to take longer for smaller pictures.

    Raises:
        ConvscopeError: if a parameter is missing or wrong.
    """
    session = session.of(whole(given, "network", 0))
    if "checkpoint" in given:
        session = session.at(whole(given, "checkpoint"))
    elif question != "state":
        session = session.at(None)
    found = QUESTIONS[question](session, given)
    if not isinstance(found, tuple):
        return json.dumps(found).encode()
    facts, pixels = found
    told = json.dumps(facts).encode()
    return len(told).to_bytes(4, "big") + told + png(pixels, small)


def take(session: Session, what: str, given: Given, content: bytes) -> bytes:
    """Take in what the page sends, and return the number of the image that it makes, as JSON.

    Raises:
        ConvscopeError: if it is not what it should be.
    """
    return json.dumps({"image": TAKEN[what](session, given, content)}).encode()


def _unit(session: Session, given: Given) -> tuple[dict[str, Any], Pixels]:
    position = None
    if "row" in given:
        position = (whole(given, "row"), whole(given, "column"))
    return session.unit(
        whole(given, "image"), text(given, "layer"), whole(given, "channel"), position,
        text(given, "rule", "deconvnet"),
    )  # fmt: skip


def _reading(session: Session, given: Given) -> list[dict[str, Any]]:
    places = None
    if "places" in given:
        pairs = [wholes(part, "places") for part in given["places"].split(";")]
        if any(len(pair) != 2 for pair in pairs) or len(pairs) > PLACES:
            raise ConvscopeError("places are row,column;row,column")
        places = [(pair[0], pair[1]) for pair in pairs]
    return session.read(
        whole(given, "image"), given.get("layer") or None, whole(given, "channel", 0), places,
        whole(given, "patch") if "patch" in given else None, text(given, "fill", "gray"),
        wholes(given.get("classes", ""), "classes"),
    )  # fmt: skip


def _intervention(session: Session, given: Given) -> dict[str, Any]:
    scale = {}
    for part in filter(None, given.get("scale", "").split(";")):
        channel, _, factor = part.partition(":")
        try:
            scale[int(channel)] = float(factor)
        except ValueError:
            raise ConvscopeError("scale is channel:factor;channel:factor") from None
    only = wholes(given["only"], "only") if "only" in given else None
    return session.intervene(
        whole(given, "image"), text(given, "layer"), scale, only,
        wholes(given.get("classes", ""), "classes"),
    )  # fmt: skip


def text(given: Given, name: str, default: str | None = None) -> str:
    """Return a parameter as it is."""
    value = given.get(name, default)
    if value is None:
        raise ConvscopeError(f"{name} is missing")
    return value


def whole(given: Given, name: str, default: int | None = None) -> int:
    """Return a parameter as a whole number."""
    value = given.get(name)
    if value is None and default is not None:
        return default
    if value is None or not re.fullmatch(r"-?\d{1,9}", value, re.ASCII):
        raise ConvscopeError(f"{name} is a whole number")
    return int(value)


def wholes(value: str, name: str) -> list[int]:
    """Return whole numbers that commas part."""
    parts = [part for part in value.split(",") if part]
    if not all(re.fullmatch(r"-?\d{1,9}", part, re.ASCII) for part in parts):
        raise ConvscopeError(f"{name} are whole numbers")
    return [int(part) for part in parts]


QUESTIONS: dict[str, Callable[[Session, Given], Any]] = {
    "state": lambda session, _: session.describe(),
    "picture": lambda session, given: session.picture(whole(given, "image")),
    "maps": lambda session, given: session.maps(whole(given, "image"), text(given, "layer")),
    "unit": _unit,
    "reading": _reading,
    "intervention": _intervention,
    "kernel": lambda session, given: session.kernel(text(given, "layer"), whole(given, "channel")),
    "patches": lambda session, given: session.patches(
        text(given, "layer"), whole(given, "channel")
    ),
    "faults": lambda session, given: session.faults(text(given, "layer"), whole(given, "channel")),
    "trust": lambda session, given: session.trust(
        whole(given, "image"), text(given, "layer"), whole(given, "channel")
    ),
    "wanted": lambda session, given: session.wanted(
        whole(given, "image"), text(given, "layer"), whole(given, "channel")
    ),
    "attribution": lambda session, given: session.attribution(
        whole(given, "image"), text(given, "layer"), text(given, "method")
    ),
}

LONG = ("faults", "trust", "wanted", "attribution")
"""Questions whose answers take seconds, while others are answered."""

TAKEN: dict[str, Callable[[Session, Given, bytes], int]] = {
    "picture": lambda session, given, content: session.add(
        content, text(given, "title", "picture")[:100]
    ),
    "stroke": lambda session, given, content: session.paint(
        whole(given, "image"), content, text(given, "fill"), whole(given, "patch")
    ),
    "frame": lambda session, given, content: session.frame(
        content, whole(given, "image") if "image" in given else None
    ),
}
"""What makes a new image of bytes that are sent, and returns its number."""
