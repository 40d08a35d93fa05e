"""Demonstrations as other projects write them, read as a prompt with its reference.

A row of another format has a prompt and the answer that was wanted, under other names. What it says
is taken over; its wording is not changed, so an Alpaca row becomes its instruction and its input,
without the sentences that Alpaca's trainer puts around them.
"""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]


def as_prompt_row(row: Row) -> Row:
    """The row under the names of an import line; as it is when it is of no other format."""
    for convert in (_alpaca, _prompt_and_completion, _conversation):
        converted = convert(row)
        if converted is not None:
            return converted
    return row


def _alpaca(row: Row) -> Row | None:
    """{"instruction", "input"?, "output"}"""
    if not {"instruction", "output"} <= row.keys() or {"prompt", "messages"} & row.keys():
        return None
    rest = {k: v for k, v in row.items() if k not in ("instruction", "input", "output")}
    parts = [part for part in (row["instruction"], row.get("input")) if part not in (None, "")]
    # What is no text is left for the reader of the line to refuse.
    strange = [part for part in parts if not isinstance(part, str)]
    prompt = strange[0] if strange else "\n\n".join(parts)
    return {**rest, "prompt": prompt, "reference": row["output"]}


def _prompt_and_completion(row: Row) -> Row | None:
    """{"prompt": text, "completion": text}; a list is taken for a slip of ``completions``."""
    if "completion" not in row or {"completions", "reference"} & row.keys():
        return None
    if isinstance(row["completion"], list):
        return None
    rest = {k: v for k, v in row.items() if k != "completion"}
    return {**rest, "reference": row["completion"]}


def _conversation(row: Row) -> Row | None:
    """{"messages": […, the assistant's answer]}"""
    messages = row.get("messages")
    if not isinstance(messages, list) or len(messages) < 2 or "reference" in row:
        return None
    last = messages[-1]
    if not isinstance(last, dict) or last.get("role") != "assistant" or "completions" in row:
        return None
    return {**row, "messages": messages[:-1], "reference": last.get("content")}
