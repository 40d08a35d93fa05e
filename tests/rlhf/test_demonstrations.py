"""Row formats of demonstrations, what is left out of them, and the real data."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.rlhf.conftest import byte_tokenizer, demonstrations, events_of, said
from training.rlhf import sft
from training.rlhf.demonstrations import (
    Demonstration,
    Example,
    Turn,
    read_demonstrations,
    texts_of,
    turns_of,
)
from training.rlhf.rendering import Rendered, Renderer

ROOT = Path(__file__).resolve().parents[2]
REAL = Path(os.environ.get("PODIUM_REAL_DATA", ROOT.parent / "shared/data"))
CHAT = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": "two"},
    {"role": "user", "content": "three"},
    {"role": "assistant", "content": "four"},
]


def test_podium_and_pairs_give_the_same_turn() -> None:
    podium = {"prompt": "17", "author": "ada", "messages": said("ask"), "completion": "told"}
    assert turns_of(podium) == turns_of({"prompt": "ask", "completion": "told"})
    assert turns_of(podium) == [Turn(said("ask"), "told")]


def test_alpaca_is_asked_in_the_words_of_its_training_prompt() -> None:
    """As in stanford_alpaca/train.py, PROMPT_DICT."""
    [alone] = turns_of({"instruction": "Sum {x}.", "input": "", "output": "3"})
    assert alone.messages == said(
        "Below is an instruction that describes a task. Write a response that appropriately "
        "completes the request.\n\n### Instruction:\nSum {x}.\n\n### Response:"
    )
    [with_input] = turns_of({"instruction": "Sum.", "input": "1 {2}", "output": "3"})
    assert with_input.messages == said(
        "Below is an instruction that describes a task, paired with an input that provides "
        "further context. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nSum.\n\n### Input:\n1 {2}\n\n### Response:"
    )
    assert alone.answer == with_input.answer == "3"
    assert turns_of({"instruction": "Sum {x}.", "output": "3"}) == [alone]
    assert turns_of({"instruction": "Sum {x}.", "input": None, "output": "3"}) == [alone]


def test_every_answer_of_a_chat_is_learnt() -> None:
    assert turns_of({"messages": CHAT}) == [Turn(CHAT[:2], "two"), Turn(CHAT[:4], "four")]
    greeting = [{"role": "assistant", "content": "hello"}, *CHAT[1:3]]
    assert turns_of({"messages": greeting}) == [Turn(greeting[:2], "two")]
    greeting = [CHAT[0], *greeting]
    assert turns_of({"messages": greeting}) == [Turn(greeting[:3], "two")]


def test_the_ids_of_a_chat_are_those_of_sampling_and_scoring(make_job: Any) -> None:
    """Also under a template that shows earlier answers otherwise than it asks for them."""
    forgetful = (
        "<bos>{% for m in messages %}<{{ m['role'] }}>"
        "{{ m['content'][:2] if m['role'] == 'assistant' else m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    renderer = Renderer(byte_tokenizer(template=forgetful))
    job = make_job("sft", {"demonstrations": []})
    read, _ = read_demonstrations(job, renderer, [{"messages": CHAT}], 128, "all")
    first, second = texts_of(read)
    sampled = renderer.tokenizer("four", add_special_tokens=False)["input_ids"]
    assert second.prompt_ids == renderer.prompt_ids(CHAT[:4])
    assert second.completion_ids == [*sampled, renderer.end_id]
    assert "four" in renderer.text(second.ids)
    assert first == renderer.render(CHAT[:2], {"text": "two"})
    [one] = read
    assert one.opening == CHAT[:2]


def test_a_chat_and_its_later_answers_lie_on_one_side(make_job: Any, renderer: Renderer) -> None:
    """A chat of each of many openings, and a row with each of its answers as a completion."""
    rows = []
    for number in range(12):
        chat = [{**m, "content": f"{m['content']} {number}"} for m in CHAT]
        rows += [
            {"messages": chat},
            {"messages": chat[:4], "completion": chat[4]["content"]},
            {"messages": chat[:2], "completion": chat[2]["content"]},
        ]
    job = make_job("sft", {"demonstrations": []})
    read, _ = read_demonstrations(job, renderer, rows, 128, "all")
    kept, held_out = sft._split(read, 0.3, seed=1)
    assert len(kept) + len(held_out) == 36
    assert len(held_out) >= 6
    asked = [{one.examples[0].messages[1]["content"] for one in part} for part in (kept, held_out)]
    assert not asked[0] & asked[1]


def test_without_a_user_the_whole_conversation_is_the_opening() -> None:
    told = [{"role": "system", "content": "tell a story"}]
    [turn] = turns_of({"messages": told, "completion": "once"})
    example = Example(turn.messages, Rendered([1], [2]))
    assert Demonstration("", [example]).opening == told


@pytest.mark.parametrize(
    "row",
    [
        {},
        [],
        "text",
        None,
        {"text": "plain"},
        {"prompt": "ask"},
        {"prompt": "ask", "completion": None},
        {"prompt": ["ask"], "completion": "told"},
        {"instruction": "do", "output": 3},
        {"instruction": "do", "input": 3, "output": "done"},
        {"messages": []},
        {"messages": "hello"},
        {"messages": [{"role": "assistant", "content": "hello"}]},
        {"messages": CHAT[:4]},
        {"messages": [{"role": "user"}, CHAT[2]]},
        {"messages": [{"role": "user", "content": [{"type": "image"}]}, CHAT[2]]},
        {"messages": said("ask"), "completion": None},
    ],
)
def test_what_has_no_known_format_has_no_turns(row: object) -> None:
    assert turns_of(row) == []


def test_a_mixed_file_is_counted_by_reason(make_job: Any, renderer: Renderer) -> None:
    refused = [{"role": "tool", "content": "x"}]
    rows = [
        *demonstrations(1),
        {"prompt": "ask", "completion": " \n"},
        {"unknown": 1},
        {"messages": [*CHAT[:4], {"role": "assistant", "content": "z" * 300}]},
        {"messages": refused, "completion": "told"},
        7,
        {"instruction": "x" * 300, "output": "told"},
    ]
    job = make_job("sft", {"demonstrations": []})
    read, dropped = read_demonstrations(job, renderer, rows, 128, "all")
    expected = {"empty": 1, "refused": 1, "too_long": 2, "unknown_format": 2}
    assert dropped == expected
    assert [len(one.examples) for one in read] == [1, 1]
    [told] = events_of(job, "data")
    assert told == {
        "part": "all",
        "demonstrations": 2,
        **{f"dropped_{reason}": count for reason, count in expected.items()},
        "unknown_format_lines": [3, 6],
    }


def test_the_seed_tasks_of_alpaca_load(make_job: Any, renderer: Renderer) -> None:
    path = REAL / "alpaca_seed_tasks.jsonl"
    if not path.is_file():
        pytest.skip(f"no real data at {path}")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    job = make_job("sft", {"demonstrations": rows})
    read, dropped = read_demonstrations(job, renderer, job.rows(), 2**20, "all")
    assert not any(dropped.values())
    texts = texts_of(read)
    assert len(texts) == len(rows) == 175
    for row, text in zip(rows, texts, strict=True):
        assert renderer.text(text.completion_ids) == row["output"] + "<end>"
        assert ("### Input:\n" in renderer.text(text.prompt_ids)) == bool(row["input"])
