"""Start the page: one server on 127.0.0.1 for one browser, until it is told to end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import webbrowser
from pathlib import Path

from SuperResolutionLib.errors import UsageError
from SuperResolutionLib.files import read_volume

HOST = "127.0.0.1"


def run(
    path: Path | None = None,
    reference: Path | None = None,
    port: int = 0,
    browser: bool = True,
    most_bytes: int = 512_000_000,
) -> None:
    """Serve the page until Ctrl-C, and print its address.

    Args:
        path: image file, DICOM file or folder to open; None opens none.
        reference: high-resolution image that results are scored against.
        port: 0 takes a free one.
        browser: also open the address in the user's browser.
        most_bytes: size that an upload may have.

    Raises:
        SuperResolutionError: if an image cannot be opened, or the port is taken.
    """
    image = read_volume(path) if path is not None else None
    truth = read_volume(reference) if reference is not None else None
    # trame reads sys.argv, and wslink prints a line for launchers.
    sys.argv[1:] = []
    os.environ["WSLINK_READY_MSG"] = ""
    asyncio.run(_serve(image, truth, port, browser, most_bytes))


async def _serve(image, truth, port: int, browser: bool, most_bytes: int) -> None:
    from trame.app import get_server

    from .access import Access
    from .application import start_application
    from .control import Control
    from .page import build
    from .protocol import ViewProtocol
    from .transfer import Transfer
    from .work import Work

    server = get_server("SuperResolution", client_type="vue3")
    work = Work(start_application())
    access = Access()
    control = Control(server, work, most_bytes)
    transfer = Transfer(work, most_bytes, control.receive)
    try:
        with server.state:
            if image is not None:
                control.show_volume(image)
            if truth is not None:
                control.show_volume(truth, "reference")
        build(server, control)
        server.add_protocol_to_configure(
            lambda root: root.registerLinkProtocol(ViewProtocol(work, lambda: bool(server.state.magnifier)))
        )

        def bind(web_server):
            web_server.app.middlewares.append(access.middleware)
            web_server.app.add_routes(transfer.routes())

        def ready(**_state):
            address = access.address(server.port)
            print(f"Open {address}\nIt works once, in one browser. Ctrl-C ends it.", flush=True)
            if browser:
                webbrowser.open(address)

        server.controller.on_server_bind.add(bind)
        server.controller.on_server_ready.add(ready)
        work.warm()
        serving = asyncio.ensure_future(
            server.start(
                port=port, host=HOST, exec_mode="coroutine", thread=True, timeout=0,
                open_browser=False, show_connection_info=False,
            )
        )  # fmt: skip
        await _until_told_to_end(serving)
    finally:
        control.close()
        transfer.close()
        work.close()


async def _until_told_to_end(serving: asyncio.Future) -> None:
    """Return after Ctrl-C, a request to end, or the end of the server, whose error is raised."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, told.set)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(told.set))
    waiting = asyncio.ensure_future(told.wait())
    done, _ = await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if serving in done:
        _raise_error_of(serving)
    for task in (serving, waiting):
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _raise_error_of(serving: asyncio.Future) -> None:
    try:
        serving.result()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"The page cannot be served: {reason}; choose another port with --port.") from error
