"""``manage.py simulate_labelers`` against a server that runs, with the database of the test."""

import io
import json
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from labeling.models import (
    Assignment,
    Comparison,
    Demonstration,
    Pool,
    RankedItem,
    Ranking,
    Slot,
    User,
)
from labeling.services import create_pool, create_user, import_prompts, issue_token
from training.jobs.world import FLAWS, draw_tasks, score
from training.management.commands.simulate_labelers import Command

pytestmark = pytest.mark.django_db(transaction=True)
PROMPTS = 6


def line(task: Any, rng: Random) -> bytes:
    flaws = rng.sample(sorted(FLAWS), 3)
    texts = [task.good(rng), *(task.flawed(flaw, rng) for flaw in flaws)]
    completions = [{"text": text} for text in texts]
    return json.dumps({"messages": task.messages, "completions": completions}).encode()


@pytest.fixture
def pool() -> Pool:
    pool = create_pool(name="first", overlap=2)
    rng = Random(1)
    import_prompts(pool, [line(task, rng) for task in islice(draw_tasks(1), PROMPTS)])
    return pool


def simulate(url: str, **options: Any) -> str:
    told = io.StringIO()
    options = {"pool": "first", "labelers": 2, "rankings": 8} | options
    call_command("simulate_labelers", url=url, stdout=told, **options)
    return told.getvalue()


def test_simulated_labelers_rank_over_http(pool: Pool, live_server: Any) -> None:
    told = simulate(live_server.url)
    assert Ranking.objects.count() == 8
    assert f"8 rankings, {Comparison.objects.count()} comparisons" in told.splitlines()[-1]
    labelers = User.objects.filter(assignments__ranking__isnull=False).distinct()
    assert all(user.is_simulated and user.role == "labeler" for user in labelers)
    assert not any(user.has_usable_password() for user in labelers)


def test_a_dry_pool_ends_early_and_says_so(pool: Pool, live_server: Any) -> None:
    told = simulate(live_server.url, pool=str(pool.pk), rankings=50)
    assert Ranking.objects.count() == 2 * PROMPTS
    assert "No task is free any more: 38 fewer than asked." in told


def test_the_same_seed_uses_the_same_accounts_again(pool: Pool, live_server: Any) -> None:
    for _ in range(2):
        simulate(live_server.url, rankings=2)
    assert User.objects.filter(is_simulated=True).count() == 2


def test_a_persons_account_is_never_used(pool: Pool, live_server: Any) -> None:
    create_user(username="simulated-1-1", password=None, role="labeler")
    with pytest.raises(CommandError, match="person"):
        simulate(live_server.url)


def test_tokens_may_come_from_a_file(pool: Pool, live_server: Any, tmp_path: Path) -> None:
    user = create_user(username="ada", password=None, role="labeler", is_simulated=True)
    tokens = tmp_path / "tokens"
    tokens.write_text(issue_token(user, name="test") + "\n")
    simulate(live_server.url, labelers=1, rankings=3, token_file=tokens)
    assert User.objects.count() == 1
    with pytest.raises(CommandError, match="1 tokens for 2 labelers"):
        simulate(live_server.url, labelers=2, token_file=tokens)
    with pytest.raises(CommandError, match="No such file"):
        simulate(live_server.url, token_file=tmp_path / "none")


def test_a_persons_token_is_not_used_for_what_a_program_ranks(
    pool: Pool, live_server: Any, tmp_path: Path
) -> None:
    person = create_user(username="ada", password=None, role="labeler")
    tokens = tmp_path / "tokens"
    tokens.write_text(issue_token(person, name="test") + "\n")
    with pytest.raises(CommandError, match="ada, which is a person's account"):
        simulate(live_server.url, labelers=1, token_file=tokens)
    assert not Ranking.objects.exists()


def test_a_pool_that_does_not_exist_is_a_clear_error(live_server: Any) -> None:
    with pytest.raises(CommandError, match=r"no pool .nowhere."):
        simulate(live_server.url, pool="nowhere")


def test_no_server_is_a_clear_error_and_makes_no_accounts() -> None:
    with pytest.raises(CommandError, match="no server answers"):
        simulate("http://127.0.0.1:9")
    assert not User.objects.exists()


@pytest.mark.parametrize(
    "option",
    [
        "--noise=0.7", "--noise=x", "--labelers=0", "--rankings=-1", "--concurrency=two",
        "--demonstrations=x", "--fatigue=1", "--just-noticeable=-1", "--position-bias=nan",
        "--length-bias=99", "--pace=-1", "--skips=2", "--drafts=-0.1", "--spammers=1.5",
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused(option: str) -> None:
    with pytest.raises(CommandError, match=option.partition("=")[0]):
        call_command("simulate_labelers", "--pool=first", option)


def test_more_spammers_than_labelers_are_refused(pool: Pool, live_server: Any) -> None:
    with pytest.raises(CommandError, match="--spammers 3"):
        simulate(live_server.url, spammers=3)


def test_they_use_the_product_like_people_do(pool: Pool, live_server: Any) -> None:
    """Demonstrations, skips with reasons, drafts, ratings and flags, all through the API."""
    told = simulate(
        live_server.url,
        labelers=3,
        rankings=8,
        demonstrations=10,
        skips=0.5,
        drafts=0.5,
        concurrency=3,
        position_bias=0.5,
        length_bias=0.5,
        fatigue=0.01,
    )
    assert Ranking.objects.count() == 8
    written = Demonstration.objects.select_related("prompt", "author")
    assert len(written) == 10
    assert all(row.author and row.author.is_simulated for row in written)
    assert all(score(row.prompt.messages, row.text).fully_right for row in written)
    skipped = Assignment.objects.filter(state="skipped").values_list("skip_reason", flat=True)
    assert skipped
    assert all(skipped)
    drafted = Ranking.objects.exclude(assignment__draft=None).select_related("assignment")
    assert drafted
    assert all(set(row.assignment.draft) == {"ranks", "ratings", "flags"} for row in drafted)
    assert not RankedItem.objects.filter(quality=None).exists()
    assert RankedItem.objects.exclude(flags=[]).exists()
    last = told.splitlines()[-1]
    assert f"10 demonstrations, {len(skipped)} skipped, {len(drafted)} drafts" in last


def test_spammers_rank_as_shown_and_rate_nothing(pool: Pool, live_server: Any) -> None:
    simulate(live_server.url, labelers=3, rankings=12, spammers=2)
    honest, *spammers = User.objects.filter(is_simulated=True).order_by("username")
    assert not RankedItem.objects.filter(ranking__labeler=honest, quality=None).exists()
    assert not RankedItem.objects.filter(ranking__labeler__in=spammers).exclude(quality=None)
    ranked_as_shown = 0
    for ranking in Ranking.objects.filter(labeler__in=spammers):
        rank_of = {item.completion.number: item.rank for item in ranking.items.all()}
        shown = [rank_of[number] for number in ranking.assignment.shown_order]
        assert sorted(shown) == [1, 2, 3, 4]
        ranked_as_shown += shown == [1, 2, 3, 4]
    # The one at random meets the shown order in a 24th of the tasks.
    assert ranked_as_shown >= 4


def test_the_same_seed_says_the_same_of_the_same_task(pool: Pool, live_server: Any) -> None:
    """Whoever is handed a task and whenever, at any concurrency: as long as nobody tires."""
    habits = {"noise": 0.3, "position_bias": 1, "spammers": 1}

    def said(**options: Any) -> dict[tuple[str, str], int]:
        """Ranks by the last sign of the labeler's name and the text."""
        Ranking.objects.all().delete()
        Assignment.objects.all().delete()
        Slot.objects.update(state="free", labeler=None, lease_token=None, lease_until=None)
        simulate(live_server.url, labelers=2, rankings=12, **habits, **options)
        items = RankedItem.objects.select_related("ranking__labeler", "completion")
        return {(i.ranking.labeler.username[-1], i.completion.text): i.rank for i in items}

    first = said(concurrency=1)
    assert said(concurrency=2) == first
    other = said(concurrency=1, seed=2)
    assert other.keys() == first.keys()
    assert other != first


def test_an_api_error_ends_the_command_with_its_answer_and_a_status(
    pool: Pool, live_server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    pool.is_open = False
    pool.save(update_fields=["is_open"])
    argv = ["manage.py", "simulate_labelers", "--pool=first", f"--url={live_server.url}"]
    with pytest.raises(SystemExit) as ended:
        Command().run_from_argv(argv)
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert "POST /api/v1/assignments/next/ was answered with 409 pool_closed" in told
    assert "This pool takes no work at present." in told
