"""One file from one URL, over as many connections as it takes.

The client is the standard library's, as in torch hub: it takes proxies and certificates from the environment
(`HTTPS_PROXY`, `NO_PROXY`, `SSL_CERT_FILE`, `SSL_CERT_DIR`) or else the system, and is one dependency fewer.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPMessage, HTTPResponse, InvalidURL, responses
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from repro import __version__
from repro.checkpoints import LIMIT
from repro.checkpoints.cache import Cache, DownloadSource, Partial, Wanted

_BLOCK = 1 << 16
_ROOM_EVERY = 8 << 20  # bytes after which the room on the disk is looked at again
#: Statuses that may be gone a moment later: timeouts, too many requests, and a server's own troubles.
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_NO_NETWORK = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL})
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/(?:([0-9]{1,18})|\*)")
_LENGTH = re.compile(r"[0-9]{1,18}")


class Unavailable(Exception):
    """This URL does not give the file; another may."""


class Unreachable(Unavailable):
    """Nothing answers at this URL: perhaps this machine has no network."""


class _Interrupted(Exception):
    """This connection did not bring the file to its end; another may, after `wait` seconds if the server says so."""

    def __init__(self, problem: str, wait: float = 0) -> None:
        super().__init__(problem)
        self.wait = wait


@dataclass(frozen=True)
class Patience:
    """How long to try a server."""

    timeout: float = 30  #: seconds to connect, and without a byte
    tries: int = 4  #: connections in a row that bring nothing new
    connections: int = 100  #: altogether
    pause: float = 1  #: seconds between connections, doubled after each but the first that brings nothing new
    rate: float = 1024  #: bytes a second, on average over each `window`; a server that gives fewer is not waited for
    window: float = 60  #: seconds
    wait: float = 120  #: seconds that a server may ask to be left alone for (Retry-After), before another is tried


def complete(
    partial: Partial,
    url: str,
    wanted: Wanted,
    cache: Cache,
    progress: Callable[[int, int | None], None] | None = None,
    patience: Patience | None = None,
) -> None:
    """Complete `partial` from `url`, resuming where an earlier download from this URL ended.

    Bytes are only added to those before if the server vouches (If-Range, Content-Range) that they are of one body. A
    body that ends early is resumed; one that is whole and has another hash is discarded.

    Args:
        progress: called with the number of bytes that are here (fewer than before after a restart) and the total,
            if known.

    Raises:
        Unavailable: the server does not give the file, and why. Bytes that can be resumed later stay in `partial`.
        ReproError: the disk is full, or would be.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise Unavailable("not an http or https URL")
    patience = patience or Patience()
    opener = build_opener(_Redirects())
    furthest, fruitless = partial.size, 0
    for _ in range(patience.connections):
        try:
            return _connect(opener, partial, url, wanted, cache, progress, patience)
        except _Interrupted as interruption:
            problem, wait = str(interruption), interruption.wait
        if wanted.is_met(partial):  # the server announced more than there is
            return None
        fruitless = 0 if partial.size > furthest else fruitless + 1
        furthest = max(furthest, partial.size)
        if fruitless == patience.tries:
            break
        if wait > patience.wait:
            raise Unavailable(f"{problem}; it asks to be left alone for {wait:.0f} seconds: try again then")
        time.sleep(max(patience.pause * 2 ** max(fruitless - 1, 0), wait))
    raise Unavailable(problem)


def _connect(
    opener: OpenerDirector,
    partial: Partial,
    url: str,
    wanted: Wanted,
    cache: Cache,
    progress: Callable[[int, int | None], None] | None,
    patience: Patience,
) -> None:
    known = partial.source
    limit = max(LIMIT, wanted.size or 0)
    headers = {"User-Agent": f"gcnet-repro/{__version__}", "Accept-Encoding": "identity"}
    validator = known.validator if known and known.url == url and partial.size else None
    if validator:
        headers |= {"Range": f"bytes={partial.size}-", "If-Range": validator}
    with _open(opener, Request(url, headers=headers), patience.timeout, partial) as response:
        resuming = response.status == 206
        left: int | None
        if resuming and known and validator:
            source, left = known, _count_rest(response.headers, partial, known.total, validator)
        elif response.status == 200:
            source = DownloadSource(url, _read_validator(response.headers), _read_length(response.headers))
            if source.total is not None and wanted.size not in (None, source.total):
                raise Unavailable(f"it announces {source.total} bytes, and the file has {wanted.size}")
            if source.total is not None and source.total > limit:
                raise Unavailable(f"it announces {source.total} bytes, and no weights have more than {limit}")
            partial.restart(source)
            left = wanted.size if source.total is None else source.total
        else:
            raise Unavailable(f"it answers with HTTP status {response.status}")
        cache.require_room(left or 0)
        total = source.total or wanted.size
        if progress:
            progress(partial.size, total)
        checked = partial.size
        for block in _read_blocks(response, left, patience):
            if partial.size + len(block) > limit:
                partial.discard()
                raise Unavailable(f"it sends more than {limit} bytes, which no weights have")
            if partial.size - checked >= _ROOM_EVERY:  # others fill the disk too, and a length may be unknown
                cache.require_room(len(block))
                checked = partial.size
            partial.append(block)
            if progress:
                progress(partial.size, total)
        if total is not None and partial.size < total:
            raise _Interrupted(f"it sent {partial.size} of {total} bytes")
        if not wanted.is_met(partial):
            problem = wanted.describe_difference(partial)
            if response.headers.get_content_type() == "text/html":
                problem += " (it is a web page, not a file)"
            partial.discard()
            raise (_Interrupted if resuming else Unavailable)(problem)  # a body sent in one piece will not change


def _open(opener: OpenerDirector, request: Request, timeout: float, partial: Partial) -> HTTPResponse:
    try:
        return opener.open(request, timeout=timeout)
    except HTTPError as error:
        error.close()
        if error.code == 416 and request.has_header("Range"):
            partial.discard()
            raise _Interrupted("the file changed at the server to a shorter one") from None
        hint = ", too often or to nowhere" if 300 <= error.code < 400 else ""
        problem = f"HTTP status {error.code} ({responses.get(error.code, 'unknown')}{hint})"
        if error.code in _PASSING:
            raise _Interrupted(problem, _read_wait(error.headers)) from None
        raise Unavailable(problem) from None
    except (OSError, HTTPException, ValueError) as error:
        raise _classify_failure(error) from None


def _classify_failure(error: Exception) -> Unavailable | _Interrupted:
    """The exception for an attempt that got no answer: whether another attempt may succeed."""
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return Unavailable(
            f"its certificate is not trusted ({reason.verify_message}); SSL_CERT_FILE can name a file of trusted ones"
        )
    if isinstance(error, URLError) and isinstance(reason, TimeoutError):  # while connecting; urllib wraps no others
        return Unreachable("it does not answer")
    if isinstance(reason, socket.gaierror | ConnectionRefusedError) or _get_errno(reason) in _NO_NETWORK:
        return Unreachable(_describe(reason))
    lasting = isinstance(reason, InvalidURL | ValueError | str)
    return (Unavailable if lasting else _Interrupted)(_describe(reason))


def _get_errno(reason: object) -> int | None:
    return reason.errno if isinstance(reason, OSError) else None


def _read_blocks(response: HTTPResponse, left: int | None, patience: Patience) -> Iterator[bytes]:
    """Yield the next `left` bytes of a body as they arrive; all of it if None."""
    begun, arrived = time.monotonic(), 0
    while left is None or left > 0:
        try:
            # read() would wait until a block is full, however slowly it fills.
            block = response.read1(_BLOCK if left is None else min(left, _BLOCK))
        except (OSError, HTTPException, ValueError) as error:
            raise _Interrupted(_describe(error)) from None
        if not block:
            if left is not None:
                raise _Interrupted(f"the connection ended {left} bytes early")
            return
        left = None if left is None else left - len(block)
        arrived += len(block)
        yield block
        elapsed = time.monotonic() - begun
        if elapsed > patience.window:
            if arrived < patience.rate * elapsed:
                raise Unavailable(f"it is too slow: {arrived / elapsed:.0f} bytes a second")
            begun, arrived = time.monotonic(), 0


def _count_rest(headers: HTTPMessage, partial: Partial, known_total: int | None, validator: str) -> int:
    """How many bytes follow those of `partial`; it is discarded if they are not the rest of the same body.

    `known_total` and `validator` are those of the bytes that are here.
    """
    match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
    if match:
        first, last, total = int(match[1]), int(match[2]), int(match[3]) if match[3] else None
        now = _read_validator(headers)
        same_kind = now is not None and now.startswith('"') == validator.startswith('"')
        same_total = total is None or known_total in (None, total)
        if first == partial.size and last >= first and same_total and not (same_kind and now != validator):
            return last + 1 - first
    partial.discard()
    raise _Interrupted("the file changed at the server, or another part came than was asked for")


def _read_validator(headers: HTTPMessage) -> str | None:
    """What `If-Range` may hold: a strong ETag or a date, not a weak ETag (RFC 9110, 13.1.5)."""
    for value in (headers.get("ETag", ""), headers.get("Last-Modified", "")):
        if value and not value.startswith("W/") and value.isascii() and value.isprintable() and len(value) < 200:
            return value
    return None


def _read_length(headers: HTTPMessage) -> int | None:
    """Bytes of the body; None if they are not announced, or the announcement does not count (RFC 9112, 6.3)."""
    value = headers.get("Content-Length", "")
    return int(value) if _LENGTH.fullmatch(value) and "Transfer-Encoding" not in headers else None


def _read_wait(headers: Message) -> float:
    """Seconds after which the server wants to be asked again: Retry-After, a number or a date (RFC 9110, 10.2.3)."""
    value = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", value):
        return int(value)
    try:
        return max(parsedate_to_datetime(value).timestamp() - time.time(), 0)
    except (ValueError, TypeError, OverflowError):
        return 0


def _describe(reason: BaseException | str) -> str:
    return getattr(reason, "strerror", None) or str(reason) or type(reason).__name__


class _Redirects(HTTPRedirectHandler):
    """Follows at most ten redirects (the base class counts), to http and https, and not from https to http."""

    def http_error_302(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage
    ) -> HTTPResponse | None:
        fp.close()  # or else the base class reads the body, however long it is
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        scheme = urlsplit(newurl).scheme
        if scheme not in ("http", "https") or (req.type == "https" and scheme != "https"):
            raise Unavailable(f"it redirects to {newurl[:200]}, which is not followed from {req.type}")
        # Python 3.10 knows 308 only as an error; for a GET it is 307.
        return super().redirect_request(req, fp, 307 if code == 308 else code, msg, headers, newurl)
