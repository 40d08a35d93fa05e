"""A written prompt as turns: what is checked of it, and how a few-shot prompt becomes one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.utils.translation import gettext as _

from labeling.errors import InvalidInput

# How much the sampling model takes is not known while a prompt is written: a generous limit.
MAX_PROMPT_CHARACTERS = 100_000
MAX_TURNS = 100
MIN_EXAMPLES, MAX_EXAMPLES = 2, 32
ROLES = ("system", "user", "assistant")


def check_turns(turns: Sequence[Mapping[str, Any]]) -> None:
    """Raises InvalidInput; ``turn`` in its data is the place of the fault, from 0."""
    if not 1 <= len(turns) <= MAX_TURNS:
        raise InvalidInput(
            _("A prompt has 1 to %(limit)s turns.") % {"limit": MAX_TURNS}, field="messages"
        )
    for place, turn in enumerate(turns):
        _check_turn(place, turn)
    if turns[-1]["role"] != "user":
        raise InvalidInput(
            _("The last turn must be the user's: it is what the model answers."),
            field="messages",
            turn=len(turns) - 1,
        )
    length = sum(len(turn["content"]) for turn in turns)
    if length > MAX_PROMPT_CHARACTERS:
        raise InvalidInput(
            _("The prompt has %(length)s characters; at most %(limit)s are taken.")
            % {"length": f"{length:,}", "limit": f"{MAX_PROMPT_CHARACTERS:,}"},
            field="messages",
        )


def _check_turn(place: int, turn: Mapping[str, Any]) -> None:
    role, content = turn.get("role"), turn.get("content")
    if role not in ROLES:
        message = _("A turn is the system's, the user's or the assistant's.")
    elif role == "system" and place > 0:
        message = _("A system turn can only come first.")
    elif not isinstance(content, str) or not content.strip():
        message = _("Turn %(number)s is empty.") % {"number": place + 1}
    else:
        return
    raise InvalidInput(message, field="messages", turn=place)


def checked_few_shot(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """{instruction, examples: [{query, response}, …], query}, whole. Raises InvalidInput."""
    given = given or {}
    examples = list(given.get("examples") or [])
    if not MIN_EXAMPLES <= len(examples) <= MAX_EXAMPLES:
        raise InvalidInput(
            _("A few-shot prompt has %(low)s to %(high)s examples.")
            % {"low": MIN_EXAMPLES, "high": MAX_EXAMPLES},
            field="few_shot",
        )
    return {
        "instruction": _part(given.get("instruction"), "instruction", _("the instruction")),
        "examples": [
            {
                name: _part(
                    example.get(name),
                    f"examples[{place}].{name}",
                    _("example %(number)s") % {"number": place + 1},
                )
                for name in ("query", "response")
            }
            for place, example in enumerate(examples)
        ],
        "query": _part(given.get("query"), "query", _("the last query")),
    }


def _part(text: object, name: str, label: str) -> str:
    if not isinstance(text, str) or not text.strip():
        raise InvalidInput(
            _("Something is missing: %(part)s.") % {"part": label}, field="few_shot", part=name
        )
    return text


def few_shot_messages(parts: Mapping[str, Any]) -> list[dict[str, str]]:
    """The examples as turns: instruction and first query, its response, the next query, …

    No word of ours comes between them: the texts alone become the prompt.
    """
    queries = [*(example["query"] for example in parts["examples"]), parts["query"]]
    queries[0] = f"{parts['instruction']}\n\n{queries[0]}"
    turns = [{"role": "user", "content": queries[0]}]
    for example, query in zip(parts["examples"], queries[1:], strict=True):
        turns += [
            {"role": "assistant", "content": example["response"]},
            {"role": "user", "content": query},
        ]
    return turns


def previewed(
    kind: str, turns: Sequence[Mapping[str, str]], few_shot: Mapping[str, Any]
) -> list[dict[str, str]]:
    """The conversation that unfinished fields would make; empty turns are left out."""
    made = few_shot_messages(few_shot) if kind == "few-shot" else turns
    return [dict(turn) for turn in made if turn["content"].strip()]
