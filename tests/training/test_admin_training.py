"""The admin over runs and models: start, watch, cancel, promote."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from labeling.models import Pool, Round
from tests.conftest import Cast, caller, rank
from training import lifecycle, services
from training.jobs.events import Event
from training.models import ModelVersion, Promotion, Run, RunEvent

ADD = "admin:training_run_add"


@pytest.fixture
def studio(cast: Cast) -> Client:
    client = Client()
    client.force_login(cast.ada.user)
    return client


@pytest.fixture
def starter(db: None, tmp_path: Path, settings: Any) -> ModelVersion:
    (tmp_path / "config.json").write_text("{}")
    settings.PODIUM_MODEL = str(tmp_path)
    return services.ensure_first_policy()


def model(name: str, parent: ModelVersion, kind: str = "policy", **more: Any) -> ModelVersion:
    return ModelVersion.objects.create(
        name=name, kind=kind, digest=f"{name:0<64}", parent=parent, round=parent.round, **more
    )


@pytest.fixture
def reward_run(cast: Cast, starter: ModelVersion, make_pool: Callable[..., Pool]) -> Run:
    """A queued reward run on a pool with one ranking."""
    pool = make_pool(tasks=1)
    rank(cast.ben, pool)
    return services.start_run(cast.ada.user, kind="reward", pool=pool)


def running(run: Run, events: int = 0) -> Run:
    claimed = lifecycle.claim(run.queue)
    assert claimed is not None
    assert claimed.pk == run.pk
    told = [
        Event(
            phase="train",
            step=step,
            total=events,
            metrics={"accuracy": 0.5 + step / 1000, "loss": 1 / (step + 1)},
            time=datetime(2026, 1, 1, tzinfo=UTC).timestamp() + step,
        )
        for step in range(1, events + 1)
    ]
    lifecycle.record_events(claimed, 0, told)
    return claimed


def change(record: Any) -> str:
    meta = record._meta
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[record.pk])


def run_body(**changes: Any) -> dict[str, Any]:
    return {
        "kind": "reward",
        "pool": "",
        "model": "",
        "reward_model": "",
        "labelers": "people",
        "seed": 0,
        "params": "{}",
        **changes,
    }


@pytest.mark.parametrize("record", [Run, ModelVersion, Round])
def test_pages_render_for_an_admin_alone(
    studio: Client, cast: Cast, reward_run: Run, record: Any
) -> None:
    one = record.objects.first()
    listed = reverse(f"admin:{one._meta.app_label}_{one._meta.model_name}_changelist")
    outsider = Client()
    outsider.force_login(cast.ben.user)
    for address in (listed, change(one), reverse("admin:index")):
        assert studio.get(address).status_code == 200
        assert outsider.get(address).status_code == 302


@pytest.mark.parametrize("record", [Run, ModelVersion])
def test_a_list_asks_as_many_queries_for_many_rows_as_for_few(
    studio: Client, cast: Cast, starter: ModelVersion, make_pool: Callable[..., Pool], record: Any
) -> None:
    def queries(runs: int) -> int:
        for _ in range(runs):
            pool = make_pool(tasks=1)
            rank(cast.ben, pool)
            run = services.start_run(cast.ada.user, kind="reward", pool=pool)
            made = model(f"reward-{run.pk}", starter, "reward")
            Run.objects.filter(pk=run.pk).update(state="succeeded", made=made)
        with CaptureQueriesContext(connection) as captured:
            studio.get(reverse(f"admin:training_{record._meta.model_name}_changelist"))
        return len(captured)

    few = queries(1)
    assert queries(5) == few
    assert few <= 12


# --- start ----------------------------------------------------------------------------------------


def test_the_start_page_is_prefilled_by_its_address(
    studio: Client, starter: ModelVersion, pool: Pool
) -> None:
    answer = studio.get(reverse("admin:labeling_pool_start_run", args=[pool.pk]))
    form = studio.get(answer["Location"]).context["form"]
    assert (form["pool"].value(), form["kind"].value()) == (str(pool.pk), "reward")


def test_the_start_page_names_every_parameter_with_its_default(
    studio: Client, starter: ModelVersion
) -> None:
    html = studio.get(reverse(ADD)).content.decode()
    for name in ("kl_coef", "gae_lambda", "validation_share", "beta", "batch_prompts"):
        assert f"<code>{name}</code>" in html


def test_a_run_is_started(studio: Client, cast: Cast, starter: ModelVersion, pool: Pool) -> None:
    rank(cast.ben, pool)
    body = run_body(pool=pool.pk, seed=7, params='{"epochs": 2}')
    answer = studio.post(reverse(ADD), body)
    run = Run.objects.get()
    assert answer["Location"] == change(run)
    assert (run.kind, run.pool, run.seed, run.created_by) == ("reward", pool, 7, cast.ada.user)
    assert run.params["epochs"] == 2
    assert run.labelers == "people"


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"params": '{"epochs": 2000}'}, "params", "0.01..100"),
        ({"params": '{"speed": 1}'}, "params", "unknown for a reward run"),
        ({"params": "[1]"}, "params", "object"),
        ({"params": "{"}, "params", "JSON"),
        ({"kind": "sample", "params": "{}"}, "pool", "needs a pool"),
        ({"kind": "sft"}, "pool", "no demonstrations"),
        ({}, "pool", "no comparisons"),
        ({"kind": "ppo", "params": "{}"}, "reward_model", "reward run first"),
        ({"kind": "teleport"}, "kind", "valid choice"),
        ({"seed": -1}, "seed", "0"),
        ({"model": 4711}, "model", "valid choice"),
    ],
)
def test_a_refused_run_says_why_beside_the_field_and_keeps_what_was_typed(
    studio: Client, starter: ModelVersion, pool: Pool, body: dict[str, Any], field: str, words: str
) -> None:
    answer = studio.post(reverse(ADD), run_body(**{"params": '{"epochs": 1.25}', **body}))
    assert answer.status_code == 422
    form = answer.context["form"]
    assert words in " ".join(form.errors[field])
    assert list(form.errors) == [field]
    assert form["params"].value() == body.get("params", '{"epochs": 1.25}')
    assert not Run.objects.exists()


def test_where_only_simulated_labelers_ranked_the_page_says_how_to_ask_for_them(
    studio: Client, cast: Cast, starter: ModelVersion, pool: Pool
) -> None:
    rank(caller("robot", "labeler", is_simulated=True), pool)
    page = studio.get(reverse(ADD), {"pool": pool.pk, "kind": "reward"})
    assert page.context["form"]["labelers"].value() in (None, "people")
    choices = [value for value, _ in page.context["form"].fields["labelers"].choices]
    assert choices == ["people", "simulated", "all"]
    refused = studio.post(reverse(ADD), run_body(pool=pool.pk))
    assert refused.status_code == 422
    assert list(refused.context["form"].errors) == ["labelers"]
    assert "set labelers to simulated" in refused.context["form"].errors["labelers"][0]
    assert not Run.objects.exists()
    studio.post(reverse(ADD), run_body(pool=pool.pk, labelers="simulated"))
    assert Run.objects.get().labelers == "simulated"


def test_a_reward_model_for_a_run_that_takes_none_is_told_beside_it(
    studio: Client, cast: Cast, starter: ModelVersion, pool: Pool
) -> None:
    rank(cast.ben, pool)
    reward = model("r", starter, "reward")
    answer = studio.post(reverse(ADD), run_body(reward_model=reward.pk))
    assert "takes no reward model" in answer.context["form"].errors["reward_model"][0]


def test_a_sampler_that_is_gone_is_told_beside_the_model(
    studio: Client, starter: ModelVersion, pool: Pool
) -> None:
    Pool.objects.update(sampler="gone")
    answer = studio.post(reverse(ADD), run_body(kind="sample", pool=pool.pk))
    assert "gone" in answer.context["form"].errors["model"][0]


def test_a_twin_is_refused_above_the_form(studio: Client, reward_run: Run) -> None:
    answer = studio.post(reverse(ADD), run_body(pool=reward_run.pool_id))
    assert f"Run {reward_run.pk}" in answer.context["form"].non_field_errors()[0]


def test_a_run_can_be_started_again_with_its_settings(studio: Client, reward_run: Run) -> None:
    address = reverse("admin:training_run_again", args=[reward_run.pk])
    form = studio.get(address).context["form"]
    assert form["pool"].value() == reward_run.pool_id
    assert json.loads(form["params"].value()) == reward_run.params
    lifecycle.request_cancel(reward_run)
    body = run_body(pool=reward_run.pool_id, params=json.dumps(reward_run.params))
    studio.post(address, body)
    assert Run.objects.latest("pk").params == reward_run.params


def test_completions_are_sampled_from_the_pool_page(
    studio: Client, starter: ModelVersion, make_pool: Callable[..., Pool]
) -> None:
    from labeling.services import import_prompts

    pool = make_pool(tasks=0)
    address = reverse("admin:labeling_pool_sample", args=[pool.pk])
    assert studio.get(address).status_code == 200
    assert not Run.objects.exists()
    refused = studio.post(address)
    assert refused.status_code == 422
    assert "import some first" in refused.content.decode()
    import_prompts(pool, [b'{"prompt": "one"}\n'])
    assert studio.post(address)["Location"] == change(Run.objects.get(kind="sample"))


# --- watch ----------------------------------------------------------------------------------------


def test_a_running_run_shows_progress_metrics_curves_and_its_last_hundred_events(
    studio: Client, reward_run: Run
) -> None:
    running(reward_run, events=150)
    answer = studio.get(change(reward_run))
    html = answer.content.decode()
    assert "every 3s" in html
    assert "accuracy 0.65" in html
    assert html.count("<polyline") == 2
    assert len(answer.context["events"]) == 100
    assert answer.context["events"][0][0].number == RunEvent.objects.count() - 1
    assert dict(answer.context["metrics"])["accuracy"] == "0.65"


def test_the_panel_reloads_the_page_once_the_run_has_ended(studio: Client, reward_run: Run) -> None:
    claimed = running(reward_run, events=2)
    asked = studio.get(change(reward_run), headers={"HX-Request": "true"})
    assert "HX-Refresh" not in asked
    lifecycle.succeed(claimed, {"accuracy": 0.7})
    asked = studio.get(change(reward_run), headers={"HX-Request": "true"})
    assert asked["HX-Refresh"] == "true"
    html = studio.get(change(reward_run)).content.decode()
    assert "every 3s" not in html
    assert "HX-Refresh" not in studio.get(change(reward_run))


def test_a_failed_run_shows_the_end_of_its_log_as_text(studio: Client, reward_run: Run) -> None:
    lifecycle.fail(running(reward_run), "exit 1\n<b>CUDA out of memory</b>")
    html = studio.get(change(reward_run)).content.decode()
    assert "&lt;b&gt;CUDA out of memory" in html


def test_a_run_leads_to_the_model_it_made(
    studio: Client, starter: ModelVersion, reward_run: Run
) -> None:
    made = model("reward-1", starter, "reward", metrics={"accuracy": 0.71})
    lifecycle.succeed(running(reward_run), {"accuracy": 0.71}, made=made)
    assert change(made) in studio.get(change(reward_run)).content.decode()
    html = studio.get(change(made)).content.decode()
    assert change(reward_run) in html
    assert "0.71" in html


def test_runs_and_events_are_not_changed_or_deleted_here(studio: Client, reward_run: Run) -> None:
    assert studio.post(change(reward_run), {"state": "succeeded"}).status_code == 403
    delete = reverse("admin:training_run_delete", args=[reward_run.pk])
    assert studio.post(delete, {"post": "yes"}).status_code == 403
    assert RunEvent not in admin.site._registry
    assert Run.objects.get(pk=reward_run.pk).state == "queued"


# --- cancel ---------------------------------------------------------------------------------------


def test_cancelling_asks_first(studio: Client, reward_run: Run) -> None:
    address = reverse("admin:training_run_cancel", args=[reward_run.pk])
    assert studio.get(address).status_code == 200
    reward_run.refresh_from_db()
    assert reward_run.state == "queued"
    assert studio.post(address).status_code == 302
    reward_run.refresh_from_db()
    assert reward_run.state == "cancelled"


def test_a_running_run_is_asked_to_stop(studio: Client, reward_run: Run) -> None:
    running(reward_run)
    studio.post(reverse("admin:training_run_cancel", args=[reward_run.pk]))
    reward_run.refresh_from_db()
    assert (reward_run.state, reward_run.cancel_requested) == ("running", True)
    assert "stopping" in studio.get(change(reward_run)).content.decode()


def test_an_ended_run_cannot_be_cancelled(studio: Client, reward_run: Run) -> None:
    lifecycle.succeed(running(reward_run), {})
    address = reverse("admin:training_run_cancel", args=[reward_run.pk])
    assert address not in studio.get(change(reward_run)).content.decode()
    for ask in (studio.get, studio.post):
        assert "already ended" in ask(address, follow=True).content.decode()
    reward_run.refresh_from_db()
    assert reward_run.state == "succeeded"


# --- models ---------------------------------------------------------------------------------------


def test_promoting_asks_first_and_opens_a_round(
    studio: Client, cast: Cast, starter: ModelVersion
) -> None:
    better = model("ppo-1", starter)
    address = reverse("admin:training_modelversion_promote", args=[better.pk])
    assert starter.name in studio.get(address).content.decode()
    assert Promotion.objects.count() == 1
    assert studio.post(address)["Location"] == change(better)
    promotion = Promotion.objects.latest("round")
    assert (promotion.model, promotion.round_id, promotion.promoted_by) == (
        better,
        2,
        cast.ada.user,
    )
    listed = studio.get(reverse("admin:training_modelversion_changelist")).content.decode()
    assert listed.count("promoted\n</span>") == 1


@pytest.mark.parametrize("which", ["reward", "current"])
def test_what_cannot_be_promoted_has_no_button_and_is_refused(
    studio: Client, starter: ModelVersion, which: str
) -> None:
    chosen = model("r", starter, "reward") if which == "reward" else starter
    address = reverse("admin:training_modelversion_promote", args=[chosen.pk])
    assert address not in studio.get(change(chosen)).content.decode()
    answer = studio.post(address)
    assert answer.status_code == 422
    assert answer.context["form"].non_field_errors()
    assert Promotion.objects.count() == 1


def test_a_promotion_refused_meanwhile_says_why(
    studio: Client, starter: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.errors import NotPromotable

    def refuse(*_: Any) -> None:
        raise NotPromotable("Somebody was faster.")

    monkeypatch.setattr(services, "promote_model", refuse)
    address = reverse("admin:training_modelversion_promote", args=[model("ppo-1", starter).pk])
    answer = studio.post(address)
    assert answer.status_code == 422
    assert "Somebody was faster." in answer.content.decode()


def test_a_model_shows_what_it_was_made_from_the_oldest_first(
    studio: Client, starter: ModelVersion
) -> None:
    middle = model("sft-1", starter)
    last = model("ppo-2", middle)
    answer = studio.get(change(middle))
    assert answer.context["lineage"] == [starter, middle]
    assert answer.context["children"] == [last]


def test_a_model_from_outside_is_registered(studio: Client, starter: ModelVersion) -> None:
    address = reverse("admin:training_modelversion_add")
    refused = studio.post(address, {"reference": "no such place"})
    assert refused.status_code == 422
    assert "reference" in refused.context["form"].errors
    studio.post(address, {"reference": "org/model"})
    assert ModelVersion.objects.get(reference="org/model").kind == "policy"


def test_the_pool_form_offers_the_policies_as_samplers(
    studio: Client, starter: ModelVersion, pool: Pool
) -> None:
    model("r", starter, "reward")
    form = studio.get(change(pool)).context["adminform"].form
    assert [value for value, _ in form.fields["sampler"].choices] == ["", starter.name]


# --- overview -------------------------------------------------------------------------------------


def test_the_overview_says_what_comes_next(
    studio: Client, cast: Cast, starter: ModelVersion, make_pool: Callable[..., Pool]
) -> None:
    def next_station() -> str:
        context = studio.get(reverse("admin:index")).context
        return context["next"].name if context["next"] else ""

    assert next_station() == "Prompts"
    pool = make_pool(tasks=1)
    assert next_station() == "Ranking"
    rank(cast.ben, pool)
    assert next_station() == "Reward model"
    run = services.start_run(cast.ada.user, kind="reward", pool=pool)
    assert next_station() == ""
    reward = model("reward-1", starter, "reward")
    lifecycle.succeed(running(run), {}, made=reward)
    assert next_station() == "Policy"
    policy = model("ppo-1", starter, reward_model=reward)
    assert next_station() == "Promotion"
    ModelVersion.objects.filter(pk=policy.pk).update(
        created_at=policy.created_at + timedelta(seconds=1)
    )
    services.promote_model(cast.ada.user, policy)
    assert next_station() == "Sampling"
