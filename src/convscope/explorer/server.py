"""The explorer over HTTP: routes, and what keeps strangers out."""

from __future__ import annotations

import asyncio
import secrets
import socket
import webbrowser
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from pathlib import PurePath
from queue import Empty, SimpleQueue
from threading import Thread

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from convscope.errors import ConvscopeError
from convscope.explorer.answers import (
    LONG,
    QUESTIONS,
    TAKEN,
    OvertakenError,
    answer,
    take,
    text,
    whole,
)
from convscope.explorer.page import ASSETS
from convscope.explorer.session import Session
from convscope.methods.budget import Progress

HOST = "127.0.0.1"
PORTS = 50
"""How many ports after the first are tried where it is taken."""

UPLOAD = 20 * 2**20
"""The most bytes of a picture that is dropped on the page."""

WAITING = 64
"""Requests that wait at most; more are sent away."""

POLLED = 0.5
"""Seconds after which a training's folder, or the desk, is looked into again."""

LEFT = 20
"""Seconds in which a long question can let go once the server ends: until its next step."""

BINARY = "application/octet-stream"
TYPES = {
    ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml",
}  # fmt: skip
"""What the page's own files are, by how their names end."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Gate:
    """Lets in only what comes from the page itself: by Host, Origin, and a token.

    A page of another host that is made to resolve to this machine (DNS rebinding) has another Host;
    one that sends requests here has another Origin; and neither knows the token, which is in the
    address printed in the terminal and then in a cookie that no other site sends.
    """

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self.app, self.token = app, token
        self.hosts = {f"{name}:{port}" for name in (HOST, "localhost")}
        self.cookie = f"convscope-{port}"  # a browser keeps one of a name for all ports of a host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what is refused, and pass on the rest."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(Request(scope))
        await (refusal or self.app)(scope, receive, send)

    def _refusal(self, request: Request) -> Response | None:
        host, origin = request.headers.get("host"), request.headers.get("origin")
        if host not in self.hosts:
            return _error("this address is not the explorer's", 421)
        if origin is not None and origin != f"http://{host}":
            return _error("another page asked", 403)
        given = request.query_params.get("token")
        if given is not None and secrets.compare_digest(given.encode(), self.token.encode()):
            response = RedirectResponse("./", 303, HEADERS)
            response.set_cookie(self.cookie, self.token, httponly=True, samesite="strict")
            return response
        own = request.cookies.get(self.cookie, "")
        if not secrets.compare_digest(own.encode(), self.token.encode()):
            return _error("open the address that the terminal shows: it holds the key", 403)
        return None


class Desk:
    """Answers one request at a time, and of each kind only a client's latest.

    A patch that is dragged asks faster than a network answers: what a newer question of the same
    kind has overtaken is not computed, nor finished if it takes long.

    The thread that serves the page answers, as it has the network's own threads: OpenMP makes
    others for every thread that computes, and once there are more than processors, they sleep after
    each operation. Waking them takes as long as a small window does.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.done: dict[str, tuple[int, int]] = {}  # of what takes long, by its kind
        self.questions: SimpleQueue[tuple[Callable[[], Response], Future[Response]] | None] = (
            SimpleQueue()
        )
        self.limiter = anyio.CapacityLimiter(1)
        self.latest: dict[str, int] = {}
        self.waiting = 0

    async def answer(
        self, request: Request, work: Callable[[Progress], bytes], long: bool = False
    ) -> Response:
        """Return what *work* returns once it is its turn; one that takes long holds up no other."""
        kind, number = self.newest(request)
        if self.waiting >= WAITING:
            return _error("too many questions at once", 503)

        def go_on(done: int, total: int) -> None:
            if self.session.closed or self.latest.get(kind, 0) > number:
                raise OvertakenError
            if long and kind:
                self.done[kind] = done, total

        def run() -> Response:
            try:
                go_on(0, 0)
                return Response(work(go_on), media_type=BINARY, headers=HEADERS)
            except OvertakenError:
                return Response(status_code=204, headers=HEADERS)
            finally:
                self.done.pop(kind, None)

        self.waiting += 1
        try:
            if long:
                return await anyio.to_thread.run_sync(run, limiter=self.limiter)
            answered: Future[Response] = Future()
            self.questions.put((run, answered))
            return await asyncio.wrap_future(answered)
        finally:
            self.waiting -= 1

    def work(self) -> None:
        """Answer in this thread what does not take long, until None is among the questions."""
        while True:
            try:
                question = self.questions.get(timeout=POLLED)
            except Empty:
                continue  # on Windows, Ctrl-C is not heard while Python waits
            if question is None:
                return
            run, answered = question
            if not answered.set_running_or_notify_cancel():
                continue  # nobody waits for it
            try:
                answered.set_result(run())
            except Exception as error:  # it is raised where the answer is awaited
                answered.set_exception(error)
            except KeyboardInterrupt:
                if not answered.done():  # it may come when the answer has just been given
                    answered.set_result(Response(status_code=204, headers=HEADERS))
                raise

    def newest(self, request: Request) -> tuple[str, int]:
        """Return a question's kind and its number, which overtakes those before it."""
        kind = request.query_params.get("kind", "")[:80]
        number = whole(request.query_params, "turn", 0)
        if kind:
            if len(self.latest) > 10_000:
                self.latest.clear()
            self.latest[kind] = max(number, self.latest.get(kind, 0))
        return kind, number

    async def stop(self, request: Request) -> Response:
        """Let go of a question that takes long."""
        self.newest(request)
        return Response(status_code=204, headers=HEADERS)

    async def progress(self, request: Request) -> Response:
        """Return what is done of a question that takes long, and all of it; 0 and 0 before."""
        kind = text(request.query_params, "kind")[:80]
        return JSONResponse(self.done.get(kind, (0, 0)), headers=HEADERS)


class Pages:
    """What the explorer answers at each address."""

    def __init__(self, session: Session) -> None:
        self.session, self.desk = session, Desk(session)
        self.followers = anyio.Semaphore(WAITING)

    def application(self, token: str, port: int) -> Starlette:
        """Return every address with what answers there, behind the gate."""
        routes = [
            Route("/", self.asset),
            Route("/assets/{name}", self.asset),
            Route("/events", self.events),
            *(Route(f"/{what}", self.take, methods=["POST"]) for what in TAKEN),
            Route("/progress", self.desk.progress),
            Route("/stop", self.desk.stop),
            *(Route(f"/{question}", self.answer) for question in (*QUESTIONS, *LONG)),
        ]
        return Starlette(
            routes=routes,
            middleware=[Middleware(Gate, token=token, port=port)],
            exception_handlers={ConvscopeError: _mistake, 404: _unknown, 405: _unknown},
        )

    async def asset(self, request: Request) -> Response:
        """Return one of the page's own files, by default the page."""
        name = request.path_params.get("name", "index.html")
        kind = TYPES.get(PurePath(name).suffix)
        if kind is None or name not in {own.name for own in ASSETS.iterdir()}:
            return _error("there is no such file", 404)
        return Response((ASSETS / name).read_bytes(), media_type=kind, headers=HEADERS)

    async def events(self, _: Request) -> Response:
        """Say whenever a training has something new, until it is finished or the page is shut."""
        if self.followers.value == 0:
            return _error("too many pages follow this training", 503)

        async def followed() -> AsyncIterator[str]:
            session, known = self.session, None
            async with self.followers:
                while not session.closed and (
                    found := await anyio.to_thread.run_sync(session.news)
                ):
                    if found != known:
                        known = found
                        yield "data: new\n\n"
                    if found["finished"]:
                        break
                    await anyio.sleep(POLLED)

        return StreamingResponse(followed(), media_type="text/event-stream", headers=HEADERS)

    async def answer(self, request: Request) -> Response:
        """Answer the question that the address names."""
        question, given = request.url.path[1:], request.query_params
        return await self.desk.answer(
            request,
            lambda progress: answer(self.session, question, given, progress=progress),
            long=question in LONG,
        )

    async def take(self, request: Request) -> Response:
        """Take in what the page sends."""
        content = bytearray()
        async for chunk in request.stream():
            content += chunk
            if len(content) > UPLOAD:
                return _error(f"a picture has at most {UPLOAD // 2**20} MB", 413)
        what, given = request.url.path[1:], request.query_params
        return await self.desk.answer(
            request, lambda _: take(self.session, what, given, bytes(content))
        )


def _error(sentence: str, status: int) -> Response:
    return JSONResponse({"error": sentence}, status, HEADERS)


async def _mistake(_: Request, error: Exception) -> Response:
    return _error(str(error), 400)


async def _unknown(_: Request, error: Exception) -> Response:
    return _error("there is no such page", getattr(error, "status_code", 404))


def free_socket(port: int) -> socket.socket:
    """Return a socket bound to *port* of this machine alone, or to the next one that is free."""
    for own in range(port, min(port + PORTS, 2**16)):
        # With the protocol named, asyncio sends at once; else an answer waits 40 ms.
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((HOST, own))
        except OSError:
            bound.close()
            continue
        return bound
    raise ConvscopeError(f"no port from {port} on is free: give another")


def serve(session: Session, port: int, browser: bool, ready: Callable[[str], None]) -> None:
    """Serve the page on this machine, until Ctrl-C; see :func:`convscope.explore`."""
    if not 0 <= port < 2**16:
        raise ConvscopeError(f"a port is 0 to {2**16 - 1}, not {port}")
    with free_socket(port) as bound:
        number = bound.getsockname()[1]
        token = secrets.token_urlsafe(24)
        address = f"http://{HOST}:{number}/?token={token}"

        class Announced(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                ready(address)
                if browser:
                    webbrowser.open(address)

        pages = Pages(session)
        config = uvicorn.Config(
            pages.application(token, number), log_level="error", timeout_graceful_shutdown=LEFT,
            lifespan="off", server_header=False,
        )  # fmt: skip
        server = Announced(config)

        def listen() -> None:
            try:
                server.run(sockets=[bound])
            finally:
                pages.desk.questions.put(None)

        listening = Thread(target=listen, daemon=True)
        listening.start()
        try:
            pages.desk.work()
        except BaseException:  # Ctrl-C; but whatever ends the desk, the server must not outlive it
            for one in session.sessions:
                one.closed = True
            server.should_exit = True
            pages.desk.work()  # which sends away what still waits, until the server has ended
            raise
        finally:
            listening.join()
