"""``manage.py simulate_labelers``: simulated labelers work on a pool of the running server."""

from __future__ import annotations

import math
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from labeling.models import User
from labeling.services import create_user, temporary_token, token_digest
from training.jobs.world import Habits, SimulatedLabeler
from training.management.client import default_url
from training.management.labeler_client import LabelerClient, SimulationError
from training.management.simulation import Outcome, Worker, simulate

PROGRESS_EVERY = 25
# Seeds of the labelers of one run lie this close together, those of two runs this far apart.
LABELERS_PER_SEED = 10_000
# Spammers in turn.
SPAM = ("shown", "random")


class Command(BaseCommand):
    help = (
        "Simulated labelers write demonstrations for a pool and rank its tasks, over the HTTP API "
        "of the running server. They judge by the gold score of the starter world, with the errors "
        "asked for. Their accounts are marked as simulated."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--pool", required=True, help="name or id of the pool")
        parser.add_argument("--labelers", type=_positive, default=4, help="how many (default 4)")
        parser.add_argument(
            "--rankings", type=_count, default=100, help="how many in all (default 100)"
        )
        parser.add_argument(
            "--demonstrations", type=_count, default=0, help="how many in all (default 0)"
        )
        parser.add_argument("--seed", type=int, default=1, help="same seed, same labelers")
        parser.add_argument("--url", default=None, help="default: http://127.0.0.1:$PORT, or 8000")
        parser.add_argument(
            "--concurrency",
            type=_positive,
            default=1,
            help="labelers at work at a time (default 1); with more, timing decides who ranks what",
        )
        parser.add_argument(
            "--token-file",
            type=Path,
            help="tokens of labelers that exist, one a line, instead of accounts of its own",
        )
        _add_judgement(parser.add_argument_group("how they judge (gold has 10 points)"))
        _add_habits(parser.add_argument_group("how they work"))

    def handle(self, *_: object, **options: Any) -> None:
        try:
            with LabelerClient(options["url"] or default_url()) as client, ExitStack() as stack:
                client.check()
                outcome = simulate(
                    client,
                    self._workers(options, stack),
                    pool=options["pool"],
                    rankings=options["rankings"],
                    demonstrations=options["demonstrations"],
                    concurrency=options["concurrency"],
                    progress=self._tell,
                )
        except SimulationError as error:
            raise CommandError(str(error)) from error
        self._conclude(outcome, options)

    def _workers(self, options: dict[str, Any], stack: ExitStack) -> list[Worker]:
        """The last of them are the spammers. ``stack`` revokes the tokens that are issued here when
        the work is done.
        """
        count, seed, spammers = options["labelers"], options["seed"], options["spammers"]
        if spammers > count:
            raise CommandError(f"--spammers {spammers} are more than --labelers {count}")
        tokens = _tokens_in(options["token_file"], count) if options["token_file"] else None
        workers = []
        for number in range(1, count + 1):
            token = (
                tokens[number - 1]
                if tokens
                else stack.enter_context(_own_token(f"simulated-{seed}-{number}"))
            )
            spam = SPAM[number % len(SPAM)] if number > count - spammers else ""
            workers.append(_worker(seed * LABELERS_PER_SEED + number, token, spam, options))
        return workers

    def _tell(self, what: str, made: int, wanted: int) -> None:
        if made % PROGRESS_EVERY == 0 or made == wanted:
            self.stdout.write(f"{made}/{wanted} {what}")
            self.stdout.flush()

    def _conclude(self, outcome: Outcome, options: dict[str, Any]) -> None:
        if missing := options["demonstrations"] - outcome.demonstrations:
            self.stdout.write(f"No prompt is left to write for: {missing} fewer than asked.")
        if missing := options["rankings"] - outcome.rankings:
            self.stdout.write(f"No task is free any more: {missing} fewer than asked.")
        also = {
            "demonstrations": outcome.demonstrations,
            "skipped": outcome.skipped,
            "drafts": outcome.drafts,
            "came too late": outcome.late,
        }
        self.stdout.write(
            f"{outcome.rankings} rankings, {outcome.comparisons} comparisons, "
            + f"{outcome.seconds:.1f} seconds"
            + "".join(f", {number} {what}" for what, number in also.items() if number)
        )


def _add_judgement(group: Any) -> None:
    group.add_argument(
        "--noise",
        type=_bounded(0, 0.5),
        default=0.0,
        help="share of comparisons turned round, 0 to 0.5",
    )
    group.add_argument(
        "--fatigue",
        type=_bounded(0, 0.5),
        default=0.0,
        help="by how much the noise grows with each task of the sitting, up to 0.5 in all",
    )
    group.add_argument(
        "--just-noticeable",
        type=_bounded(0, 10),
        default=SimulatedLabeler.just_noticeable,
        help="answers closer than this are tied (default %(default)s points)",
    )
    group.add_argument(
        "--position-bias",
        type=_bounded(-10, 10),
        default=0.0,
        help="points by which the first answer shown seems better than the last",
    )
    group.add_argument(
        "--length-bias",
        type=_bounded(-10, 10),
        default=0.0,
        help="points by which an answer of twice the words seems better",
    )
    group.add_argument(
        "--spammers",
        type=_count,
        default=0,
        help="how many of the labelers rank without reading: as shown, or at random",
    )


def _add_habits(group: Any) -> None:
    group.add_argument(
        "--pace",
        type=_bounded(0, 3600),
        default=0.0,
        help="seconds to read a hundred words (default 0: no waiting)",
    )
    group.add_argument(
        "--skips", type=_bounded(0, 1), default=0.0, help="share of tasks skipped, with a reason"
    )
    group.add_argument(
        "--drafts",
        type=_bounded(0, 1),
        default=0.0,
        help="share of rankings saved as a draft before they are submitted",
    )


def _worker(seed: int, token: str, spam: str, options: dict[str, Any]) -> Worker:
    """A spammer neither reads nor skips nor saves drafts."""
    traits = ("noise", "fatigue", "just_noticeable", "position_bias", "length_bias")
    labeler = SimulatedLabeler(seed=seed, spam=spam, **{name: options[name] for name in traits})
    habits = {} if spam else {name: options[name] for name in ("pace", "skips", "drafts")}
    return Worker(labeler, token, Habits(seed=seed, **habits))


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
    digests = [token_digest(token) for token in tokens[:count]]
    people = User.objects.filter(api_tokens__digest__in=digests, is_simulated=False)
    if person := people.first():
        raise CommandError(f"{path} holds a token of {person}, which is a person's account")
    return tokens


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ArgumentTypeError(f"must be a whole number from 0 on, not {text!r}")
    return int(text)


def _positive(text: str) -> int:
    if (count := _count(text)) < 1:
        raise ArgumentTypeError(f"must be a whole number from 1 on, not {text!r}")
    return count


def _bounded(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise ArgumentTypeError(f"must lie in {low}..{high}, not {text!r}")
        return value

    return parse
