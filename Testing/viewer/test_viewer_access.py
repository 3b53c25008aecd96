"""Who gets the page: one browser with the token, on this computer; all others get one sentence."""

from __future__ import annotations

import http.client
import os

import psutil
import pytest

from Testing.run_cli import run_program
from Testing.viewer.conftest import PATIENCE


@pytest.fixture(scope="module")
def viewer(start_viewer):
    return start_viewer()


def ask(viewer, path: str = "/", method: str = "GET", **headers: str) -> tuple[int, str, http.client.HTTPMessage]:
    """Status, text and headers of one request, redirections not followed."""
    connection = http.client.HTTPConnection("127.0.0.1", viewer.port, timeout=PATIENCE)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace"), answer.headers
    finally:
        connection.close()


def test_it_listens_on_the_loopback_alone(viewer):
    listening = [
        each.laddr.ip
        for each in psutil.Process(viewer.pid).net_connections(kind="inet")
        if each.status == psutil.CONN_LISTEN
    ]
    assert listening == ["127.0.0.1"]


@pytest.mark.parametrize("path", ["/", "/index.html", "/__superresolution/page.js", "/download/views.png", "/ws"])
def test_nothing_is_given_without_the_token(viewer, path):
    status, text, _headers = ask(viewer, path)
    assert status == 403
    assert "lacks the token" in text


def test_a_wrong_token_is_refused(viewer):
    status, text, headers = ask(viewer, "/?token=" + "x" * len(viewer.token))
    assert status == 403
    assert "not valid" in text
    assert "Set-Cookie" not in headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "localhost:x"},
        {"Host": "[::1"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
    ],
)
def test_foreign_pages_are_refused_even_with_the_token(viewer, headers):
    status, text, answered = ask(viewer, f"/?token={viewer.token}", **headers)
    assert status == 403
    assert "only on this computer" in text
    assert "Set-Cookie" not in answered


def test_the_token_opens_one_browser(start_viewer):
    viewer = start_viewer()
    status, _text, headers = ask(viewer, f"/?token={viewer.token}")
    assert (status, headers["Location"]) == (302, "/")
    cookie = headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    mine = cookie.partition(";")[0]

    status, text, answered = ask(viewer, f"/?token={viewer.token}")
    assert status == 409
    assert "Busy" in text and "one user at a time" in text
    assert "Set-Cookie" not in answered
    assert ask(viewer, "/", Cookie=mine.partition("=")[0] + "=guessed")[0] == 403

    status, text, headers = ask(viewer, "/index.html", Cookie=mine)
    assert status == 200
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert ask(viewer, f"/?token={viewer.token}", Cookie=mine)[0] == 302  # the same address in the same browser
    for path in ("/download/../../etc/passwd", "/download/%2e%2e%2fpasswd", "/upload/elsewhere", "/download/sr.nrrd"):
        assert ask(viewer, path, Cookie=mine)[0] in (404, 405), path
    assert viewer.end() == 0
    assert os.listdir(viewer.temporary) == []


def test_a_port_that_is_taken_is_one_sentence(viewer):
    ended = run_program("view", "--no-browser", "--port", str(viewer.port))
    assert ended.status == 2
    assert "already in use; choose another port with --port" in ended.sentence()


def test_a_second_browser_is_told_that_the_page_is_busy(viewer, chromium):
    first, second = (chromium.new_context() for _ in range(2))
    try:
        page = first.new_page()
        page.goto(viewer.address, timeout=1000 * PATIENCE)
        page.wait_for_selector(".example-button", timeout=1000 * PATIENCE)
        assert "token" not in page.url
        other = second.new_page()
        other.goto(viewer.address, timeout=1000 * PATIENCE)
        assert "Busy: another browser session uses this page" in other.inner_text("body")
    finally:
        first.close()
        second.close()
