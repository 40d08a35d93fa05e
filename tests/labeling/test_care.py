"""Topics, opting out, the day's limit, preferences and a labeler's own figures."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.db.models import F
from django.test import Client
from django.utils import timezone

from labeling import selectors, services
from labeling.models import (
    Adjudication,
    Assignment,
    Prompt,
    QualityFigure,
    QualityReport,
    Ranking,
    Topic,
    User,
)
from tests.browser.world import PASSWORD, make_labeler
from tests.conftest import as_lines, line, rank, submission, submit, take

pytestmark = pytest.mark.django_db


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def topic(name: str, *, is_sensitive: bool = True) -> Topic:
    found, _ = Topic.objects.get_or_create(name=name, defaults={"label": name.capitalize()})
    Topic.objects.filter(pk=found.pk).update(is_sensitive=is_sensitive)
    return found


@pytest.fixture
def mixed(make_pool):
    """A pool with three prompts on violence, then two on nothing that hurts."""
    topic("violence")
    pool = make_pool(tasks=0, overlap=2)
    lines = [line(f"fight {n}", topics=["Violence"]) for n in range(3)]
    lines += [line(f"cake {n}", topics=["baking"]) for n in range(2)]
    report = services.import_prompts(pool, as_lines(*lines))
    assert report.accepted == 5, report
    return pool


def prompt_of(task):
    return task["prompt"]["messages"][0]["content"]


# --- topics of an import --------------------------------------------------------------------------


def test_an_import_names_topics_and_unknown_ones_are_not_sensitive(mixed):
    assert Topic.objects.get(name="violence").prompts.count() == 3
    baking = Topic.objects.get(name="baking")
    assert (baking.label, baking.is_sensitive, baking.prompts.count()) == ("Baking", False, 2)


def test_topics_of_a_known_prompt_are_added_and_none_is_lost(mixed):
    again = line("fight 0", topics=["self_harm", "VIOLENCE"])
    report = services.import_prompts(mixed, as_lines(again))
    assert (report.duplicates, report.rejected) == (1, 0)
    prompt = Prompt.objects.get(messages__0__content="fight 0")
    assert set(prompt.topics.values_list("name", flat=True)) == {"violence", "self-harm"}


@pytest.mark.parametrize(
    "topics", ["violence", [""], [3], ["!?"], ["x" * 51], [str(n) for n in range(11)], {"a": 1}]
)
def test_topics_that_are_no_list_of_names_are_refused_with_their_line(make_pool, topics):
    pool = make_pool(tasks=0)
    report = services.import_prompts(pool, as_lines(line("ok"), line("bad", topics=topics)))
    assert (report.accepted, report.rejected) == (1, 1)
    assert report.errors[0]["line"] == 2
    assert "topic" in report.errors[0]["message"]


# --- leasing --------------------------------------------------------------------------------------


def test_who_opted_out_never_gets_such_a_prompt_and_others_do(cast, mixed):
    cast.ben.user.avoided_topics.add(Topic.objects.get(name="violence"))
    given = [prompt_of(take_and_rank(cast.ben, mixed)) for _ in range(2)]
    assert set(given) == {"cake 0", "cake 1"}
    assert cast.ben.post("assignments/next/", {"pool": mixed.pk}).status_code == 204
    assert prompt_of(take(cast.cho, mixed)).startswith("fight")


def take_and_rank(labeler, pool):
    task = take(labeler, pool)
    assert submit(labeler, task, submission(task)).status_code == 201
    return task


def test_topics_that_are_not_sensitive_may_be_avoided_too(cast, mixed):
    cast.ben.user.avoided_topics.add(Topic.objects.get(name="baking"))
    assert all(prompt_of(take_and_rank(cast.ben, mixed)).startswith("fight") for _ in range(3))
    assert cast.ben.post("assignments/next/", {"pool": mixed.pk}).status_code == 204


def test_what_is_in_hand_stays_in_hand(cast, mixed):
    task = take(cast.ben, mixed)
    cast.ben.user.avoided_topics.add(Topic.objects.get(name="violence"))
    assert take(cast.ben, mixed)["assignment"] == task["assignment"]


def test_the_limit_of_a_day_holds_and_ends_with_the_day(cast, mixed, settings):
    settings.DAILY_SENSITIVE_LIMIT = 2
    given = [prompt_of(take_and_rank(cast.ben, mixed)) for _ in range(4)]
    assert [p.startswith("fight") for p in given] == [True, True, False, False]
    assert cast.ben.post("assignments/next/", {"pool": mixed.pk}).status_code == 204
    Assignment.objects.update(created_at=F("created_at") - timedelta(days=1))
    assert prompt_of(take(cast.ben, mixed)).startswith("fight")


def test_ones_own_limit_is_the_lower_one(cast, mixed, settings):
    settings.DAILY_SENSITIVE_LIMIT = 2
    for own, common in [(None, 2), (1, 1), (5, 2), (0, 0)]:
        cast.ben.user.daily_sensitive_limit = own
        assert selectors.sensitive_limit(cast.ben.user) == common
    cast.ben.user.save()
    assert prompt_of(take(cast.ben, mixed)).startswith("cake")


def test_prompts_to_write_for_follow_the_same_choice(cast, mixed):
    cast.ben.user.avoided_topics.add(Topic.objects.get(name="violence"))
    answer = cast.ben.post("demonstrations/next/", {"pool": mixed.pk})
    assert answer.json()["prompt"]["messages"][0]["content"].startswith("cake")
    assert answer.json()["warnings"] == []
    warned = cast.cho.post("demonstrations/next/", {"pool": mixed.pk})
    assert warned.json()["warnings"] == ["Violence"]


# --- the veil -------------------------------------------------------------------------------------


def test_sensitive_texts_are_folded_and_tell_nothing_before(cast, mixed):
    task = take(cast.ben, mixed)
    assert task["warnings"] == ["Violence"]
    html = signed_in(cast.ben.user).get(f"/assignments/{task['assignment']}/").content.decode()
    assert html.count('<details class="veil"') == 5
    outside = html
    while '<details class="veil"' in outside:
        start = outside.index('<details class="veil"')
        outside = outside[:start] + outside[outside.index("</details>", start) :]
    assert "fight 0: answer" not in outside
    assert ">fight 0<" not in outside


def test_other_texts_are_not_folded(cast, mixed):
    cast.ben.user.avoided_topics.add(Topic.objects.get(name="violence"))
    task = take(cast.ben, mixed)
    html = signed_in(cast.ben.user).get(f"/assignments/{task['assignment']}/").content.decode()
    assert "data-veil" not in html


# --- preferences ----------------------------------------------------------------------------------


def preferences(client, **changes):
    body = {"theme": "dark", "view": "markdown", "break_minutes": "45"} | changes
    return client.post("/preferences/", body)


def test_preferences_are_stored_and_shown(client):
    user = make_labeler()
    client.login(username=user.username, password=PASSWORD)
    hate = topic("hate")
    answer = preferences(client, avoided_topics=[hate.pk], daily_sensitive_limit="3")
    assert answer.status_code == 302
    user.refresh_from_db()
    assert (user.break_minutes, user.daily_sensitive_limit) == (45, 3)
    assert list(user.avoided_topics.all()) == [hate]
    assert client.cookies["theme"].value == "dark"
    assert client.cookies["view"].value == "markdown"
    html = client.get("/preferences/").content.decode()
    assert 'data-theme="dark"' in html
    assert 'data-breaks="45"' in html
    assert 'value="3"' in html
    # The choices of the account are taken back like this; the system's colours too.
    assert preferences(client, theme="", break_minutes="0").status_code == 302
    user.refresh_from_db()
    assert (user.break_minutes, user.daily_sensitive_limit) == (0, None)
    assert not user.avoided_topics.exists()
    html = client.get("/preferences/").content.decode()
    assert "data-breaks" not in html
    assert 'data-theme=""' in html


@pytest.mark.parametrize(
    "change",
    [
        {"daily_sensitive_limit": "-1"}, {"daily_sensitive_limit": "9999"}, {"theme": "pink"},
        {"break_minutes": "7"}, {"view": "raw"}, {"avoided_topics": ["999999"]},
    ],
)  # fmt: skip
def test_what_cannot_be_chosen_is_refused_and_nothing_is_stored(client, change):
    user = make_labeler()
    client.login(username=user.username, password=PASSWORD)
    answer = preferences(client, **change)
    assert answer.status_code == 422
    assert "field-error" in answer.content.decode()
    user.refresh_from_db()
    assert (user.break_minutes, user.daily_sensitive_limit) == (60, None)


def test_preferences_are_for_who_is_signed_in(client):
    for path in ("/preferences/", "/me/"):
        assert client.get(path).headers["Location"].startswith("/login/")


# --- own figures ----------------------------------------------------------------------------------


def test_done_pace_and_late_are_ones_own(cast, make_pool):
    pool = make_pool(tasks=6, overlap=2)
    for _ in range(6):
        rank(cast.ben, pool)
    rank(cast.cho, pool)
    own = Ranking.objects.filter(labeler=cast.ben.user).order_by("pk")
    own.filter(pk=own[0].pk).update(status="late", created_at=timezone.now() - timedelta(days=3))
    own.filter(pk=own[1].pk).update(
        status="control", created_at=timezone.now() - timedelta(days=30)
    )
    now = timezone.now()
    for minutes, ranking in enumerate(own, start=1):
        seen = ranking.created_at - timedelta(minutes=minutes)
        Assignment.objects.filter(pk=ranking.assignment_id).update(
            shown_at=seen, created_at=now - timedelta(days=40)
        )
    figures = selectors.statistics_of(cast.ben.user)
    assert figures.rankings == (4, 5, 6)
    # A control task counts for its labeler as any other does: nothing tells which it was.
    assert (figures.counted, figures.late) == (5, 1)
    assert figures.pace == pytest.approx(3.5)
    assert (figures.agreement, figures.adjudicated) == (None, None)
    assert len(figures.history) == 28
    assert figures.history[-1] == (timezone.localdate(), 4)
    assert sum(count for _, count in figures.history) == 5
    assert selectors.statistics_of(cast.cho.user).rankings == (1, 1, 1)
    assert selectors.statistics_of(cast.cho.user).pace is None


def agreement_figure(pool, user, value, tasks, count=120):
    report, _ = QualityReport.objects.get_or_create(pool=pool)
    QualityFigure.objects.create(
        report=report, population="people", labeler=user, name="pairwise_agreement",
        value=value, tasks=tasks, count=count,
    )  # fmt: skip


def test_agreement_is_told_in_steps_and_only_over_enough_tasks(cast, make_pool):
    first, second = make_pool(tasks=0), make_pool(tasks=0)
    agreement_figure(first, cast.ben.user, 0.72, tasks=19)
    assert selectors.statistics_of(cast.ben.user).agreement is None
    agreement_figure(second, cast.ben.user, 0.84, tasks=1, count=120)
    assert selectors.statistics_of(cast.ben.user).agreement == 80
    assert selectors.statistics_of(cast.cho.user).agreement is None


def test_agreement_with_reviewers_counts_pairs_and_needs_enough_tasks(cast, make_pool):
    pool = make_pool(tasks=5)
    for n in range(5):
        rank(cast.ben, pool)
        assert selectors.statistics_of(cast.ben.user).adjudicated is None
        decide(Ranking.objects.order_by("-pk").first(), cast.rob.user, reverse=n == 0)
    figures = selectors.statistics_of(cast.ben.user)
    assert (figures.adjudications, figures.adjudicated) == (5, 80)


def decide(ranking, reviewer, *, reverse):
    decision = Adjudication.objects.create(task=ranking.task, reviewer=reviewer, reason="so")
    for item in ranking.items.all():
        rank_ = 5 - item.rank if reverse else item.rank
        decision.items.create(completion=item.completion, rank=rank_)


def test_the_page_and_the_api_tell_the_same_and_nobody_else(cast, make_pool):
    pool = make_pool(tasks=2, overlap=2)
    rank(cast.ben, pool)
    rank(cast.cho, pool)
    html = signed_in(cast.ben.user).get("/me/").content.decode()
    assert "cho" not in html
    body = cast.ben.get("me/")
    assert body.json()["rankings"] == {"today": 1, "week": 1, "ever": 1}
    assert body.json()["agreement_percent"] is None
    assert "cho" not in json.dumps(body.json())


def test_the_chart_is_drawn_without_style_and_told_as_a_table(cast, make_pool):
    pool = make_pool(tasks=2)
    rank(cast.ben, pool)
    html = signed_in(cast.ben.user).get("/me/").content.decode()
    assert html.count("<rect ") == 1
    assert "style=" not in html
    assert "1 in all" in html
    assert '<th scope="row">' in html
