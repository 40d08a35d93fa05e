"""``manage.py simulate_labelers`` against a server that runs, with the database of the test."""

import io
import json
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from labeling.models import Comparison, Pool, Ranking, User
from labeling.services import create_pool, create_user, import_prompts, issue_token
from training.jobs.world import FLAWS, draw_tasks

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
    options = {"pool": "first", "labelers": 2, "rankings": 8, "concurrency": 1} | options
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


def test_a_pool_that_does_not_exist_is_a_clear_error(live_server: Any) -> None:
    with pytest.raises(CommandError, match=r"no pool .nowhere."):
        simulate(live_server.url, pool="nowhere")


def test_no_server_is_a_clear_error_and_makes_no_accounts() -> None:
    with pytest.raises(CommandError, match="no server answers"):
        simulate("http://127.0.0.1:9")
    assert not User.objects.exists()


@pytest.mark.parametrize(
    "option", ["--noise=0.7", "--noise=x", "--labelers=0", "--rankings=-1", "--concurrency=two"]
)
def test_options_out_of_range_are_refused(option: str) -> None:
    with pytest.raises(CommandError):
        call_command("simulate_labelers", "--pool=first", option)
