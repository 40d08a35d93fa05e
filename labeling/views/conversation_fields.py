"""The fields of a conversation that is being written: turns and examples that come and go.

Their names repeat, in the order of the page. Without JavaScript a button of the form adds or takes
away; ``change`` does as it says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.http import QueryDict

from labeling.views.writing_forms import plain_lines

Turn = dict[str, str]
FIRST_EXAMPLES = 2


def _first_turns() -> list[Turn]:
    return [{"role": "user", "content": ""}]


def _first_parts() -> dict[str, Any]:
    examples = [{"query": "", "response": ""} for _ in range(FIRST_EXAMPLES)]
    return {"instruction": "", "examples": examples, "query": ""}


@dataclass
class Conversation:
    """What stands in the fields: turns, and the parts of a few-shot prompt."""

    turns: list[Turn] = field(default_factory=_first_turns)
    few_shot: dict[str, Any] = field(default_factory=_first_parts)

    @classmethod
    def posted(cls, data: QueryDict) -> Conversation:
        roles, contents = data.getlist("role"), _texts(data, "content")
        turns = [{"role": r, "content": c} for r, c in zip(roles, contents, strict=False)]
        queries, responses = _texts(data, "query"), _texts(data, "response")
        examples = [{"query": q, "response": r} for q, r in zip(queries, responses, strict=False)]
        few_shot = {
            "instruction": plain_lines(data.get("instruction", "")),
            "examples": examples,
            "query": plain_lines(data.get("last_query", "")),
        }
        return cls(turns or _first_turns(), few_shot)

    @classmethod
    def of(cls, messages: Sequence[Turn], parts: Mapping[str, Any] | None) -> Conversation:
        turns = [dict(turn) for turn in messages]
        return cls(few_shot=dict(parts)) if parts else cls(turns=turns)

    def change(self, action: str) -> bool:
        """Do what a button of the form says; False where it is none of these buttons."""
        name, _, place = action.partition(":")
        if name == "add-turn":
            after_user = bool(self.turns) and self.turns[-1]["role"] == "user"
            self.turns.append({"role": "assistant" if after_user else "user", "content": ""})
        elif name == "add-system":
            self.turns.insert(0, {"role": "system", "content": ""})
        elif name == "add-example":
            self.few_shot["examples"].append({"query": "", "response": ""})
        elif name in ("remove-turn", "remove-example"):
            self._remove(name, place)
        else:
            return False
        return True

    def _remove(self, name: str, place: str) -> None:
        rows = self.turns if name == "remove-turn" else self.few_shot["examples"]
        # An address typed by hand takes nothing away.
        if place.isascii() and place.isdecimal() and int(place) < len(rows) and len(rows) > 1:
            del rows[int(place)]


def kept_as_written(turns: Sequence[Turn], original: Sequence[Turn]) -> list[Turn]:
    """``turns`` from a browser, with the original's text where only line ends differ."""
    kept = []
    for place, turn in enumerate(turns):
        known = original[place] if place < len(original) else {"content": ""}
        same = plain_lines(known["content"]) == turn["content"]
        kept.append({**turn, "content": known["content"]} if same else turn)
    return kept


def _texts(data: QueryDict, name: str) -> list[str]:
    return [plain_lines(text) for text in data.getlist(name)]
