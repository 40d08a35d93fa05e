"""Making what a trainer wrote part of the registry or the label store: whole, once, fenced."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

from django.db import transaction

from labeling import lifecycle as labeling_lifecycle
from labeling.models import Completion, Prompt
from training import lifecycle
from training.jobs.folder import JobFolder, keep_folder, sha256_of_folder
from training.models import ModelVersion, Run, artifact_folder


class CompletionPublisher:
    """Turns sampled completions into tasks as they come: a prompt's K, then the task, at once."""

    def __init__(self, run: Run, folder: JobFolder) -> None:
        self.run = run
        self.path = folder.artifacts / "completions.jsonl"
        self.offset = 0
        self.waiting: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
        rows = folder.read_data(folder.read_spec().data["prompts"])
        self.expected = {row["prompt"]: len(row["indexes"]) for row in rows}

    def publish_new(self) -> None:
        """Publish the prompts that have become whole since the last call. Raises RunFenced."""
        self._read()
        whole = {p: rows for p, rows in self.waiting.items() if len(rows) == self.expected[p]}
        if not whole:
            return
        with transaction.atomic():
            lifecycle.heartbeat(self.run)
            prompts = Prompt.objects.select_related("pool").filter(pk__in=map(int, whole))
            # A restarted run reads the file from its start: what is published stays as it is.
            fresh = prompts.exclude(tasks__round=self.run.round).order_by("id")
            labeling_lifecycle.publish_tasks(
                self.run.round,
                [(prompt, self._completions(whole[str(prompt.pk)])) for prompt in fresh],
            )
        for prompt in whole:
            del self.waiting[prompt]

    def _read(self) -> None:
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                chunk = file.read()
        except FileNotFoundError:
            return
        whole = chunk[: chunk.rfind(b"\n") + 1]
        self.offset += len(whole)
        for line in whole.splitlines():
            row = json.loads(line)
            self.waiting[row["prompt"]][row["index"]] = row

    def _completions(self, rows: dict[int, dict[str, Any]]) -> list[Completion]:
        params = self.run.params
        return [
            Completion(
                text=row["text"],
                model=self.run.model.name,
                token_ids=row["token_ids"],
                logprobs=row.get("logprobs"),
                finish_reason=row["finish_reason"],
                seed=row["seed"],
                template_sha256=row["template_sha256"],
                temperature=params["temperature"],
                top_p=params["top_p"],
                max_new_tokens=params["max_new_tokens"],
            )
            for _, row in sorted(rows.items())
        ]


def publish_model(run: Run, folder: JobFolder, result: dict[str, Any]) -> ModelVersion:
    """Stage, fsync, rename to the content address; then the registry row and the run's end at once.

    Raises RunFenced when the run went to another worker: the folder stays unreferenced, nothing
    more.
    """
    made = folder.artifacts / result["artifact"]
    digest = sha256_of_folder(made)
    keep_folder(made, artifact_folder(digest))
    kind = ModelVersion.Kind.REWARD if run.kind == Run.Kind.REWARD else ModelVersion.Kind.POLICY
    with transaction.atomic():
        model = ModelVersion.objects.create(
            name=f"{run.kind}-{run.pk}",
            kind=kind,
            digest=digest,
            parent=run.model,
            reward_model=run.reward_model,
            round=run.round,
            metrics=result["metrics"],
        )
        lifecycle.succeed(run, result["metrics"], made=model)
    return model
