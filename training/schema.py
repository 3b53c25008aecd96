"""Plain values, as YAML gives them, into typed dataclasses: by pydantic where it is installed, else by this file.

Both find the same faults, and the sentences come from here, so that a configuration is judged alike on a workstation
and on a bare GPU machine. Understood are str, int, float, bool, dict, ``Literal``, ``X | None``, ``tuple[X, ...]``,
``tuple[X, Y]``, ``dict[str, X]``, unions of those, dataclasses, and ``Annotated`` with a ``Range``.
"""

from __future__ import annotations

import json
import math
import types
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from SuperResolutionLib.errors import UsageError

from .optional import installed

#: What every dataclass read by ``check`` sets as ``__pydantic_config__``.
STRICT = {"strict": True, "extra": "forbid"}


@dataclass(frozen=True)
class Range:
    """Limits of a number; ``above`` excludes the limit itself. Numbers are finite in any case."""

    low: float | None = None
    high: float | None = None
    above: float | None = None

    def __get_pydantic_core_schema__(self, source, handler):
        schema = handler(source)
        limits = {"ge": self.low, "le": self.high, "gt": self.above}
        limits |= {"allow_inf_nan": False} if schema["type"] == "float" else {}
        return schema | {key: value for key, value in limits.items() if value is not None}

    def holds(self, value: float) -> bool:
        """Whether the value lies within the limits."""
        too_low = (self.low is not None and value < self.low) or (self.above is not None and value <= self.above)
        return not too_low and (self.high is None or value <= self.high)

    def words(self) -> str:
        """The limits after a noun: " of at least 1"."""
        low = f" above {self.above:g}" if self.low is None else f" of at least {self.low:g}"
        return low if self.high is None else f" from {self.low or 0:g} to {self.high:g}"


@dataclass(frozen=True)
class Problem:
    """One fault: where it is, and what is wrong with it."""

    path: tuple
    words: str

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.path)) or 'the file'} {self.words}"


def check(kind: type, values: Any, plain: bool = False) -> tuple[Any, list[Problem]]:
    """Build the dataclass ``kind`` from nested plain values.

    Args:
        plain: leave pydantic aside even if it is there.

    Returns:
        The instance and no problems, or None and the problems in the order of the file.
    """
    values = json.loads(json.dumps(values, default=str))  # tuples to lists, keys and dates to text
    if plain or not installed("pydantic"):
        problems = list(_faults(kind, values, ()))
        return (None, problems) if problems else (_build(kind, values), [])
    return _by_pydantic(kind, values)


def json_schema(kind: type) -> dict:
    """The JSON schema of a dataclass.

    Raises:
        UsageError: where pydantic is not installed.
    """
    if not installed("pydantic"):
        raise UsageError("The schema needs the package pydantic; install it with pip install pydantic.")
    from pydantic import TypeAdapter

    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | TypeAdapter(kind).json_schema()


def _by_pydantic(kind: type, values: Any) -> tuple[Any, list[Problem]]:
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_json(json.dumps(values)), []
    except ValidationError as error:
        found = {}
        for entry in error.errors(include_url=False):
            problem = _translate(kind, values, entry)
            found.setdefault(problem.path, problem)
        return None, list(found.values())


def _translate(kind: type, values: Any, error: dict) -> Problem:
    """A pydantic error in this file's words. Its location names the branches of unions, which are left out here."""
    path = ()
    for step in error["loc"]:
        members, _ = _members(kind)
        if len(members) != 1:
            break
        if is_dataclass(members[0]):
            known = get_type_hints(members[0], include_extras=True)
            if step not in known:
                return _unknown(members[0], (*path, step))
            if error["type"] == "missing" and step not in values:
                return Problem((*path, step), "is missing")
            kind = known[step]
        elif get_origin(members[0]) is dict:
            kind = get_args(members[0])[1]
        elif get_origin(members[0]) is tuple:
            inner = get_args(members[0])
            if error["type"] == "missing" and step >= len(values):
                break
            kind = inner[0] if Ellipsis in inner else inner[min(step, len(inner) - 1)]
        path, values = (*path, step), values[step]
    return _wrong(kind, values, path)


def _faults(kind: Any, value: Any, path: tuple) -> Iterator[Problem]:
    members, limit = _members(kind)
    if value is None and type(None) in _all_members(kind):
        return
    if len(members) > 1:
        if all(list(_faults(member, value, path)) for member in members):
            yield _wrong(kind, value, path)
        return
    inner, arguments = get_origin(members[0]) or members[0], get_args(members[0])
    if is_dataclass(inner):
        yield from _dataclass_faults(inner, value, path) if isinstance(value, dict) else [_wrong(kind, value, path)]
    elif inner is dict and isinstance(value, dict):
        for key in value if arguments else ():
            yield from _faults(arguments[1], value[key], (*path, key))
    elif inner is tuple and isinstance(value, list) and (Ellipsis in arguments or len(arguments) == len(value)):
        for index, part in enumerate(value):
            yield from _faults(arguments[0 if Ellipsis in arguments else index], part, (*path, index))
    elif not _fits(inner, arguments, value) or (limit and not limit.holds(value)):
        yield _wrong(kind, value, path)


def _dataclass_faults(kind: type, value: dict, path: tuple) -> Iterator[Problem]:
    known = get_type_hints(kind, include_extras=True)
    for entry in fields(kind):
        if entry.name in value:
            yield from _faults(known[entry.name], value[entry.name], (*path, entry.name))
        elif entry.default is MISSING and entry.default_factory is MISSING:
            yield Problem((*path, entry.name), "is missing")
    for name in value:
        if name not in known:
            yield _unknown(kind, (*path, name))


def _fits(kind: Any, choices: tuple, value: Any) -> bool:
    if kind is Literal:
        return type(value) in map(type, choices) and value in choices
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if kind in (int, bool, str):
        return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    return kind is Any


def _build(kind: Any, value: Any) -> Any:
    """The value as its type wants it; it has no faults."""
    member = next((m for m in _members(kind)[0] if not list(_faults(m, value, ()))), None)
    inner, arguments = get_origin(member) or member, get_args(member)
    if value is None or member is None:
        return value
    if is_dataclass(inner):
        known = get_type_hints(inner, include_extras=True)
        return inner(**{name: _build(known[name], part) for name, part in value.items()})
    if inner is dict and arguments:
        return {key: _build(arguments[1], part) for key, part in value.items()}
    if inner is tuple:
        return tuple(_build(arguments[0 if Ellipsis in arguments else i], part) for i, part in enumerate(value))
    return float(value) if inner is float else value


def _all_members(kind: Any) -> tuple:
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _members(kind: Any) -> tuple[list, Range | None]:
    """The members of a union without None, and the limits if there are any."""
    limits = kind.__metadata__ if get_origin(kind) is Annotated else ()
    members = [member for member in _all_members(kind) if member is not type(None)]
    if len(members) == 1 and get_origin(members[0]) is Annotated:
        return _members(members[0])
    return members, next((limit for limit in limits if isinstance(limit, Range)), None)


def _wrong(kind: Any, value: Any, path: tuple) -> Problem:
    shown = json.dumps(value, ensure_ascii=False)
    return Problem(path, f"should be {_expected(kind)}, not {shown if len(shown) < 60 else shown[:57] + '...'}")


def _unknown(kind: type, path: tuple) -> Problem:
    known = [entry.name for entry in fields(kind)]
    near = get_close_matches(str(path[-1]), known, n=1)
    hint = f"the nearest is {near[0]}" if near else f"known are {', '.join(known)}"
    return Problem(path, f"is no known field; {hint}")


def _expected(kind: Any) -> str:
    members, limit = _members(kind)
    words = " or ".join(_noun(member, limit) for member in members)
    return words + (" or null" if type(None) in _all_members(kind) else "")


def _noun(kind: Any, limit: Range | None) -> str:
    inner, arguments = get_origin(kind) or kind, get_args(kind)
    if inner is Annotated:
        return _expected(kind)
    if inner is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if inner is tuple:
        return "a list" if Ellipsis in arguments else f"a list of {len(arguments)}, each {_expected(arguments[0])}"
    nouns = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return nouns.get(inner, "a mapping") + (limit.words() if limit else "")
