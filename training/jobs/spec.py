"""``job.json``: what one run has to do, from which model and which data."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from training.jobs.errors import SpecError
from training.jobs.params import PARAMS_OF_KIND, Params, parse_params

VERSION = 1
# Of a wrong value, so many characters are repeated in the refusal.
MAX_SHOWN = 80
TYPES: Mapping[str, type | tuple[type, ...]] = {
    "kind": str,
    "seed": int,
    "model": str,
    "params": Mapping,
    "data": (Mapping, types.NoneType),
    "reward_model": (str, types.NoneType),
}
KINDS = tuple(PARAMS_OF_KIND)
# The data file that each kind reads, as the key of ``JobSpec.data``.
DATA_OF_KIND = {
    "sample": "prompts",
    "sft": "demonstrations",
    "reward": "comparisons",
    "ppo": "prompts",
    "rejection": "prompts",
    "dpo": "comparisons",
    "rloo": "prompts",
    "grpo": "prompts",
}
KINDS_WITH_REWARD_MODEL = frozenset({"ppo", "rejection", "rloo", "grpo"})


def needs_reward_model(kind: str, params: Params) -> bool:
    return kind in KINDS_WITH_REWARD_MODEL or getattr(params, "choose_by", "") == "reward"


def data_of(kind: str, params: Params) -> tuple[str, ...]:
    """The data files that a run cannot do without, the one it works on first."""
    more = {"ptx": "ptx_coef", "completions": "past_completions"}
    asked = [name for name, param in more.items() if getattr(params, param, None)]
    return DATA_OF_KIND[kind], *asked


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """One input file: ``path`` relative to the job folder, its hash and its number of lines."""

    path: str
    sha256: str
    rows: int

    @classmethod
    def from_json(cls, name: str, raw: object) -> DataFile:
        """Raises SpecError."""
        names = {f.name for f in dataclasses.fields(cls)}
        if not isinstance(raw, Mapping) or set(raw) != names:
            raise SpecError(f"data.{name}", f"must have {', '.join(sorted(names))} and no more")
        return cls(**raw)


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
        """Raises SpecError when a field is missing, unknown, of a wrong type or another version."""
        _check_shape(raw)
        kind = raw["kind"]
        params = parse_params(kind, raw["params"])
        if needs_reward_model(kind, params) != bool(raw.get("reward_model")):
            needs = "needs one" if not raw.get("reward_model") else "takes none"
            raise SpecError("reward_model", f"a {kind} run with these params {needs}")
        given = raw.get("data") or {}
        files = {name: DataFile.from_json(name, entry) for name, entry in given.items()}
        for name in data_of(kind, params):
            if name not in files:
                raise SpecError(f"data.{name}", f"a {kind} run with these params needs it")
        return cls(
            run=str(raw["run"]),
            kind=kind,
            seed=raw["seed"],
            model=raw["model"],
            reward_model=raw.get("reward_model"),
            params=params,
            data=files,
        )


def _check_shape(raw: object) -> None:
    """Raises SpecError when ``raw`` has not the fields of a spec, of their types."""
    if not isinstance(raw, Mapping):
        raise SpecError("job.json", "must be an object")
    if raw.get("version") != VERSION:
        raise SpecError(
            "version", f"this trainer reads version {VERSION}, not {raw.get('version')!r}"
        )
    known = {f.name for f in dataclasses.fields(JobSpec)}
    unknown = sorted(set(raw) - known - {"version"})
    missing = sorted({"run", "kind", "seed", "model", "params"} - set(raw))
    if unknown or missing:
        raise SpecError((unknown + missing)[0], "unknown field" if unknown else "missing")
    for name, wanted in TYPES.items():
        if not isinstance(raw.get(name), wanted) or isinstance(raw.get(name), bool):
            raise SpecError(name, f"cannot be {raw.get(name)!r}"[:MAX_SHOWN])
