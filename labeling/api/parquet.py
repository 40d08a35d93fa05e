"""Parquet: the columns of each kind of export, declared, and the writing in groups of rows.

A type guessed from the first rows breaks when a rating comes that nobody had given before.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

GROUP_ROWS = 2000


def write(kind: str, rows: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    """The file, streamed from a temporary one: a Parquet file's index stands at its end."""
    import pyarrow  # noqa: PLC0415  (50 MB that only this format needs)
    import pyarrow.parquet  # noqa: PLC0415

    rows = iter(rows)
    schema = _schema(pyarrow, kind)
    with tempfile.TemporaryFile() as file:
        with pyarrow.parquet.ParquetWriter(file, schema) as writer:
            while group := list(itertools.islice(rows, GROUP_ROWS)):
                writer.write_table(pyarrow.Table.from_pylist(group, schema=schema))
        file.seek(0)
        yield from iter(lambda: file.read(2**16), b"")


def _schema(pa: Any, kind: str) -> Any:
    text, number, small = pa.string(), pa.int64(), pa.int16()
    messages = pa.list_(pa.struct([("role", text), ("content", text)]))
    if kind == "demonstrations":
        return pa.schema(
            [
                ("pool", text),
                ("prompt", number),
                ("prompt_author", text),
                ("use_case", text),
                ("author", text),
                ("simulated", pa.bool_()),
                ("messages", messages),
                ("completion", text),
            ]
        )
    if kind == "adjudications":
        decided = [("number", small), ("text", text), ("model", text), ("rank", small)]
        return pa.schema(
            [
                ("pool", text),
                ("prompt", number),
                ("prompt_author", text),
                ("use_case", text),
                ("task", number),
                ("round", number),
                ("reviewer", text),
                ("messages", messages),
                ("completions", pa.list_(pa.struct(decided))),
                ("reason", text),
            ]
        )
    provenance = [
        ("pool", text),
        ("prompt", number),
        ("prompt_author", text),
        ("use_case", text),
        ("task", number),
        ("round", number),
        ("ranking", number),
        ("labeler", text),
        ("labeler_group", text),
        ("simulated", pa.bool_()),
        ("messages", messages),
    ]
    if kind == "rankings":
        ranked = [("alias", text), ("number", small), ("text", text), ("model", text)]
        judged = [("rank", small), ("quality", small), ("flags", pa.list_(text))]
        completions = pa.list_(pa.struct([*ranked, *judged]))
        return pa.schema([*provenance, ("completions", completions), ("note", text)])
    texts = [("a", text), ("b", text), ("model_a", text), ("model_b", text)]
    preference = [("preferred", text), ("rank_gap", small), ("chosen", text), ("rejected", text)]
    return pa.schema([*provenance, *texts, *preference])
