"""The one way from a conversation and a completion to token ids.

What a labeler saw, what the reward model scores and what a policy trains on all pass through
``Renderer.render``. A reward model trained on ids with an end token and used on ids without one is
off by more than the differences it has learnt, and nothing crashes.

The rule: ids = chat template of the messages, opened for the assistant, then the ids of the
completion, then the end token exactly when the completion ended by itself (finish reason ``stop``)
or nothing is known of how it ended. A completion that was cut off gets no end token.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training.rlhf.errors import TrainingError

# For tokenizers without a chat template (base models). It is written into the tokenizer, hence into
# every artifact, so that all later stages agree on it.
PLAIN_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ message['role'] | capitalize }}: {{ message['content'] }}\n\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)

CUT_OFF = "length"


@dataclass(frozen=True)
class Rendered:
    """Token ids of a prompt, and of a completion with its end token if it has one."""

    prompt_ids: list[int]
    completion_ids: list[int]

    @property
    def ids(self) -> list[int]:
        return self.prompt_ids + self.completion_ids

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.completion_ids)


class Renderer:
    """A tokenizer, made ready: it has a chat template, an end token and a padding token.

    The tokenizer of an encoder has a separator for its end token, and a classification token that
    opens a text where others have a beginning-of-sequence token.

    ``ends``: token ids at which the model stops. Some models close a turn by another of them than
    their tokenizer's end token (Gemma: ``<end_of_turn>``, not ``<eos>``) and never write the
    latter. The token that closes an assistant's turn in the chat template is then made the
    tokenizer's own, hence that of every artifact.

    Raises:
        TrainingError: the tokenizer has neither an end-of-sequence token nor a separator, so no
            completion could ever end.
    """

    def __init__(self, tokenizer: Any, ends: Sequence[int] = ()) -> None:
        closing = _closing(tokenizer, ends)
        if closing is not None:
            tokenizer.eos_token = closing
        known = (tokenizer.eos_token_id, tokenizer.sep_token_id)
        end_id = next((token for token in known if token is not None), None)
        if end_id is None:
            raise TrainingError(
                "the tokenizer has no end-of-sequence token and no separator: set eos_token (or "
                "sep_token, for an encoder) in tokenizer_config.json"
            )
        if tokenizer.pad_token_id is None:
            # Safe here: every length is taken from attention masks, never from the padding token.
            tokenizer.pad_token = tokenizer.convert_ids_to_tokens(end_id)
        if not tokenizer.chat_template:
            opening = "cls_token" if tokenizer.bos_token_id is None else "bos_token"
            tokenizer.chat_template = PLAIN_TEMPLATE.replace("bos_token", opening)
        self.tokenizer = tokenizer
        self.end_id: int = end_id
        self.pad_id: int = tokenizer.pad_token_id

    @property
    def template_sha256(self) -> str:
        return hashlib.sha256(str(self.tokenizer.chat_template).encode()).hexdigest()

    def prompt_ids(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Raises TrainingError when the chat template refuses the conversation."""
        try:
            ids = self.tokenizer.apply_chat_template(
                list(messages), add_generation_prompt=True, tokenize=True, return_dict=False
            )
        except Exception as error:  # a template raises whatever its author chose
            raise TrainingError(f"the chat template refuses the conversation: {error}") from error
        return list(ids)

    def accepts(self, messages: Sequence[Mapping[str, str]]) -> bool:
        """Whether the chat template takes the conversation; some know no system role."""
        try:
            return bool(self.prompt_ids(messages))
        except TrainingError:
            return False

    def completion_ids(
        self, text: str, stored: Sequence[int] | None, finish_reason: str
    ) -> list[int]:
        """``stored`` ids are canonical as long as they spell ``text``: that is what the labeler
        saw.

        Ids that do not (a completion imported from a model with another vocabulary) are replaced by
        the tokenizer's own for the text.
        """
        if stored is None or not self._spells(stored, text):
            stored = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return [*stored, *([] if finish_reason == CUT_OFF else [self.end_id])]

    def render(
        self, messages: Sequence[Mapping[str, str]], completion: Mapping[str, Any]
    ) -> Rendered:
        """``completion``: ``{"text", "token_ids"?, "finish_reason"?}`` as the job's data has it."""
        return Rendered(
            self.prompt_ids(messages),
            self.completion_ids(
                completion["text"], completion.get("token_ids"), completion.get("finish_reason", "")
            ),
        )

    def text(self, token_ids: Sequence[int]) -> str:
        """Special tokens stay visible: a hidden one would show another text than was written."""
        return str(
            self.tokenizer.decode(
                list(token_ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
        )

    def same_vocabulary(self, other: Renderer) -> bool:
        """Whether ids of one mean the same to the other (a policy and its reward model)."""
        return (
            self.template_sha256 == other.template_sha256
            and self.end_id == other.end_id
            and self.tokenizer.get_vocab() == other.tokenizer.get_vocab()
        )

    def _spells(self, token_ids: Sequence[int], text: str) -> bool:
        in_vocabulary = all(0 <= token < len(self.tokenizer) for token in token_ids)
        return in_vocabulary and self.text(token_ids) == text


def _closing(tokenizer: Any, ends: Sequence[int]) -> str | None:
    """The token of ``ends`` that the chat template puts after what an assistant said, if one."""
    if not ends or not tokenizer.chat_template:
        return None
    said = "(said)"
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": said}]
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False)
    except Exception:  # noqa: BLE001 - a template raises whatever its author chose
        return None
    after = text.rpartition(said)[2].lstrip()
    tokens = [str(token) for token in tokenizer.convert_ids_to_tokens(list(ends)) if token]
    return next((token for token in tokens if after.startswith(token)), None)
