"""One rendering for sampling, scoring and training."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rlhf.conftest import byte_tokenizer, compared, said
from training.rlhf.comparisons import load_comparisons
from training.rlhf.errors import TrainingError
from training.rlhf.packing import labelled
from training.rlhf.rendering import PLAIN_TEMPLATE, Renderer

RENDERER = Renderer(byte_tokenizer())
MESSAGES = said("hi")


def test_a_completion_that_stopped_gets_the_end_token() -> None:
    for reason in ("stop", ""):
        ids = RENDERER.render(MESSAGES, {"text": "ok", "finish_reason": reason}).completion_ids
        assert ids[-1] == RENDERER.end_id
        assert RENDERER.text(ids[:-1]) == "ok"


def test_a_completion_that_was_cut_gets_none() -> None:
    ids = RENDERER.render(MESSAGES, {"text": "ok", "finish_reason": "length"}).completion_ids
    assert RENDERER.text(ids) == "ok"


def test_the_prompt_opens_the_turn_of_the_assistant() -> None:
    assert RENDERER.text(RENDERER.prompt_ids(MESSAGES)) == "<bos><user>hi<assistant>"


@given(st.text(max_size=20))
def test_sampled_ids_come_through_unchanged(text: str) -> None:
    ids = RENDERER.tokenizer(text, add_special_tokens=False)["input_ids"]
    shown = RENDERER.text(ids)
    assert RENDERER.completion_ids(shown, ids, "length") == ids


@pytest.mark.parametrize("stored", [[5000], [70, 71], [-1]])
def test_ids_of_another_vocabulary_give_way_to_the_text(stored: list[int]) -> None:
    assert RENDERER.text(RENDERER.completion_ids("ok", stored, "length")) == "ok"


def test_training_and_scoring_see_the_same_ids(make_job: Any) -> None:
    completion = {"text": "fine", "token_ids": None, "finish_reason": "stop"}
    row = compared("p", ["fine", "bad"], [(0, 1)], messages=MESSAGES)
    job = make_job("reward", {"comparisons": [row]})
    [comparison] = load_comparisons(job, RENDERER, 100)
    scored = RENDERER.render(MESSAGES, completion)
    assert comparison.texts[0].ids == scored.ids
    trained = labelled(RENDERER.render(MESSAGES, {"text": "fine"}))
    assert trained["input_ids"] == scored.ids
    assert [i for i in trained["labels"] if i != -100] == scored.completion_ids


def test_a_tokenizer_without_template_gets_the_plain_one() -> None:
    plain = Renderer(byte_tokenizer(template=None))
    assert plain.tokenizer.chat_template == PLAIN_TEMPLATE
    assert plain.text(plain.prompt_ids(MESSAGES)) == "<bos>User: hi\n\nAssistant:"


def test_without_padding_token_the_end_token_pads() -> None:
    assert Renderer(byte_tokenizer(pad_token=None)).pad_id == RENDERER.end_id


def test_a_tokenizer_without_end_token_is_refused() -> None:
    with pytest.raises(TrainingError, match="end-of-sequence"):
        Renderer(byte_tokenizer(eos_token=None))


def test_a_conversation_that_the_template_refuses_is_named() -> None:
    template = "{{ raise_exception('no system role') }}"
    strict = Renderer(byte_tokenizer(template=template))
    with pytest.raises(TrainingError, match="no system role"):
        strict.prompt_ids(MESSAGES)
    assert not strict.accepts(MESSAGES)
    assert RENDERER.accepts(MESSAGES)


def test_another_template_is_another_vocabulary() -> None:
    assert RENDERER.same_vocabulary(Renderer(byte_tokenizer()))
    assert not RENDERER.same_vocabulary(Renderer(byte_tokenizer(template=None)))
