"""The page's questions, by name with their parameters as text; knows nothing of servers."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from convscope.errors import ConvscopeError
from convscope.explorer.channel import Progress
from convscope.explorer.session import Pixels, Session
from convscope.pages.renderer import png

PLACES = 64
"""Patches in one question at most."""

Given = Mapping[str, str]


def answer(
    session: Session, question: str, given: Given, small: bool = False,
    progress: Progress = lambda done, total: None,
) -> bytes:  # fmt: skip
    """Return a question's answer: JSON, or a picture after what is known of it.

    A picture's answer begins with the length of its JSON in 4 bytes, then has the JSON, then a PNG.

    Args:
        session: what is asked.
        question: a key of :data:`QUESTIONS` or :data:`LONG`.
        given: its parameters.
        small: whether to take longer for smaller pictures.
        progress: called with what is done of a long question, and all of it; its error ends it.

    Raises:
        ConvscopeError: if a parameter is missing or wrong.
    """
    session = session.of(whole(given, "network", 0))
    if "checkpoint" in given:
        session = session.at(whole(given, "checkpoint"))
    elif question != "state":
        session = session.at(None)
    if question in LONG:
        found = LONG[question](session, given, progress)
    else:
        found = QUESTIONS[question](session, given)
    if not isinstance(found, tuple):
        return json.dumps(found).encode()
    facts, pixels = found
    told = json.dumps(facts).encode()
    picture = pixels if isinstance(pixels, bytes) else png(pixels, small)
    return len(told).to_bytes(4, "big") + told + picture


def take(session: Session, what: str, given: Given, content: bytes) -> bytes:
    """Take in what the page sends, and return the number of the image that it makes, as JSON.

    Raises:
        ConvscopeError: if it is not what it should be.
    """
    return json.dumps({"image": TAKEN[what](session, given, content)}).encode()


def _unit(session: Session, given: Given) -> tuple[dict[str, Any], Pixels]:
    return session.unit(*_chosen(given), _position(given), text(given, "rule", "deconvnet"))


def _chosen(given: Given) -> tuple[int, str, int]:
    """Return the image, the layer and the channel."""
    return whole(given, "image"), text(given, "layer"), whole(given, "channel")


def _position(given: Given) -> tuple[int, int] | None:
    return (whole(given, "row"), whole(given, "column")) if "row" in given else None


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
}

LONG: dict[str, Callable[[Session, Given, Progress], Any]] = {
    "faults": lambda session, given, progress: session.faults(
        text(given, "layer"), whole(given, "channel"), progress
    ),
    "trust": lambda session, given, progress: session.trust(
        *_chosen(given), text(given, "rule", ""), progress
    ),
    "wanted": lambda session, given, progress: session.wanted(*_chosen(given), progress),
    "tree": lambda session, given, progress: session.tree(
        *_chosen(given), _position(given), progress
    ),
    "attribution": lambda session, given, progress: session.attribution(
        whole(given, "image"), text(given, "layer"), text(given, "method"), progress
    ),
}
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
