"""Request bodies: JSON that cannot hurt, and JSON Lines as a stream."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser, JSONParser

from labeling.execution import read_lines

MAX_DEPTH = 32
ENCODINGS = {"utf-8", "utf8", "us-ascii", "ascii"}


class GuardedJSONParser(JSONParser):
    """JSON whose texts can be stored: no NUL, no half surrogate pair, no bottomless nesting."""

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        context = {**(parser_context or {}), "encoding": _encoding(parser_context)}
        try:
            content = super().parse(stream, media_type, context)
        except RecursionError as error:
            raise ParseError("JSON parse error - nested too deeply") from error
        _check(content, MAX_DEPTH)
        return content


def _encoding(parser_context: Mapping[str, Any] | None) -> str:
    """JSON is UTF-8. Some of Python's other codecs take minutes for a few hundred kilobytes."""
    given = (parser_context or {}).get("encoding") or "utf-8"
    if given.lower().replace("_", "-") not in ENCODINGS:
        raise ParseError("JSON parse error - send UTF-8")
    return "utf-8"


def _check(value: object, depth: int) -> None:
    if depth == 0:
        raise ParseError(f"JSON parse error - nested deeper than {MAX_DEPTH}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ParseError("JSON parse error - a number is out of range")
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, dict):
        for key, entry in value.items():
            _check_text(key)
            _check(entry, depth - 1)
    elif isinstance(value, list):
        for entry in value:
            _check(entry, depth - 1)


def _check_text(text: str) -> None:
    if "\0" in text:
        raise ParseError("JSON parse error - a text holds a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ParseError("JSON parse error - a text holds half a surrogate pair") from error


class JSONLinesParser(BaseParser):
    """Any body, as an iterator over its lines: an import is never held in memory whole."""

    media_type = "*/*"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        return read_lines(stream)


def json_line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
