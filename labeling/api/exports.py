"""Export formats: JSON Lines, Parquet, CSV, and rows that TRL's trainers take unchanged."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from django.http import StreamingHttpResponse

from labeling import selectors
from labeling.api import parquet
from labeling.api.parsers import json_line
from labeling.errors import InvalidInput
from labeling.models import Pool

Row = dict[str, Any]
LABELERS = ("all", "people", "simulated")
# A spreadsheet runs a cell that starts with one of these as a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def comparison_rows(pool: Pool, labelers: str) -> Iterator[Row]:
    return selectors.comparison_rows(selectors.counted_rankings(pool, labelers))


def ranking_rows(pool: Pool, labelers: str) -> Iterator[Row]:
    return selectors.ranking_rows(selectors.counted_rankings(pool, labelers))


def demonstration_rows(pool: Pool, labelers: str) -> Iterator[Row]:
    return selectors.demonstration_rows(pool, labelers)


def adjudication_rows(pool: Pool, _labelers: str) -> Iterator[Row]:
    return selectors.adjudication_rows(pool)


ROWS_OF_KIND: dict[str, Callable[[Pool, str], Iterator[Row]]] = {
    "comparisons": comparison_rows,
    "rankings": ranking_rows,
    "demonstrations": demonstration_rows,
    "adjudications": adjudication_rows,
}


# --- writers --------------------------------------------------------------------------------------


def as_jsonl(_: str, rows: Iterable[Row]) -> Iterator[bytes]:
    for row in rows:
        yield json_line(row).encode()


def as_csv(_: str, rows: Iterable[Row]) -> Iterator[bytes]:
    """Lists become JSON; a cell that a spreadsheet would run gets a leading apostrophe."""
    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        return
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(first))
    writer.writeheader()
    for row in itertools.chain([first], rows):
        writer.writerow({name: _cell(value) for name, value in row.items()})
        yield buffer.getvalue().encode()
        buffer.seek(0)
        buffer.truncate()


def as_trl(_: str, rows: Iterable[Row]) -> Iterator[bytes]:
    """TRL's conversational formats: preference rows without ties, or prompt and completion.

    https://huggingface.co/docs/trl/dataset_formats
    """
    for row in rows:
        converted = _trl_row(row)
        if converted is not None:
            yield json_line(converted).encode()


def _trl_row(row: Row) -> Row | None:
    if "completion" in row:
        return {"prompt": row["messages"], "completion": _assistant(row["completion"])}
    if row["chosen"] is None or row["chosen"] == row["rejected"]:
        return None
    return {
        "prompt": row["messages"],
        "chosen": _assistant(row["chosen"]),
        "rejected": _assistant(row["rejected"]),
    }


def _assistant(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def _cell(value: object) -> object:
    if isinstance(value, list | dict):
        value = json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and (value + " ").lstrip(" \n").startswith(FORMULA_STARTS):
        return f"'{value}"
    return value


class Writer(NamedTuple):
    """``write`` takes the kind of export and its rows."""

    write: Callable[[str, Iterable[Row]], Iterator[bytes]]
    media_type: str
    suffix: str


WRITERS = {
    "jsonl": Writer(as_jsonl, "application/x-ndjson", "jsonl"),
    "parquet": Writer(parquet.write, "application/vnd.apache.parquet", "parquet"),
    "csv": Writer(as_csv, "text/csv; charset=utf-8", "csv"),
    "trl": Writer(as_trl, "application/x-ndjson", "trl.jsonl"),
}
MEDIA_TYPES = sorted({writer.media_type for writer in WRITERS.values()})


def stream(pool: Pool, *, kind: str, format_: str, labelers: str) -> StreamingHttpResponse:
    """Raises InvalidInput for whole rankings as TRL rows: TRL's trainers read pairs."""
    if kind in ("rankings", "adjudications") and format_ == "trl":
        raise InvalidInput("TRL reads pairs: export kind=comparisons for format=trl", field="kind")
    writer = WRITERS[format_]
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", pool.name).strip("-") or f"pool-{pool.pk}"
    return StreamingHttpResponse(
        writer.write(kind, ROWS_OF_KIND[kind](pool, labelers)),
        content_type=writer.media_type,
        headers={"Content-Disposition": f'attachment; filename="{name}-{kind}.{writer.suffix}"'},
    )
