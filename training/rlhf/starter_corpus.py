"""What the starter model reads: documents that the starter world composes, as batches of tokens.

A document is a prompt with an answer, good or flawed, in the one rendering that training, sampling
and scoring share.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerFast

from training.jobs.world import FLAWS, draw_tasks
from training.jobs.world.lexicon import CITIES, DAYS, GOODS, HOBBIES, ITEMS, NAMES

PAD, BOS, END = "<pad>", "<bos>", "<|end|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
SPECIAL_TOKENS = [PAD, BOS, END, *ROLES]
# One rendering for training, sampling and scoring. <bos> is written here and nowhere else, so that
# a tokenizer that is called on rendered text adds nothing of its own.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{{ '<|assistant|>' }}{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
    "{% else %}{{ '<|' + message['role'] + '|>' + message['content'] + eos_token }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
SYSTEM_PROMPTS = ("You are a helpful assistant.", "Answer briefly and politely.")
SYSTEM_SHARE = 0.1
ECHO_WORDS = (*NAMES, *CITIES, *DAYS, *ITEMS, *GOODS, *HOBBIES, *(f"{n}," for n in range(1, 21)))
TOKENIZER_DOCUMENTS = 20_000
# Batches are cut from this many batches' worth of documents sorted by length: little padding.
BATCHES_IN_VIEW = 16


@dataclass(frozen=True)
class Mixture:
    """What one stage of training reads: the shares of documents with a good answer and of exercises
    in copying, the weight of a prompt token in the loss, and how many documents a step has.
    """

    good_share: float
    echo_share: float
    prompt_weight: float
    batch_size: int = 48


@dataclass(frozen=True)
class Document:
    """A prompt and the answer that is learned from."""

    messages: list[dict[str, str]]
    answer: str


def documents(seed: int, good_share: float, echo_share: float = 0.0) -> Iterator[Document]:
    """Endless documents, ``good_share`` of them with a good answer, the rest with any flaw.

    ``echo_share`` of them are exercises in copying instead, without which a model of this size
    finds out late that the words of an answer are those of the prompt.
    """
    rng, flaws = Random(f"answers {seed}"), tuple(FLAWS)
    for task in draw_tasks(seed):
        if rng.random() < echo_share:
            yield _echo(rng)
            continue
        good = rng.random() < good_share
        answer = task.good(rng) if good else task.flawed(rng.choice(flaws), rng)
        system = [{"role": "system", "content": rng.choice(SYSTEM_PROMPTS)}]
        yield Document(system * (rng.random() < SYSTEM_SHARE) + task.messages, answer)


def _echo(rng: Random) -> Document:
    text = " ".join(rng.choices(ECHO_WORDS, k=rng.randint(3, 10)))
    return Document([{"role": "user", "content": f"Repeat: {text}"}], text)


def build_tokenizer(
    seed: int, vocabulary: int, context: int, count: int = TOKENIZER_DOCUMENTS
) -> Any:
    """A byte-level BPE over the corpus: every text can be encoded and comes back as it was."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    corpus = islice(documents(seed, good_share=0.5), count)
    texts = (text for doc in corpus for text in (*_contents(doc.messages), doc.answer))
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=END,
        additional_special_tokens=list(ROLES),
        chat_template=CHAT_TEMPLATE,
        model_max_length=context,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def _contents(messages: Sequence[dict[str, str]]) -> list[str]:
    return [message["content"] for message in messages]


@dataclass(frozen=True)
class Batch:
    """``ids`` (B, T) with the pads on the right, ``weights`` (B, T) of each token in the loss."""

    ids: torch.Tensor
    weights: torch.Tensor


def batches(tokenizer: Any, mixture: Mixture, seed: int, context: int) -> Iterator[Batch]:
    """Endless batches of documents of like length."""
    corpus, rng = documents(seed, mixture.good_share, mixture.echo_share), Random(seed)
    while True:
        view = [encoded(tokenizer, doc) for doc in _take(corpus, mixture)]
        view = sorted((pair for pair in view if sum(map(len, pair)) <= context), key=_tokens)
        size = mixture.batch_size
        cuts = [view[at : at + size] for at in range(0, len(view), size)]
        rng.shuffle(cuts)
        yield from (_batch(cut, mixture, tokenizer.pad_token_id) for cut in cuts)


def _take(corpus: Iterator[Document], mixture: Mixture) -> list[Document]:
    return list(islice(corpus, mixture.batch_size * BATCHES_IN_VIEW))


def _tokens(pair: tuple[list[int], list[int]]) -> int:
    return len(pair[0]) + len(pair[1])


def encoded(tokenizer: Any, document: Document) -> tuple[list[int], list[int]]:
    """The ids of the rendered prompt, and those of the answer with its end."""
    prompt = tokenizer.apply_chat_template(
        document.messages, add_generation_prompt=True, tokenize=False
    )
    answer = tokenizer(document.answer, add_special_tokens=False)["input_ids"]
    ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    return ids, [*answer, tokenizer.eos_token_id]


def _batch(pairs: Sequence[tuple[list[int], list[int]]], mixture: Mixture, pad: int) -> Batch:
    ids = [torch.tensor(prompt + answer) for prompt, answer in pairs]
    weights = [
        torch.tensor([mixture.prompt_weight] * len(prompt) + [1.0] * len(answer))
        for prompt, answer in pairs
    ]
    return Batch(
        pad_sequence(ids, batch_first=True, padding_value=pad),
        pad_sequence(weights, batch_first=True),
    )
