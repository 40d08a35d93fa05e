"""``manage.py loop --rounds N``: go round the loop on a running server, through its HTTP API.

A round is: sample what lacks completions, simulated labelers rank it all, train a reward model,
train policies by PPO and by rejection sampling, promote one. At the end the new round is sampled.
"""

from __future__ import annotations

import time
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from labeling.models import User
from labeling.services import create_user, temporary_token
from training.management.client import ApiClient, ApiError, default_url
from training.management.first_start import STARTER_POOL

POLL_SECONDS = 1.0
OPERATOR = "loop-operator"
NOTHING_LEFT = "nothing_to_sample"


@dataclass(frozen=True, kw_only=True)
class RoundResult:
    """What one round came to; rewards are in units of the round's own reward model."""

    number: int
    rankings: int
    accuracy: float | None
    ppo_before: float
    ppo_after: float
    kl: float
    mean_of_n: float
    best_of_n: float
    promoted: str

    def __str__(self) -> str:
        accuracy = "–" if self.accuracy is None else f"{self.accuracy:.3f}"
        return (
            f"round {self.number}: {self.rankings} rankings, reward-model accuracy {accuracy}, "
            f"mean reward {self.ppo_before:+.3f} -> {self.ppo_after:+.3f} by PPO "
            f"(KL {self.kl:.2f}), {self.mean_of_n:+.3f} -> {self.best_of_n:+.3f} by best-of-n; "
            f"promoted {self.promoted}"
        )


class Command(BaseCommand):
    help = "Go round the loop: sample, rank (simulated), reward model, PPO, rejection, promote."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--rounds", type=int, default=1)
        parser.add_argument("--pool", default=STARTER_POOL, help="name or id of the pool")
        parser.add_argument("--labelers", type=int, default=4)
        parser.add_argument("--noise", type=float, default=0.1)
        parser.add_argument("--promote", choices=["ppo", "rejection"], default="ppo")
        parser.add_argument("--seed", type=int, default=1)
        parser.add_argument(
            "--param",
            action="append",
            default=[],
            metavar="KIND.NAME=VALUE",
            help="a hyperparameter of a run, such as ppo.steps=40; may be repeated",
        )
        parser.add_argument("--url", default=None, help="default: http://127.0.0.1:$PORT, or 8000")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["rounds"] < 1:
            raise CommandError("--rounds must be at least 1")
        options["params"] = _params(options["param"])
        try:
            with (
                temporary_token(_operator(), name="loop") as token,
                ApiClient(options["url"] or default_url(), token) as api,
            ):
                self._go_round(api, options)
        except ApiError as error:
            raise CommandError(str(error)) from error

    def _go_round(self, api: ApiClient, options: dict[str, Any]) -> None:
        pool = _pool_id(api, options["pool"])
        loop = _Loop(api, pool, options, self._say)
        started = time.monotonic()
        results = [loop.round() for _ in range(options["rounds"])]
        loop.sample()
        self._say(f"\n{options['rounds']} rounds in {time.monotonic() - started:.0f} s")
        for result in results:
            self._say(str(result))
        self._say("lineage: " + " -> ".join(loop.lineage()))

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


class _Loop:
    """The rounds of one pool."""

    def __init__(
        self, api: ApiClient, pool: int, options: dict[str, Any], say: Callable[[str], None]
    ) -> None:
        self.api = api
        self.pool = pool
        self.options = options
        self.say = say

    def round(self) -> RoundResult:
        self.sample()
        rankings = self._rank()
        reward = self._run("reward")
        ppo = self._run("ppo", reward_model=str(reward["model"]))
        rejection = self._run("rejection", reward_model=str(reward["model"]))
        chosen = ppo if self.options["promote"] == "ppo" else rejection
        promotion = self.api.post(f"models/{chosen['model']}/promote/")
        self.say(f"promoted model {chosen['model']}: round {promotion['round']} begins")
        return RoundResult(
            number=promotion["round"] - 1,
            rankings=rankings,
            accuracy=reward["metrics"]["accuracy"],
            ppo_before=ppo["metrics"]["reward_mean_start"],
            ppo_after=ppo["metrics"]["reward_mean"],
            kl=ppo["metrics"]["kl"],
            mean_of_n=rejection["metrics"]["reward_mean"],
            best_of_n=rejection["metrics"]["reward_best"],
            promoted=f"{chosen['kind']}-{chosen['id']}",
        )

    def sample(self) -> None:
        """Completions for the prompts that lack them in the current round."""
        try:
            run = self.api.post(f"pools/{self.pool}/sample/")["run"]
        except ApiError as error:
            if error.code != NOTHING_LEFT:
                raise
            return
        self._wait(run)

    def lineage(self) -> list[str]:
        models = {model["id"]: model for model in self.api.get("models/")}
        promoted = next(model for model in models.values() if model["promoted"])
        return [models[ancestor]["name"] for ancestor in promoted["lineage"]]

    def _rank(self) -> int:
        """Have every open place ranked; how many rankings that made."""
        before = self.api.get(f"pools/{self.pool}/")
        if not before["open"]:
            return 0
        call_command(
            "simulate_labelers",
            pool=str(self.pool),
            labelers=self.options["labelers"],
            rankings=before["open"],
            noise=self.options["noise"],
            seed=self.options["seed"],
            url=self.api.url,
        )
        return int(self.api.get(f"pools/{self.pool}/")["rankings"] - before["rankings"])

    def _run(self, kind: str, **body: Any) -> dict[str, Any]:
        asked = asked_of(kind, self.pool, self.options["seed"], self.options["params"])
        return self._wait(self.api.post("runs/", asked | body)["id"])

    def _wait(self, run_id: int) -> dict[str, Any]:
        """Poll until the run has ended. Raises ApiError with its reason when it failed."""
        shown = ""
        while True:
            run: dict[str, Any] = self.api.get(f"runs/{run_id}/")
            line = (
                f"{run['kind']} run {run_id}: {run['state']} {run['phase']} {run['progress']:.0%}"
            )
            if line != shown:
                self.say(line)
                shown = line
            if run["state"] == "succeeded":
                return run
            if run["state"] not in ("queued", "running"):
                raise ApiError(f"{run['kind']} run {run_id} {run['state']}: {run['error']}")
            time.sleep(POLL_SECONDS)


def asked_of(
    kind: str, pool: int, seed: int, params: Mapping[str, Mapping[str, float]]
) -> dict[str, Any]:
    """What the loop asks of a run. ``params``: by kind.

    The loop ranks by simulation, so that is what its reward model learns from. What PPO-ptx mixes
    in is the pool's demonstrations, whoever wrote them; PPO alone reads none.
    """
    own = params.get(kind, {})
    asked = {"kind": kind, "pool": str(pool), "seed": seed, "params": own}
    if kind == "reward":
        return asked | {"labelers": "simulated"}
    return asked | ({"labelers": "all"} if own.get("ptx_coef") else {})


def _params(given: list[str]) -> dict[str, dict[str, float]]:
    """``["ppo.steps=40"]`` → ``{"ppo": {"steps": 40.0}}``. Names and bounds are the server's to
    check.
    """
    params: dict[str, dict[str, float]] = {}
    for entry in given:
        kind, _, rest = entry.partition(".")
        name, _, value = rest.partition("=")
        try:
            params.setdefault(kind, {})[name] = float(value)
        except ValueError as error:
            raise CommandError(f"--param {entry!r}: write KIND.NAME=NUMBER") from error
    return params


def _operator() -> User:
    """An admin account of the command's own, which has no password."""
    user = User.objects.filter(username=OPERATOR).first()
    return user or create_user(username=OPERATOR, password=None, role="admin")


def _pool_id(api: ApiClient, name_or_id: str) -> int:
    pools = api.get("pools/")
    found = [p["id"] for p in pools if name_or_id in (p["name"], str(p["id"]))]
    if not found:
        names = ", ".join(p["name"] for p in pools) or "none"
        raise ApiError(f"there is no pool {name_or_id!r}; there are: {names}")
    return int(found[0])
