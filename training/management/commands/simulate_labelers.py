"""``manage.py simulate_labelers``: simulated labelers rank a pool of the running server."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from labeling.models import User
from labeling.services import create_user, temporary_token
from training.jobs.world import SimulatedLabeler
from training.management.client import default_url
from training.management.simulation import Client, Outcome, SimulationError, Worker, simulate

PROGRESS_EVERY = 25
# Seeds of the labelers of one run lie this close together, those of two runs this far apart.
LABELERS_PER_SEED = 10_000


class Command(BaseCommand):
    help = (
        "Simulated labelers rank tasks of a pool over the HTTP API of the running server. They "
        "judge by the gold score of the starter world and turn round a share of the comparisons "
        "(--noise). Their accounts are marked as simulated."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--pool", required=True, help="name or id of the pool")
        parser.add_argument("--labelers", type=_positive, default=4, help="how many (default 4)")
        parser.add_argument(
            "--rankings", type=_positive, default=100, help="how many in all (default 100)"
        )
        parser.add_argument(
            "--noise", type=_noise, default=0.0, help="share of comparisons turned round, 0 to 0.5"
        )
        parser.add_argument("--seed", type=int, default=1, help="same seed, same labelers")
        parser.add_argument("--url", default=None, help="default: http://127.0.0.1:$PORT, or 8000")
        parser.add_argument(
            "--concurrency",
            type=_positive,
            default=4,
            help="labelers at work at a time (default 4)",
        )
        parser.add_argument(
            "--token-file",
            type=Path,
            help="tokens of labelers that exist, one a line, instead of accounts of its own",
        )

    def handle(self, *_: object, **options: Any) -> None:
        try:
            with Client(options["url"] or default_url()) as client, ExitStack() as stack:
                client.check()
                outcome = simulate(
                    client,
                    self._workers(options, stack),
                    pool=options["pool"],
                    rankings=options["rankings"],
                    concurrency=options["concurrency"],
                    progress=self._tell,
                )
        except SimulationError as error:
            raise CommandError(str(error)) from error
        self._conclude(outcome, options["rankings"])

    def _workers(self, options: dict[str, Any], stack: ExitStack) -> list[Worker]:
        """``stack`` revokes the tokens that are issued here when the work is done."""
        count, seed = options["labelers"], options["seed"]
        tokens = _tokens_in(options["token_file"], count) if options["token_file"] else None
        return [
            Worker(
                SimulatedLabeler(seed=seed * LABELERS_PER_SEED + number, noise=options["noise"]),
                tokens[number - 1]
                if tokens
                else stack.enter_context(_own_token(f"simulated-{seed}-{number}")),
            )
            for number in range(1, count + 1)
        ]

    def _tell(self, done: int, wanted: int) -> None:
        if done % PROGRESS_EVERY == 0 or done == wanted:
            self.stdout.write(f"{done}/{wanted} rankings")
            self.stdout.flush()

    def _conclude(self, outcome: Outcome, wanted: int) -> None:
        if outcome.ran_dry:
            self.stdout.write(
                f"No task is free any more: {wanted - outcome.rankings} fewer than asked."
            )
        refused = f", {outcome.refused} came too late" if outcome.refused else ""
        self.stdout.write(
            f"{outcome.rankings} rankings, {outcome.comparisons} comparisons, "
            f"{outcome.seconds:.1f} seconds{refused}"
        )


def _own_token(username: str) -> AbstractContextManager[str]:
    """A token of the simulated labeler of that name, who is made when new."""
    user = User.objects.filter(username=username).first()
    if user is None:
        user = create_user(username=username, password=None, role="labeler", is_simulated=True)
    if not user.is_simulated:
        raise CommandError(f"{username} is a person's account; choose another --seed")
    return temporary_token(user, name="simulate_labelers")


def _tokens_in(path: Path, count: int) -> list[str]:
    try:
        tokens = path.read_text(encoding="utf-8").split()
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error
    if len(tokens) < count:
        raise CommandError(f"{path} has {len(tokens)} tokens for {count} labelers")
    return tokens


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"must be a whole number from 1 on, not {text!r}")
    return int(text)


def _noise(text: str) -> float:
    try:
        noise = float(text)
    except ValueError:
        noise = -1.0
    if not 0 <= noise <= 0.5:
        raise ArgumentTypeError(f"must lie in 0..0.5, not {text!r}")
    return noise
