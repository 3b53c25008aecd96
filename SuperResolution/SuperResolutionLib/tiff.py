"""What ITK reads wrongly of a TIFF file: lost pages, pages of several kinds, and grey images of unusual kinds.

ITK reads every page as if it were the first, does not invert an image whose low values are bright, and takes grey
pixels of less than 8 bits, and grey images that do not lie upright, for color.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from .errors import DataError, cut_short, grey_with_alpha

#: What is read of a page: numbers of its tags.
_KIND, _WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES, _RESOLUTION, _UNIT, _FORMAT = WANTED = (
    254,
    256,
    257,
    258,
    262,
    277,
    282,
    296,
    339,
)
_DEFAULTS = {_KIND: 0, _BITS: 1, _PHOTOMETRIC: 1, _SAMPLES: 1, _UNIT: 2, _FORMAT: 1}

#: Bits of ``_KIND``: a small copy of another page, a mask. ITK passes over both.
_NO_PAGE = 0b101
_LOW_IS_BRIGHT, _GREY = 0, (0, 1)
_NO_UNIT = 1

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
    alike = (_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES, _FORMAT)
    if len({tuple(page.get(tag) for tag in alike) for page in pages}) > 1:
        raise DataError(
            f"{path} mixes pages of different sizes or kinds; save one of them, or alike ones, and use that."
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
    if page[_PHOTOMETRIC] not in _GREY or page[_SAMPLES] != 1:
        return array, known, []
    inverted = page[_PHOTOMETRIC] == _LOW_IS_BRIGHT and array.dtype.kind in "iu"
    if array.ndim == 4:  # drawn by the TIFF library, upright and with high values bright
        if page[_BITS] > 8:
            raise DataError(f"{path} holds pixels of {page[_BITS]} bits that do not lie upright; save it upright.")
        array = np.ascontiguousarray(array[..., 0])
    elif inverted:
        np.invert(array, out=array)
    notice = "Stored with low values bright (white is zero) and inverted on reading, so that high values are bright."
    return array, known, [notice] if inverted else []


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
