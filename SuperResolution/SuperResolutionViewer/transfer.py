"""Files between the browser and this program: uploads into a private folder, downloads of what is in the scene.

No name that the page sends becomes part of a path: uploads are numbered, downloads are chosen from a list.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from aiohttp import BodyPartReader, web

from SuperResolutionLib import mrml
from SuperResolutionLib.cli_output import to_json
from SuperResolutionLib.errors import DataError, SuperResolutionError, reason
from SuperResolutionLib.files import read_volume, write_volume
from SuperResolutionLib.volume import Volume

from .picture import draw_views
from .work import Work

#: Endings that an upload may have; anything else gets none, and is recognised by its content alone.
SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".png", ".tiff", ".tif", ".jpeg", ".jpg", ".dcm")

#: Bytes read at a time, and files that one upload may hold (the slices of a DICOM series).
CHUNK, MOST_FILES = 1 << 20, 4000

#: What can be downloaded: the node's attribute in Work, and the ending of the file.
VOLUMES = {
    "sr.nrrd": ("sr_node", ".nrrd"),
    "sr.nii.gz": ("sr_node", ".nii.gz"),
    "bicubic.nrrd": ("bicubic_node", ".nrrd"),
    "bicubic.nii.gz": ("bicubic_node", ".nii.gz"),
}


class Transfer:
    """The routes for files.

    Args:
        work: Work.
        most_bytes: size that an upload may have in all.
        received: async function that takes ("image" or "reference", Volume) and raises SuperResolutionError.
    """

    def __init__(self, work: Work, most_bytes: int, received):
        self._work, self._most_bytes, self._received = work, most_bytes, received
        self._folder = Path(tempfile.mkdtemp(prefix="superresolution-view-"))

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/upload/{purpose:image|reference}", self.upload),
            web.get("/download/{name}", self.download),
        ]

    def close(self) -> None:
        """Remove whatever is left of transfers."""
        shutil.rmtree(self._folder, ignore_errors=True)

    async def upload(self, request: web.Request) -> web.Response:
        """Take an image file, or the files of one DICOM series; answers {"error": sentence} or {}."""
        with self._scratch() as folder:
            try:
                name, count = await self._receive(request, folder)
                volume = await asyncio.to_thread(_read, folder, name, count)
                await self._received(request.match_info["purpose"], volume)
            except _TooLarge:
                limit = f"{self._most_bytes / 1e6:g} MB"
                sentence = f"The upload is larger than {limit}, which 'superres view --max-upload' can change."
                response = web.json_response({"error": sentence}, status=413)
                response.force_close()  # the rest of it is not worth reading
                return response
            except SuperResolutionError as error:
                return web.json_response({"error": str(error)}, status=400)
            except (ValueError, AssertionError):  # aiohttp's, of a frame that is none
                return web.json_response({"error": "The upload is damaged; send it again."}, status=400)
            except MemoryError:
                return web.json_response({"error": "There is not enough memory for this image."}, status=507)
            except OSError as error:
                sentence = f"The upload cannot be kept: {reason(error)}; make room in the folder for temporary files."
                return web.json_response({"error": sentence}, status=507)
        return web.json_response({})

    async def download(self, request: web.Request) -> web.StreamResponse:
        """Send a result as a file, the report, or a picture of the views."""
        name, work = request.match_info["name"], self._work
        if name == "views.png" and work.shown:
            return _attachment(draw_views(work), name, "image/png")
        if name == "report.json" and work.report is not None:
            return _attachment(to_json(work.report).encode(), name, "application/json")
        attribute, suffix = VOLUMES.get(name, (None, None))
        node = getattr(work, attribute) if attribute else None
        if node is None:
            return web.Response(status=404, text="There is no such file, or no result yet.")
        # A copy: the scene may change while the file is written.
        volume, provenance = mrml.volumeFromNode(node), mrml.provenanceOf(node)
        with self._scratch() as folder:
            path = folder / f"result{suffix}"
            try:
                await asyncio.to_thread(write_volume, volume, path, provenance)
            except SuperResolutionError as error:
                return web.Response(status=507, text=str(error))
            response = web.StreamResponse(headers=_disposition(f"{_plain(volume.name)}{suffix}"))
            response.content_type = "application/octet-stream"
            response.content_length = path.stat().st_size
            await response.prepare(request)
            with path.open("rb") as file:
                while chunk := await asyncio.to_thread(file.read, CHUNK):
                    await response.write(chunk)
            await response.write_eof()
        return response

    @contextmanager
    def _scratch(self):
        """A fresh folder that goes with all that is in it."""
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    async def _receive(self, request: web.Request, folder: Path) -> tuple[str, int]:
        """Write the parts of an upload as numbered files; returns the first one's own name, and how many there are."""
        if (request.content_length or 0) > self._most_bytes + CHUNK:  # the frame around the files is small
            raise _TooLarge
        if not request.content_type.startswith("multipart/"):
            raise DataError("Nothing was uploaded: choose an image file.")
        first, count, left = "", 0, self._most_bytes
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader) or part.filename is None:
                continue
            count += 1
            if count > MOST_FILES:
                raise DataError(f"The upload holds more than {MOST_FILES} files: choose those of one series.")
            first = first or part.filename
            with (folder / f"{count:06d}{_suffix(part.filename)}").open("wb") as file:
                while chunk := await part.read_chunk(CHUNK):
                    left -= len(chunk)
                    if left < 0:
                        raise _TooLarge
                    file.write(chunk)
        if not count:
            raise DataError("Nothing was uploaded: choose an image file.")
        return first, count


class _TooLarge(Exception):
    """More bytes than an upload may have."""


def _read(folder: Path, name: str, count: int) -> Volume:
    """The image that was uploaded; errors speak of it by the name that its owner knows."""
    files = sorted(folder.iterdir())
    path = files[0] if count == 1 else folder
    try:
        volume = read_volume(path, alone=True)
    except SuperResolutionError as error:
        shown = _shown(name) if count == 1 else "the upload"
        # A function, because a name is no template: a backslash in it means nothing.
        place = rf"([Tt]he folder )?{re.escape(str(folder))}(/[\w.]*)?"
        sentence = re.sub(place, lambda _match: shown, str(error))
        raise type(error)(sentence[:1].upper() + sentence[1:] if count > 1 else sentence) from error
    title = _plain(name) if count == 1 else "DICOM series"
    source = {key: value for key, value in volume.source.items() if key != "path"}
    return replace(volume, name=title, source=source)


def _suffix(name: str) -> str:
    return next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), "")


def _shown(name: str) -> str:
    return "".join(letter for letter in Path(name).name if letter.isprintable())[:80] or "The file"


def _plain(name: str) -> str:
    """A name in letters, digits, spaces and - _ alone, without the ending."""
    name = Path(name.replace("\\", "/")).name
    stem = name[: -len(_suffix(name))] if _suffix(name) else name
    return re.sub(r"[^\w\- ]+", "-", stem, flags=re.ASCII).strip("- ")[:80] or "image"


def _attachment(content: bytes, name: str, kind: str) -> web.Response:
    return web.Response(body=content, content_type=kind, headers=_disposition(name))


def _disposition(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}
