"""The page as a widget of a notebook, whose questions its kernel answers, without a port."""

import time
from collections.abc import Sequence
from threading import Thread
from typing import Any

import traitlets
from anywidget import AnyWidget

from convscope.errors import ConvscopeError
from convscope.explorer.answers import LONG, OvertakenError, answer, take
from convscope.explorer.page import ASSETS, inlined
from convscope.explorer.session import Session

TOLD = 0.5
"""Seconds after which the page hears again how far a question has come."""


class Widget(AnyWidget):
    """The live page of a session, in a frame of its own."""

    _esm = (ASSETS / "widget.js").read_text("utf-8")
    page = traitlets.Unicode().tag(sync=True)

    def __init__(self, session: Session) -> None:
        super().__init__(page=inlined("kernel.js"))
        self._session = session
        self._going_on: set[str] = set()
        self.on_msg(self._asked)

    def _asked(self, _: Any, asked: dict[str, Any], bodies: Sequence[Any]) -> None:
        """Answer a question of the page, or let go of one that takes long."""
        if asked["path"] == "stop":
            self._going_on.discard(asked["id"])
        elif asked["path"] in LONG:
            # A kernel hears nothing, and so no "stop", while its own thread answers.
            self._going_on.add(asked["id"])
            self.send({"id": asked["id"], "done": [0, 0]})
            Thread(target=self._answer, args=(asked, bodies), daemon=True).start()
        else:
            self._answer(asked, bodies)

    def _answer(self, asked: dict[str, Any], bodies: Sequence[Any]) -> None:
        question, given, number = asked["path"], asked["given"], asked["id"]
        told = time.monotonic()

        def progress(done: int, total: int) -> None:
            nonlocal told
            if number not in self._going_on:
                raise OvertakenError
            if time.monotonic() - told > TOLD:
                told = time.monotonic()
                self.send({"id": number, "done": [done, total]})

        try:
            found = (
                take(self._session, question, given, bytes(bodies[0]))
                if bodies
                else answer(self._session, question, given, progress=progress)
            )
        except OvertakenError:
            return
        except ConvscopeError as error:
            self.send({"id": number, "error": str(error)})
        else:
            self.send({"id": number}, [found])
        finally:
            self._going_on.discard(number)
