"""Who may use the page: one browser, which knows the one-time token, on this machine.

The address that is printed holds a token. The first browser that presents it gets a cookie in its place; the token is
void from then on. Requests under a foreign host name (DNS rebinding) or from a foreign page are refused.
"""

from __future__ import annotations

import html
import secrets
from urllib.parse import urlsplit

from aiohttp import web

LOCAL_NAMES = {"127.0.0.1", "localhost", "::1"}

#: Nothing is loaded from elsewhere. Vue compiles the page's templates in the browser, which needs unsafe-eval.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; form-action 'none'"
)

NO_TOKEN = "This address lacks the token: open the one that 'superres view' printed."
WRONG_TOKEN = "This token is not valid: open the address that 'superres view' printed when it was started last."
BUSY = (
    "Busy: another browser session uses this page, and it is for one user at a time. Use that browser, or end "
    "'superres view' and start it again."
)
FOREIGN = "This page answers only on this computer, to its own pages."


class Access:
    """Keeps the token and the cookie.

    Attributes:
        token: what the printed address holds.
    """

    def __init__(self):
        self.token = secrets.token_urlsafe(24)
        self._cookie = None  # of the browser that presented the token

    def address(self, port: int) -> str:
        """What to open in a browser, once."""
        return f"http://127.0.0.1:{port}/?token={self.token}"

    @web.middleware
    async def middleware(self, request: web.Request, handler):
        """Let pass whom it may concern, all others get one sentence."""
        refusal = self._refusal(request)
        if refusal is not None:
            status, sentence = refusal
            return _protected(web.Response(status=status, text=_page(sentence), content_type="text/html"))
        if "token" in request.query:
            response = web.HTTPFound("/")
            self._cookie = self._cookie or secrets.token_urlsafe(24)
            response.set_cookie(_cookie_name(request), self._cookie, httponly=True, samesite="Strict", path="/")
            return _protected(response)
        response = await handler(request)
        return response if response.prepared else _protected(response)

    def _refusal(self, request: web.Request) -> tuple[int, str] | None:
        if not _is_local(request):
            return 403, FOREIGN
        given = request.cookies.get(_cookie_name(request), "")
        if self._cookie is not None and secrets.compare_digest(given.encode(), self._cookie.encode()):
            return None
        token = request.query.get("token")
        if token is None:
            return 403, NO_TOKEN
        if not secrets.compare_digest(token.encode(), self.token.encode()):
            return 403, WRONG_TOKEN
        return (409, BUSY) if self._cookie is not None else None


def _is_local(request: web.Request) -> bool:
    # Any port: it may be forwarded from another machine through ssh.
    if _host_and_port(request)[0] not in LOCAL_NAMES:
        return False
    origin = request.headers.get("Origin")
    return origin is None or origin == f"http://{request.host}"


def _cookie_name(request: web.Request) -> str:
    # Browsers share cookies between the ports of a host; a name for each port keeps two servers apart.
    return f"superresolution-{_host_and_port(request)[1]}"


def _host_and_port(request: web.Request) -> tuple[str | None, int]:
    try:
        parts = urlsplit(f"//{request.host}")
        return parts.hostname, parts.port or 80
    except ValueError:
        return None, 0


def _protected(response: web.StreamResponse) -> web.StreamResponse:
    response.headers.update(
        {
            "Content-Security-Policy": POLICY,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        }
    )
    return response


def _page(sentence: str) -> str:
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>SuperResolution</title>"
        "<body style='font: 18px sans-serif; max-width: 34em; margin: 4em auto; padding: 0 1em'>"
        f"<h1 style='font-size: 22px'>SuperResolution</h1><p>{html.escape(sentence)}</p></body></html>"
    )
