"""``job.json``: what one run has to do, from which model and which data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from training.jobs.errors import SpecError
from training.jobs.params import PARAMS_OF_KIND, Params, parse_params

VERSION = 1
KINDS = tuple(PARAMS_OF_KIND)
# The data file that each kind reads, as the key of ``JobSpec.data``.
DATA_OF_KIND = {
    "sample": "prompts",
    "sft": "demonstrations",
    "reward": "comparisons",
    "ppo": "prompts",
    "rejection": "prompts",
    "dpo": "comparisons",
}
KINDS_WITH_REWARD_MODEL = frozenset({"ppo", "rejection"})


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """One input file: ``path`` relative to the job folder, its hash and its number of lines."""

    path: str
    sha256: str
    rows: int


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """A job as the trainer reads it. Models are named by local folder or Hub id."""

    run: str
    kind: str
    seed: int
    model: str
    params: Params
    reward_model: str | None = None
    data: Mapping[str, DataFile] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"version": VERSION, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> JobSpec:
        """Raises SpecError when a field is missing, unknown, or of another version."""
        if raw.get("version") != VERSION:
            raise SpecError(
                "version", f"this trainer reads version {VERSION}, not {raw.get('version')!r}"
            )
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(raw) - known - {"version"})
        missing = sorted({"run", "kind", "seed", "model", "params"} - set(raw))
        if unknown or missing:
            raise SpecError((unknown + missing)[0], "unknown field" if unknown else "missing")
        kind = raw["kind"]
        params = parse_params(kind, raw["params"])
        if kind in KINDS_WITH_REWARD_MODEL and not raw.get("reward_model"):
            raise SpecError("reward_model", f"a {kind} run needs one")
        files = {name: DataFile(**entry) for name, entry in raw.get("data", {}).items()}
        if DATA_OF_KIND[kind] not in files:
            raise SpecError(f"data.{DATA_OF_KIND[kind]}", f"a {kind} run needs it")
        return cls(
            run=str(raw["run"]),
            kind=kind,
            seed=int(raw["seed"]),
            model=raw["model"],
            reward_model=raw.get("reward_model"),
            params=params,
            data=files,
        )
