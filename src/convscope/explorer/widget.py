"""The page as a widget of a notebook, whose questions its kernel answers, without a port."""

from collections.abc import Sequence
from typing import Any

import traitlets
from anywidget import AnyWidget

from convscope.errors import ConvscopeError
from convscope.explorer.answers import answer, take
from convscope.explorer.page import ASSETS, inlined
from convscope.explorer.session import Session


class Widget(AnyWidget):
    """The live page of a session, in a frame of its own."""

    _esm = (ASSETS / "widget.js").read_text("utf-8")
    page = traitlets.Unicode().tag(sync=True)

    def __init__(self, session: Session) -> None:
        super().__init__(page=inlined("kernel.js"))
        self._session = session
        self.on_msg(self._answer)

    def _answer(self, _: Any, asked: dict[str, Any], bodies: Sequence[Any]) -> None:
        """Answer a question of the page."""
        question, given = asked["path"], asked["given"]
        try:
            found = (
                take(self._session, question, given, bytes(bodies[0]))
                if bodies
                else answer(self._session, question, given)
            )
        except ConvscopeError as error:
            self.send({"id": asked["id"], "error": str(error)})
        else:
            self.send({"id": asked["id"]}, [found])
