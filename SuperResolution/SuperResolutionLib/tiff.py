"""What ITK reads wrongly of a TIFF file: lost pages, pages of several kinds, and images of unusual kinds.

ITK reads every page as if it were the first, does not invert an image whose low values are bright, and takes several
grey channels for one and 16-bit floats for integers. What it does not know itself (tiles, separate planes, pixels of
other than 8, 16 or 32 bits, images that do not lie upright, colors other than RGB) it has the TIFF library draw: as
8-bit RGB with an alpha channel, whatever the file holds.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from .errors import DataError, cut_short, grey_with_alpha

#: What is read of a page: numbers of its tags.
WANTED = (254, 256, 257, 258, 262, 274, 277, 282, 284, 296, 322, 338, 339)
_KIND, _WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _ORIENTATION, _SAMPLES, *_OTHERS = WANTED
_RESOLUTION, _PLANES, _UNIT, _TILE_WIDTH, _EXTRA, _FORMAT = _OTHERS
_DEFAULTS = {_KIND: 0, _BITS: 1, _PHOTOMETRIC: 1, _ORIENTATION: 1, _SAMPLES: 1, _PLANES: 1, _UNIT: 2, _FORMAT: 1}

#: Bits of ``_KIND``: a small copy of another page, a mask. ITK passes over both.
_NO_PAGE = 0b101
_LOW_IS_BRIGHT, _GREY, _RGB, _PALETTE = 0, (0, 1), 2, 3
_COLORS = {5: "in CMYK", 6: "in YCbCr", 8: "in CIELAB"}
_NO_UNIT = 1
_SEPARATE = 2
_UPRIGHT = (1, 4)  # also from the last row to the first, which ITK turns round
_TRANSPARENT = 2  # an alpha channel by which the colors are not multiplied yet
_SIGNED, _FLOAT, _COMPLEX = 2, 3, (5, 6)

_CODES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}
_SIZES = {3: 2, 4: 4, 5: 8, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}

#: A page's numbers by their tags; of several numbers the first, of a fraction its numerator.
Page = dict[int, int]


def check(path: Path) -> None:
    """Refuse a file that is incomplete or that ITK would misread.

    Raises:
        DataError: if it is so.
        OSError: if it cannot be opened.
    """
    pages = read_pages(path)
    if any(page[_SAMPLES] == 2 for page in pages):
        raise grey_with_alpha(path)
    alike = (_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _ORIENTATION, _SAMPLES, _FORMAT)
    undrawn = not any(map(_drawn, pages[:1])) and any(map(_drawn, pages))
    if undrawn or len({tuple(page.get(tag) for tag in alike) for page in pages}) > 1:
        raise DataError(
            f"{path} mixes pages of different sizes or kinds; save one of them, or alike ones, and use that."
        )
    for page in pages:
        _refuse_misread(path, page)


def _refuse_misread(path: Path, page: Page) -> None:
    """Refuse a page of which ITK would read something else than it holds, or nothing."""
    bits, samples = page[_BITS], page[_SAMPLES]
    if samples > {_RGB: 4, **dict.fromkeys(_GREY, 2)}.get(page[_PHOTOMETRIC], samples):
        raise DataError(f"{path} holds {samples} channels; extract one and use that.")
    if page[_FORMAT] in _COMPLEX:
        raise DataError(f"{path} holds complex pixels; save its magnitude or another plain scalar image and use that.")
    if page[_FORMAT] == _FLOAT and bits == 16:
        raise DataError(f"{path} holds 16-bit floats; save it as 32-bit float.")
    if bits > 32:
        better = "as 32-bit float" if page[_FORMAT] == _FLOAT else "with 32 bits, or as NRRD"
        raise DataError(f"{path} holds {bits} bits a sample and TIFF is read with at most 32; save it {better}.")
    way = _drawn(page)
    if way and (bits > 8 or page[_FORMAT] == _SIGNED):
        raise _lossy(path, page, way)


def _drawn(page: Page) -> tuple[str, str] | None:
    """Why ITK has the TIFF library draw a page, and how to save it instead; None if ITK reads it itself."""
    if page[_PHOTOMETRIC] not in (*_GREY, _RGB, _PALETTE):
        return _COLORS.get(page[_PHOTOMETRIC], "in colors other than RGB"), "as RGB"
    if page.get(_TILE_WIDTH):
        return "in tiles", "in strips"
    if page[_PLANES] == _SEPARATE:
        return "in separate planes", "in strips with the samples of a pixel together"
    if page[_ORIENTATION] not in _UPRIGHT:
        return "in rows that do not lie upright", "upright"
    if page[_BITS] not in (8, 16, 32):
        return "packed", "with 8, 16 or 32 bits"
    return None


def _lossy(path: Path, page: Page, way: tuple[str, str]) -> DataError:
    """What to say of a page of which the TIFF library draws less than it holds."""
    kind = "signed sample" if page[_FORMAT] == _SIGNED else "sample"
    held, better = way
    return DataError(
        f"{path} holds {page[_BITS]} bits a {kind} {held}, which cannot be read without loss; save it {better}."
    )


def read_pages(path: Path) -> list[Page]:
    """What a file says of its pages, without small copies and masks.

    Raises:
        DataError: if it is incomplete.
        OSError: if it cannot be opened.
    """
    try:
        with path.open("rb") as stream:
            pages = _follow(stream, path.stat().st_size)
    except (EOFError, struct.error) as error:
        raise cut_short(path, "the description of its pages leads past its end") from error
    return [page for page in pages if not page[_KIND] & _NO_PAGE] or pages


def correct(path: Path, array: np.ndarray) -> tuple[np.ndarray, bool, list[str]]:
    """What the file holds, from the array (k, j, i[, c]) that ITK read, which may be changed.

    Returns:
        The array, grey where the file is, with high values bright; whether the file says how large its pixels are; and
        notices.

    Raises:
        DataError: if ITK has read less than the file holds.
        OSError: if it cannot be opened.
    """
    page = read_pages(path)[0]
    known = page.get(_RESOLUTION, 0) > 0 and page[_UNIT] != _NO_UNIT
    if page[_BITS] > 8 * array.dtype.itemsize:
        # Drawn for a reason that is not known here.
        raise _lossy(path, page, _drawn(page) or ("in an unusual way", "in strips"))
    if page[_PHOTOMETRIC] not in _GREY or page[_SAMPLES] != 1:
        return _without_drawn_alpha(path, page, array), known, []
    inverted = page[_PHOTOMETRIC] == _LOW_IS_BRIGHT and array.dtype.kind in "iu"
    if array.ndim == 4:  # drawn by the TIFF library, upright and with high values bright
        array = np.ascontiguousarray(array[..., 0])
    elif inverted:
        np.invert(array, out=array)
    notice = "Stored with low values bright (white is zero) and inverted on reading, so that high values are bright."
    return array, known, [notice] if inverted else []


def _without_drawn_alpha(path: Path, page: Page, array: np.ndarray) -> np.ndarray:
    """Colors (k, j, i, c) without the alpha channel that the TIFF library adds to a page that has none."""
    if array.ndim < 4 or array.shape[3] < 4:
        return array
    if page[_PHOTOMETRIC] != _RGB or page[_SAMPLES] < 4:
        return np.ascontiguousarray(array[..., :3])
    way = _drawn(page)
    if way and page.get(_EXTRA) == _TRANSPARENT and array[..., 3].min() < 255:
        # The library has multiplied the colors by the alpha channel.
        held, better = way
        raise DataError(f"{path} holds transparent colors {held}, which cannot be read without loss; save it {better}.")
    return array


def _follow(stream, size: int) -> list[Page]:
    """All pages, along the chain of page directories (TIFF and BigTIFF).

    Raises:
        EOFError, struct.error: if the chain, or what an entry points to, leads past the end of the file.
    """
    order = "<" if stream.read(2) == b"II" else ">"
    big = _unpack(stream, order + "H") == 43
    if big:
        stream.seek(8)
    count_code, value_code = ("Q", "Q") if big else ("H", "I")
    offset = _unpack(stream, order + value_code)
    seen, pages = set(), []
    while offset and offset not in seen:
        seen.add(offset)
        stream.seek(offset)
        page = dict(_DEFAULTS)
        for _ in range(_unpack(stream, order + count_code)):
            tag, value = _entry(stream, order, value_code, size)
            if value is not None:
                page[tag] = value
        pages.append(page)
        offset = _unpack(stream, order + value_code)
    return pages


def _entry(stream, order: str, value_code: str, size: int) -> tuple[int, int | None]:
    """Tag and first number of the entry at which the stream is; None for what is not wanted."""
    tag, kind = _unpack(stream, order + "H"), _unpack(stream, order + "H")
    length = _SIZES.get(kind, 1) * _unpack(stream, order + value_code)
    value, after = stream.read(struct.calcsize(value_code)), stream.tell()
    code = order + ("I" if kind == 5 else _CODES.get(kind, "B"))
    if length > len(value):
        place = struct.unpack(order + value_code, value)[0]
        if place + length > size:
            raise EOFError
        if tag in WANTED:
            stream.seek(place)
            value = stream.read(struct.calcsize(code))
            stream.seek(after)
    return tag, struct.unpack_from(code, value)[0] if tag in WANTED else None


def _unpack(stream, code: str) -> int:
    return struct.unpack(code, stream.read(struct.calcsize(code)))[0]
