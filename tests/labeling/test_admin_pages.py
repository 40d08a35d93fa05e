"""The admin over pools and records: who gets in, what shows, what is never written here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from labeling import services
from labeling.models import (
    Assignment,
    Comparison,
    Demonstration,
    Pool,
    Prompt,
    Ranking,
    Task,
    User,
    Writing,
)
from tests.conftest import Cast, as_lines, rank, submission, submit, take

RECORDS = [Task, Ranking, Comparison, Demonstration, Assignment, Writing]


@pytest.fixture
def studio(cast: Cast) -> Client:
    client = Client()
    client.force_login(cast.ada.user)
    return client


@pytest.fixture
def ranked(cast: Cast, make_pool: Callable[..., Pool]) -> Pool:
    """A pool with one of two tasks ranked, a demonstration, and a prompt handed out for another."""
    pool = make_pool(tasks=2, guidelines="Be kind.")
    services.import_prompts(pool, as_lines({"prompt": "demo?", "reference": "A reference answer."}))
    rank(cast.ben, pool, [1, 1, 2, 3])
    cast.cho.post("demonstrations/next/", {"pool": pool.pk})
    return pool


def page(model: Any, name: str = "changelist", *args: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{name}", args=args)


def lists() -> list[str]:
    return [page(model) for model in admin.site._registry]


def test_an_admin_sees_every_list_and_every_record(studio: Client, ranked: Pool) -> None:
    for model in admin.site._registry:
        answer = studio.get(page(model))
        assert answer.status_code == 200, model
        for record in model.objects.all()[:2]:
            assert studio.get(page(model, "change", record.pk)).status_code == 200, record


@pytest.mark.parametrize("who", ["ben", "rob"])
def test_labelers_and_reviewers_are_kept_out(cast: Cast, ranked: Pool, who: str) -> None:
    client = Client()
    client.force_login(getattr(cast, who).user)
    addresses = [
        *lists(),
        reverse("admin:index"),
        page(Pool, "import_prompts", ranked.pk),
        page(Pool, "change", ranked.pk),
    ]
    for address in addresses:
        answer = client.get(address)
        assert answer.status_code == 302, address
        assert answer["Location"].startswith("/admin/login/")
        assert client.post(address, {}).status_code in (302, 403)


@pytest.mark.parametrize("model", RECORDS)
def test_records_cannot_be_added_changed_or_deleted(
    studio: Client, ranked: Pool, model: Any
) -> None:
    record = model.objects.first()
    assert studio.get(page(model, "add")).status_code == 403
    assert studio.post(page(model, "add"), {}).status_code == 403
    assert studio.post(page(model, "change", record.pk), {"status": "late"}).status_code == 403
    assert studio.post(page(model, "delete", record.pk), {"post": "yes"}).status_code == 403
    bulk = {"action": "delete_selected", "_selected_action": [record.pk], "post": "yes"}
    studio.post(page(model), bulk)
    assert model.objects.filter(pk=record.pk).exists()


@pytest.mark.parametrize("model", [Pool, Prompt, Task, Assignment, Ranking, Comparison, User])
def test_a_list_asks_as_many_queries_for_many_rows_as_for_few(
    studio: Client, cast: Cast, make_pool: Callable[..., Pool], model: Any
) -> None:
    def queries(pools: int) -> int:
        for _ in range(pools):
            pool = make_pool(tasks=2, overlap=2)
            for labeler in (cast.ben, cast.cho, cast.ben, cast.cho):
                rank(labeler, pool)
        with CaptureQueriesContext(connection) as captured:
            assert studio.get(page(model)).status_code == 200
        return len(captured)

    few = queries(pools=1)
    assert queries(pools=4) == few
    assert few <= 12


# --- tasks, rankings, comparisons -----------------------------------------------------------------


def test_a_task_tells_the_admin_which_model_wrote_what(studio: Client, ranked: Pool) -> None:
    html = studio.get(page(Task, "change", Task.objects.first().pk)).content.decode()
    assert "model-0" in html
    assert "model-3" in html
    assert "prompt 0: answer 2" in html
    assert ">ben<" in html


def test_completions_are_shown_as_text(studio: Client, make_pool: Callable[..., Pool]) -> None:
    pool = make_pool(tasks=0)
    hostile = "<script>alert(1)</script>"
    texts = [{"text": f"{hostile}{n}"} for n in range(4)]
    services.import_prompts(pool, as_lines({"prompt": hostile, "completions": texts}))
    for address in (page(Task), page(Task, "change", Task.objects.last().pk), page(Prompt)):
        html = studio.get(address).content.decode()
        assert hostile not in html
        assert "&lt;script&gt;alert(1)" in html


def test_late_work_can_be_found(studio: Client, cast: Cast, make_pool: Callable[..., Pool]) -> None:
    from labeling.models import Slot

    pool = make_pool(tasks=1)
    task = take(cast.ben, pool)
    Slot.objects.update(lease_until="2020-01-01T00:00:00Z")
    rank(cast.cho, pool)
    assert submit(cast.ben, task, submission(task)).json()["status"] == "late"
    html = studio.get(page(Ranking), {"status__exact": "late"}).content.decode()
    assert "ben" in html
    assert page(Ranking, "change", Ranking.objects.get(labeler=cast.cho.user).pk) not in html


def test_a_ranking_leads_to_its_comparisons(studio: Client, ranked: Pool) -> None:
    ranking = Ranking.objects.get()
    html = studio.get(page(Ranking, "change", ranking.pk)).content.decode()
    assert "6 comparisons" in html
    answer = studio.get(page(Comparison), {"ranking__id__exact": ranking.pk})
    assert answer.context["cl"].result_count == 6


def test_prompts_are_found_by_text_also_beyond_ascii(
    studio: Client, make_pool: Callable[..., Pool]
) -> None:
    pool = make_pool(tasks=2)
    services.import_prompts(pool, as_lines({"prompt": "Schöne Grüße, bitte"}))
    assert studio.get(page(Prompt), {"q": "bitte schöne"}).context["cl"].result_count == 1
    assert studio.get(page(Prompt), {"q": "Grüße"}).context["cl"].result_count == 1
    assert studio.get(page(Prompt), {"q": "prompt 1"}).context["cl"].result_count == 1


# --- pools ----------------------------------------------------------------------------------------


def pool_body(**changes: Any) -> dict[str, Any]:
    return {
        "name": "new pool",
        "is_open": "on",
        "completions_per_prompt": 4,
        "overlap": 2,
        "lease_seconds": 600,
        "edit_minutes": 30,
        "sampler": "",
        "temperature": 1,
        "top_p": 1,
        "max_new_tokens": 64,
        "qualification_threshold": 0.75,
        "qualification_attempts": 2,
        "qualification_test_size": 0,
        "control_share": 0,
        "control_threshold": 0.7,
        "guidelines": "",
        **changes,
    }


def test_a_pool_is_made_with_its_guidelines(studio: Client) -> None:
    body = pool_body(guidelines="Be honest.\r\nBe kind.")
    answer = studio.post(page(Pool, "add"), body)
    assert answer.status_code == 302, answer.context["errors"]
    pool = Pool.objects.get(name="new pool")
    assert pool.overlap == 2
    version = pool.guideline_versions.get()
    assert (version.number, version.text) == (1, "Be honest.\nBe kind.")


def test_a_changed_setting_leaves_guidelines_and_rubric_as_they_are(
    studio: Client, ranked: Pool
) -> None:
    address = page(Pool, "change", ranked.pk)
    assert studio.post(address, pool_body(name=ranked.name, overlap=3)).status_code == 302
    ranked.refresh_from_db()
    assert ranked.overlap == 3
    assert ranked.guideline_versions.count() == ranked.rubric_versions.count() == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("completions_per_prompt", 3),
        ("completions_per_prompt", 10),
        ("overlap", 0),
        ("temperature", "hot"),
        ("control_share", 0.9),
        ("qualification_threshold", 2),
        ("name", ""),
    ],
)
def test_an_unusable_setting_is_told_beside_its_field(
    studio: Client, field: str, value: Any
) -> None:
    answer = studio.post(page(Pool, "add"), pool_body(**{field: value}))
    assert answer.status_code == 200
    assert field in answer.context["adminform"].form.errors
    assert not Pool.objects.filter(name="new pool").exists()


def test_a_name_taken_meanwhile_is_told_beside_the_name(
    studio: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from labeling.errors import NameTaken

    def refuse(**_: Any) -> None:
        raise NameTaken(field="name")

    monkeypatch.setattr(services, "create_pool", refuse)
    answer = studio.post(page(Pool, "add"), pool_body(guidelines="kept text"))
    assert answer.status_code == 200
    assert answer.context["adminform"].form.errors["name"] == ["This name is already in use."]
    assert "kept text" in answer.content.decode()


def test_the_pool_page_links_its_exports(studio: Client, ranked: Pool) -> None:
    html = studio.get(page(Pool, "change", ranked.pk)).content.decode()
    address = f"/api/v1/pools/{ranked.pk}/export/?kind=comparisons&amp;format=jsonl"
    assert address in html
    answer = studio.get(address.replace("&amp;", "&"))
    assert answer.status_code == 200
    assert len(b"".join(answer.streaming_content).splitlines()) == 6


@pytest.mark.parametrize("bulk", [False, True])
def test_a_pool_in_use_is_not_deleted_and_says_why(
    studio: Client, ranked: Pool, bulk: bool
) -> None:
    if bulk:
        body = {"action": "delete_selected", "_selected_action": [ranked.pk], "post": "yes"}
        answer = studio.post(page(Pool), body)
    else:
        answer = studio.post(page(Pool, "delete", ranked.pk), {"post": "yes"})
    assert answer.status_code == 200
    html = answer.content.decode()
    assert "1 ranking" in html
    assert "1 demonstration" in html
    assert Pool.objects.filter(pk=ranked.pk).exists()


def test_a_prompt_in_use_is_not_deleted(studio: Client, ranked: Pool) -> None:
    prompt = Ranking.objects.get().task.prompt
    answer = studio.post(page(Prompt, "delete", prompt.pk), {"post": "yes"})
    assert answer.status_code == 200
    assert Prompt.objects.filter(pk=prompt.pk).exists()


def test_a_draft_keeps_its_pool_from_deletion(studio: Client, cast: Cast, pool: Pool) -> None:
    take(cast.ben, pool)
    studio.post(page(Pool, "delete", pool.pk), {"post": "yes"})
    assert Pool.objects.filter(pk=pool.pk).exists()


def test_a_prompt_that_somebody_is_writing_for_is_not_deleted(
    studio: Client, cast: Cast, pool: Pool
) -> None:
    cast.ben.post("demonstrations/next/", {"pool": pool.pk})
    prompt = Writing.objects.get().prompt
    for record in (prompt, pool):
        answer = studio.post(page(type(record), "delete", record.pk), {"post": "yes"})
        assert "1 writing" in answer.content.decode()
    assert Prompt.objects.filter(pk=prompt.pk).exists()


def test_what_nobody_worked_on_can_be_deleted(studio: Client, pool: Pool) -> None:
    assert studio.get(page(Pool, "delete", pool.pk)).status_code == 200
    prompt = pool.prompts.first()
    assert studio.post(page(Prompt, "delete", prompt.pk), {"post": "yes"}).status_code == 302
    assert studio.post(page(Pool, "delete", pool.pk), {"post": "yes"}).status_code == 302
    assert not Pool.objects.filter(pk=pool.pk).exists()


def test_work_begun_during_a_deletion_stops_it_without_a_crash(
    studio: Client, ranked: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from labeling.admin.base import CarefulDeletion

    monkeypatch.setattr(CarefulDeletion, "_uses", lambda self: [])
    answer = studio.post(page(Pool, "delete", ranked.pk), {"post": "yes"}, follow=True)
    assert "Nothing was deleted" in answer.content.decode()
    assert Ranking.objects.count() == 1
    body = {"action": "delete_selected", "_selected_action": [ranked.pk], "post": "yes"}
    answer = studio.post(page(Pool), body, follow=True)
    assert "Nothing was deleted" in answer.content.decode()
