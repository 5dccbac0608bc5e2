"""A local server that answers as badly as it is told to, and writes down what it was asked and what it sent."""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Visit:
    path: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0  #: bytes of the body

    @property
    def start(self) -> int:
        """The first byte that was asked for."""
        return int(re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-")).group(1))


class Server:
    """`answers[path]` are taken one a visit; when they are used up, `files[path]` is sent as it should be."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.answers: dict[str, list[Callable[[Handler], None]]] = defaultdict(list)
        self.visits: list[Visit] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"site": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def encrypt(self, context) -> None:
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = self.url.replace("http:", "https:")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def sent(self) -> int:
        return sum(visit.sent for visit in self.visits)

    def reset(self) -> None:
        self.files.clear()
        self.answers.clear()
        self.visits.clear()


class Handler(BaseHTTPRequestHandler):
    site: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.visit = Visit(self.path, dict(self.headers))
        self.site.visits.append(self.visit)
        self.close_connection = True
        answers = self.site.answers[self.path]
        with suppress(OSError):  # of a client that has gone
            (answers.pop(0) if answers else send())(self)

    def log_message(self, *_: object) -> None:
        pass

    def head(self, status: int, headers: dict[str, str | None]) -> None:
        self.visit.status = status
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()

    def write(self, body: bytes, framed: bytes | None = None) -> None:
        self.wfile.write(body if framed is None else framed)
        self.visit.sent += len(body)

    def break_off(self) -> None:
        """With a reset instead of an orderly end: what is on the way is lost."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


def send(
    *,
    body: bytes | None = None,
    cut: int | None = None,
    reset: bool = False,
    ranges: bool = True,
    etag: str | None = '"1"',
    modified: str | None = None,
    if_range: bool = True,
    length: int = 0,
    content_range: str | None = None,
    kind: str = "application/octet-stream",
    framing: str = "length",
    pause: Callable[[int], None] | None = None,
) -> Callable[[Handler], None]:
    """An answer with `body` (the path's file if None) from the byte that was asked for, and one thing wrong with it.

    Args:
        cut: bytes that are sent before the connection ends, in order or by a `reset`.
        if_range: whether the header of that name is obeyed.
        length: what is added to the Content-Length.
        framing: "length", "chunked" or "none": the connection's end is the body's.
        pause: called with the bytes sent so far, in blocks of 4 KiB.
    """

    def answer(handler: Handler) -> None:
        whole = handler.site.files.get(handler.path) if body is None else body
        if whole is None:
            return status(404)(handler)
        start, same = handler.visit.start, handler.headers.get("If-Range") in (etag, modified, None)
        part = ranges and "Range" in handler.headers and (same or not if_range)
        headers = {"ETag": etag, "Last-Modified": modified, "Content-Type": kind}
        if part and start >= len(whole):
            return handler.head(416, headers | {"Content-Range": f"bytes */{len(whole)}", "Content-Length": "0"})
        rest = whole[start:] if part else whole
        if framing == "length":
            headers["Content-Length"] = str(max(len(rest) + length, 0))
        elif framing == "chunked":
            headers["Transfer-Encoding"] = "chunked"
        if part:
            headers["Content-Range"] = content_range or f"bytes {start}-{len(whole) - 1}/{len(whole)}"
        handler.head(206 if part else 200, headers)
        rest = rest if cut is None else rest[:cut]
        for begin in range(0, len(rest), 4096):
            if pause:
                pause(begin)
            block = rest[begin : begin + 4096]
            handler.write(block, b"%x\r\n%s\r\n" % (len(block), block) if framing == "chunked" else None)
        if framing == "chunked" and cut is None:
            handler.wfile.write(b"0\r\n\r\n")
        if reset:
            handler.break_off()
        return None

    return answer


def status(code: int, **headers: str) -> Callable[[Handler], None]:
    """An answer without a body; `Retry_After="3"` is the header Retry-After."""
    others = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: handler.head(code, {"Content-Length": "0", **others})


def redirect(location: str, code: int = 302) -> Callable[[Handler], None]:
    return lambda handler: handler.head(code, {"Location": location, "Content-Length": "0"})


def raw(content: bytes) -> Callable[[Handler], object]:
    """Whatever it is, HTTP or not."""
    return lambda handler: handler.wfile.write(content)


def hang_up(handler: Handler) -> None:
    handler.break_off()
