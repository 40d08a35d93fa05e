"""Completions from an OpenAI-compatible server: vLLM, SGLang, llama.cpp and others.

The prompt is sent as token ids, so the server's own template has no say. Each completion is a
request of its own with its own seed, so that it does not depend on which others are wanted; servers
with a prefix cache compute their common prompt once.

``PODIUM_OPENAI_URL``: the base of the interface, such as http://gpu:8000/v1.
``PODIUM_OPENAI_KEY``, ``PODIUM_OPENAI_MODEL``: sent if given.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import httpx

from training.rlhf.errors import TrainingError
from training.rlhf.generate import Completion, Request, Sampling
from training.rlhf.rendering import CUT_OFF, Renderer

# Requests under way at a time: enough to fill a server's batches.
AT_ONCE = 32
# A long completion behind a full queue takes minutes.
TIMEOUT = httpx.Timeout(600.0, connect=10.0)
ATTEMPTS = 6
# Seconds before the second attempt; doubled for each one after it.
FIRST_DELAY = 1.0
WORTH_ANOTHER_ATTEMPT = frozenset({408, 425, 429})
SHOWN = 300
# How often a request to stop is looked for, in seconds.
GLANCE = 0.2


@dataclass(frozen=True)
class Address:
    """Where the server is. The key is kept out of what is printed."""

    url: str
    key: str = field(default="", repr=False)
    model: str = ""


def address(environment: Mapping[str, str]) -> Address | None:
    """The server that the environment names, if any.

    Raises:
        TrainingError: the address is not one of HTTP.
    """
    url = environment.get("PODIUM_OPENAI_URL", "").rstrip("/")
    if not url:
        return None
    if not url.startswith(("http://", "https://")):
        raise TrainingError(f"PODIUM_OPENAI_URL must start with http:// or https://, not {url!r}")
    return Address(
        url, environment.get("PODIUM_OPENAI_KEY", ""), environment.get("PODIUM_OPENAI_MODEL", "")
    )


class ServerEngine:
    """See the module. ``between`` may raise to abandon what is under way."""

    name = "server"

    def __init__(
        self,
        where: Address,
        renderer: Renderer,
        context: int,
        checked_against: str | None,
        between: Callable[[], None],
    ) -> None:
        self._where = where
        self._renderer = renderer
        self._between = between
        self.context = context
        self.checked_against = checked_against

    def complete(
        self, requests: Sequence[Request], how: Sampling
    ) -> Sequence[Sequence[Completion]]:
        """Raises TrainingError when the server refuses, stays away or answers nonsense."""
        return asyncio.run(self._complete(requests, how))

    def has_exact_logprobs(self, how: Sampling) -> bool:
        # Servers differ in whether temperature and top_p are in; without either, nobody can differ.
        return how.temperature == 1 and how.top_p == 1

    async def _complete(
        self, requests: Sequence[Request], how: Sampling
    ) -> Sequence[Sequence[Completion]]:
        key = self._where.key
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        slots = asyncio.Semaphore(AT_ONCE)
        async with httpx.AsyncClient(timeout=TIMEOUT, headers=headers) as client:

            async def one(request: Request, seed: int) -> Completion:
                async with slots:
                    answer = await self._ask(client, self._body(request, seed, how))
                return self._read(answer, request, how)

            tasks = [[asyncio.create_task(one(r, seed)) for seed in r.seeds] for r in requests]
            await self._finish([task for group in tasks for task in group])
            return [[task.result() for task in group] for group in tasks]

    async def _finish(self, tasks: Sequence[asyncio.Task[Completion]]) -> None:
        """Wait for all; the first failure, or a request to stop, calls the others off."""
        pending = set(tasks)
        try:
            while pending:
                self._between()
                done, pending = await asyncio.wait(
                    pending, timeout=GLANCE, return_when=asyncio.FIRST_EXCEPTION
                )
                for task in done:
                    task.result()
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _body(self, request: Request, seed: int, how: Sampling) -> dict[str, Any]:
        """What draws tokens is all said: a server's defaults may be those of the model's card."""
        return {
            **({"model": self._where.model} if self._where.model else {}),
            "prompt": list(request.prompt_ids),
            "max_tokens": request.limit,
            "n": 1,
            "temperature": how.temperature,
            "top_p": how.top_p,
            "top_k": -1,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            # Some servers take 32 bits.
            "seed": seed % 2**31,
            "logprobs": 1,
            "stop_token_ids": [how.end_id],
            "skip_special_tokens": False,
            "return_token_ids": True,
            "stream": False,
        }

    async def _ask(self, client: httpx.AsyncClient, body: Mapping[str, Any]) -> Any:
        """The answer's JSON. Busy or broken servers are asked again, later each time."""
        url, trouble = f"{self._where.url}/completions", ""
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(FIRST_DELAY * 2 ** (attempt - 1))
            try:
                response = await client.post(url, json=body)
            except httpx.TransportError as error:
                trouble = f"{error}" or type(error).__name__
                continue
            trouble = f"{response.status_code}: {response.text[:SHOWN]}"
            if response.is_success:
                return _json(response)
            if response.status_code < 500 and response.status_code not in WORTH_ANOTHER_ATTEMPT:
                raise TrainingError(f"{url} refuses a request, {trouble}")
        raise TrainingError(f"{url} failed {ATTEMPTS} times, the last time with {trouble}")

    def _read(self, answer: Any, request: Request, how: Sampling) -> Completion:
        """One completion, from an answer in which every part may be missing or wrong."""
        choice = _choice(answer)
        ended = choice["finish_reason"] == "stop"
        ids, logprobs = choice.get("token_ids"), _logprobs(choice)
        if ids is None:
            text = choice["text"]
            if ended:
                text = text.removesuffix(self._renderer.text([how.end_id]))
            return Completion(self._renderer.completion_ids(text, None, CUT_OFF), ended, text=text)
        real = _are_numbers(ids, int) and min(ids, default=0) >= 0
        _require(real and len(ids) <= request.limit, "token ids", ids)
        complete = logprobs is None or len(logprobs) == len(ids)
        _require(complete, f"log-probabilities for {len(ids)} tokens", logprobs)
        if ids and ids[-1] == how.end_id:
            end = logprobs[-1] if logprobs else None
            return Completion(ids[:-1], True, logprobs and logprobs[:-1], end)
        if ended and ids and choice.get("stop_reason") == ids[-1]:
            # Ended by a token that the server knows as an end and the tokenizer does not name.
            return Completion(ids[:-1], True, logprobs and logprobs[:-1])
        return Completion(ids, ended, logprobs)


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError as error:
        raise TrainingError(
            f"{response.url} answers something else than JSON: {response.text[:SHOWN]!r}"
        ) from error


def _choice(answer: Any) -> dict[str, Any]:
    """The one choice of an answer, its text and finish reason checked."""
    choices = answer.get("choices") if isinstance(answer, dict) else None
    _require(isinstance(choices, list) and len(choices) == 1, "list of one choice", answer)
    assert isinstance(choices, list)
    choice = choices[0]
    _require(isinstance(choice, dict) and isinstance(choice.get("text"), str), "text", choice)
    _require(choice.get("finish_reason") in {"stop", "length"}, "finish_reason", choice)
    return dict(choice)


def _logprobs(choice: Mapping[str, Any]) -> list[float] | None:
    told = choice.get("logprobs")
    if told is None:
        return None
    values = told.get("token_logprobs") if isinstance(told, dict) else None
    _require(_are_numbers(values, int, float), "token_logprobs", told)
    assert isinstance(values, list)
    return [float(value) for value in values]


def _are_numbers(values: Any, *types: type) -> bool:
    return isinstance(values, list) and all(_is_number(value, types) for value in values)


def _is_number(value: Any, types: tuple[type, ...]) -> bool:
    # True and False are numbers to Python.
    if not isinstance(value, types) or isinstance(value, bool):
        return False
    return math.isfinite(cast(float, value))


def _require(condition: bool, what: str, found: Any) -> None:
    if not condition:
        raise TrainingError(f"the server's answer has no usable {what}: {str(found)[:SHOWN]}")
