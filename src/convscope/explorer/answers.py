"""The page's questions, by name with their parameters as text; knows nothing of servers."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from inspect import signature
from typing import Any

import torch

from convscope.errors import ConvscopeError
from convscope.explorer import channel
from convscope.explorer.session import Session
from convscope.methods.budget import Progress
from convscope.network import Network
from convscope.pages.renderer import png

PLACES = 64
"""Patches in one question at most."""

SMALL = 1e9
"""Multiply-adds in one pass of what is a small network."""

Given = Mapping[str, str]
WHOLE = re.compile(r"-?\d{1,9}", re.ASCII)


class OvertakenError(Exception):
    """Nobody waits for an answer any more."""


def answer(
    session: Session, question: str, given: Given, small: bool = False,
    progress: Progress = lambda done, total: None,
) -> bytes:  # fmt: skip
    """Return a question's answer: JSON, or a picture after what is known of it.

    A picture's answer begins with the length of its JSON in 4 bytes, then has the JSON, then a PNG:
    a *small* one, which takes longer, if that is asked for. An error of *progress*, which is called
    with what is done of a long question and all of it, ends the question.

    Raises:
        ConvscopeError: if a parameter is missing or wrong.
    """
    session = session.of(whole(given, "network", 0))
    if "checkpoint" in given:
        session = session.at(whole(given, "checkpoint"))
    elif question != "state":
        session = session.at(None)
    if question in LONG:
        found = _asked(session, LONG[question], given, progress=progress)
    else:
        with few_threads(session.net):
            found = _asked(session, QUESTIONS[question], given)
    if not isinstance(found, tuple):
        return json.dumps(found).encode()
    facts, pixels = found
    told = json.dumps(facts).encode()
    return len(told).to_bytes(4, "big") + told + png(pixels, small)


def take(session: Session, what: str, given: Given, content: bytes) -> bytes:
    """Take in what the page sends, and return the number of the image that it makes, as JSON."""
    return json.dumps({"image": _asked(session, TAKEN[what], given, content=content)}).encode()


@contextmanager
def few_threads(net: Network) -> Iterator[None]:
    """Compute by one thread what a small network is asked: waking a second takes as long."""
    before = torch.get_num_threads()
    if sum(layer.multiply_adds for layer in net.layers.values()) < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _asked(session: Session, function: Callable[..., Any], given: Given, **more: Any) -> Any:
    """Ask a session, with the parameters that are given, each read as it is annotated."""
    asked = partial(function, session)
    for name, parameter in signature(asked).parameters.items():
        if name not in more and (name in given or parameter.default is parameter.empty):
            more[name] = READ[parameter.annotation](given, name)
    return asked(**more)


def text(given: Given, name: str) -> str:
    """Return a parameter as it is."""
    value = given.get(name)
    if value is None:
        raise ConvscopeError(f"{name} is missing")
    return value


def whole(given: Given, name: str, default: int | None = None) -> int:
    """Return a parameter as a whole number."""
    value = given.get(name)
    if value is None and default is not None:
        return default
    if value is None or not WHOLE.fullmatch(value):
        raise ConvscopeError(f"{name} is a whole number")
    return int(value)


def _wholes(given: Given, name: str) -> list[int]:
    """Return whole numbers that commas part."""
    parts = [part for part in given[name].split(",") if part]
    if not all(map(WHOLE.fullmatch, parts)):
        raise ConvscopeError(f"{name} are whole numbers")
    return [int(part) for part in parts]


def _places(given: Given, name: str) -> list[tuple[int, int]]:
    pairs = [_wholes({name: part}, name) for part in given[name].split(";")]
    if any(len(pair) != 2 for pair in pairs) or len(pairs) > PLACES:
        raise ConvscopeError(f"{name} are row,column;row,column")
    return [(row, column) for row, column in pairs]


def _factors(given: Given, name: str) -> dict[int, float]:
    found = {}
    for part in filter(None, given.get(name, "").split(";")):
        channel, _, factor = part.partition(":")
        try:
            found[int(channel)] = float(factor)
        except ValueError:
            raise ConvscopeError(f"{name} is channel:factor;channel:factor") from None
    return found


READ: dict[str, Callable[[Given, str], Any]] = {
    "int": whole,
    "int | None": whole,
    "str": text,
    "str | None": lambda given, name: given[name] or None,
    "Sequence[int]": _wholes,
    "Sequence[int] | None": _wholes,
    "tuple[int, int] | None": lambda given, _: (
        (whole(given, "row"), whole(given, "column")) if "row" in given else None
    ),
    "Sequence[tuple[int, int]] | None": _places,
    "dict[int, float]": _factors,
}
"""How a parameter is read from texts, by its annotation; the last kinds may be given or not."""

QUESTIONS: dict[str, Callable[..., Any]] = {
    "state": lambda session: session.describe(),  # a training's session has more to say
    "picture": Session.picture,
    "maps": Session.maps,
    "unit": Session.unit,
    "reading": Session.read,
    "intervention": Session.intervene,
    "kernel": channel.kernel,
    "patches": channel.patches,
}
"""What answers each question about a session."""

LONG: dict[str, Callable[..., Any]] = {
    "faults": channel.faults,
    "trust": channel.trust,
    "wanted": channel.wanted,
    "tree": channel.tree,
    "attribution": Session.attribution,
}
"""Questions whose answers take seconds, while others are answered: they hold up nobody else."""

TAKEN: dict[str, Callable[..., Any]] = {
    "picture": Session.add, "stroke": Session.paint, "frame": Session.frame,
}  # fmt: skip
"""What makes a new image of bytes that are sent, and returns its number."""
