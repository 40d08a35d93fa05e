"""Demonstrations in the formats that people have them in, as token ids.

A row is told by its fields; one file may mix all of these:

    {"messages", "completion", "author"?}      Podium's own; ``prompt``, an id, may stand beside
    {"prompt": text, "completion": text}
    {"instruction", "input"?, "output"}        Alpaca, asked in the words of its training prompt
    {"messages"}                               a chat that ends with the assistant's answer

Of a chat every answer is learnt, each as an example of its own with all before it as the prompt.
Each then has the very ids that sampling and scoring give that conversation. One pass over the whole
chat with a mask would not: templates may leave the thoughts of earlier turns out, or close a turn
otherwise than a sampled answer ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training.rlhf.errors import TrainingError
from training.rlhf.job import Job
from training.rlhf.rendering import Rendered, Renderer

Messages = Sequence[Mapping[str, str]]

# The training prompts of Stanford Alpaca, to the letter: models and data sets of that format expect
# them.
ALPACA = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:"
)
ALPACA_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further "
    "context. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:"
)
LINES_NAMED = 20
# Why an answer is left out.
REASONS = ("empty", "refused", "too_long")


@dataclass(frozen=True)
class Turn:
    """An answer and the messages before it."""

    messages: Messages
    answer: str


@dataclass(frozen=True)
class Example:
    """A conversation up to an answer, and both as token ids."""

    messages: Messages
    text: Rendered


@dataclass(frozen=True)
class Demonstration:
    """What is learnt from one row, which is never parted: the turns of a chat lie on one side of a
    split.
    """

    author: str
    examples: Sequence[Example]

    @property
    def opening(self) -> Messages:
        """What a split goes by: the conversation up to the first thing that its user says.

        A chat and a row with a later answer of the same chat have it in common.
        """
        messages = self.examples[0].messages
        said = [place for place, message in enumerate(messages) if message["role"] == "user"]
        return messages[: said[0] + 1] if said else messages


def turns_of(row: object) -> list[Turn]:
    """The answers in a row of any format; none if it has no known one.

    A greeting, an assistant's message before which no user has said anything, is no answer.
    """
    if not isinstance(row, Mapping):
        return []
    if "messages" in row:
        return _turns_of_messages(row)
    if _are_texts(row, "prompt", "completion"):
        return [Turn(_said(row["prompt"]), row["completion"])]
    if _are_texts(row, "instruction", "output") and isinstance(row.get("input") or "", str):
        template = ALPACA_WITH_INPUT if row.get("input") else ALPACA
        fields = {"instruction": row["instruction"], "input": row.get("input")}
        return [Turn(_said(template.format_map(fields)), row["output"])]
    return []


def read_demonstrations(
    job: Job, renderer: Renderer, rows: Iterable[object], max_length: int, part: str
) -> tuple[list[Demonstration], dict[str, int]]:
    """The rows that can be learnt from, and how much was left out for which reason; both are told
    in an event.

    Over-long answers are not cut: a model taught on cut answers does not learn to end.
    """
    dropped = dict.fromkeys((*REASONS, "unknown_format"), 0)
    unknown: list[int] = []
    read: list[Demonstration] = []
    for line, row in enumerate(rows, start=1):
        turns = turns_of(row)
        if not turns:
            dropped["unknown_format"] += 1
            unknown.append(line)
        examples = examples_of(renderer, turns, max_length, dropped)
        if examples:
            read.append(Demonstration(_author(row), examples))
    lines: dict[str, Any] = {"unknown_format_lines": unknown[:LINES_NAMED]} if unknown else {}
    if read or any(dropped.values()):
        job.events.write(
            "data",
            part=part,
            demonstrations=sum(len(one.examples) for one in read),
            **{f"dropped_{reason}": count for reason, count in dropped.items()},
            **lines,
        )
    return read, dropped


def render_demonstrations(
    job: Job, renderer: Renderer, rows: Iterable[object], max_length: int, part: str
) -> list[Rendered]:
    """The token ids alone of ``read_demonstrations``."""
    return texts_of(read_demonstrations(job, renderer, rows, max_length, part)[0])


def texts_of(demonstrations: Iterable[Demonstration]) -> list[Rendered]:
    return [example.text for one in demonstrations for example in one.examples]


def examples_of(
    renderer: Renderer, turns: Sequence[Turn], max_length: int, dropped: dict[str, int]
) -> list[Example]:
    """The answers that can be learnt from; ``dropped`` counts the others by ``REASONS``."""
    kept: list[Example] = []
    for turn in turns:
        if not turn.answer.strip():
            dropped["empty"] += 1
            continue
        text = _rendered(renderer, turn)
        if text is None:
            dropped["refused"] += 1
        elif len(text) > max_length:
            dropped["too_long"] += 1
        else:
            kept.append(Example(turn.messages, text))
    return kept


def _rendered(renderer: Renderer, turn: Turn) -> Rendered | None:
    """None where the chat template refuses the conversation, or makes nothing of it."""
    try:
        text = renderer.render(turn.messages, {"text": turn.answer})
    except TrainingError:
        return None
    return text if text.prompt_ids else None


def _turns_of_messages(row: Mapping[str, Any]) -> list[Turn]:
    messages = row["messages"]
    if not are_messages(messages):
        return []
    if "completion" in row:
        return [Turn(messages, row["completion"])] if _are_texts(row, "completion") else []
    if messages[-1]["role"] != "assistant":
        return []
    return [
        Turn(messages[:place], message["content"])
        for place, message in enumerate(messages)
        if message["role"] == "assistant" and "user" in {m["role"] for m in messages[:place]}
    ]


def are_messages(value: object) -> bool:
    """Whether it is a conversation of one message or more, each with a role and a content."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(m, Mapping) and _are_texts(m, "role", "content") for m in value)
    )


def _are_texts(row: Mapping[str, Any], *names: str) -> bool:
    return all(isinstance(row.get(name), str) for name in names)


def _said(text: str) -> Messages:
    return [{"role": "user", "content": text}]


def _author(row: object) -> str:
    author = row.get("author") if isinstance(row, Mapping) else None
    return author if isinstance(author, str) else ""
