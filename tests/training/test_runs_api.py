"""Runs over the API: what is refused when it is created, and what can be read of it."""

from pathlib import Path

import pytest

from labeling import services as labeling_services
from labeling.models import Completion, Demonstration, Pool
from tests.conftest import as_lines, caller, error_code, rank
from training import lifecycle, selectors, services, snapshots
from training.errors import NoTrainingData
from training.jobs.events import Event
from training.jobs.folder import JobFolder
from training.models import ModelVersion, Run

pytestmark = pytest.mark.django_db


@pytest.fixture
def ranked(cast, make_pool) -> Pool:
    pool = make_pool(tasks=2)
    rank(cast.ben, pool)
    return pool


def start(cast, **body):
    return cast.ada.post("runs/", body)


def test_a_run_is_queued_with_all_its_parameters(cast, ranked):
    answer = start(cast, kind="reward", pool=ranked.pk, params={"epochs": 2}, seed=7)
    assert answer.status_code == 201
    run = answer.json()
    assert (run["state"], run["seed"], run["model"], run["labelers"]) == (
        "queued",
        7,
        None,
        "people",
    )
    assert run["params"]["epochs"] == 2
    assert run["params"]["batch_prompts"] == 8
    assert cast.rob.get(f"runs/{run['id']}/").json() == run
    assert cast.rob.get("runs/").json() == [run]


@pytest.mark.parametrize(
    ("body", "status", "code", "says"),
    [
        ({"kind": "magic"}, 400, "run_refused", "kind"),
        ({"kind": "reward", "params": {"epoch": 1}}, 400, "run_refused", "params.epoch"),
        ({"kind": "reward", "params": {"epochs": "many"}}, 400, "run_refused", "params.epochs"),
        ({"kind": "reward", "params": {"epochs": 0}}, 400, "run_refused", "params.epochs"),
        ({"kind": "reward", "params": {"epochs": 10**400}}, 400, "run_refused", "params.epochs"),
        ({"kind": "reward", "pool": "9" * 5000}, 400, "invalid", "pool"),
        ({"kind": "rejection", "params": {"n": 1}}, 400, "run_refused", "params.n"),
        ({"kind": "ppo", "params": {"minibatch_size": 65}}, 400, "run_refused", "minibatch_size"),
        ({"kind": "reward", "params": []}, 400, "invalid", "params"),
        ({"kind": "reward", "model": "no such model"}, 404, "model_not_found", "no such model"),
        ({"kind": "reward", "pool": "no such pool"}, 404, "not_found", "no such pool"),
        ({"kind": "ppo"}, 404, "model_not_found", "start a reward run first"),
        ({"kind": "reward", "reward_model": "x"}, 400, "run_refused", "takes no reward model"),
        ({"kind": "reward", "labelers": "nobody"}, 400, "invalid", "labelers"),
        ({"kind": "reward", "labelers": "auto"}, 400, "invalid", "labelers"),
        ({"kind": "sft"}, 400, "no_training_data", "demonstrations"),
        ({"kind": "sample"}, 400, "run_refused", "needs a pool"),
        ({"kind": "reward", "seed": -1}, 400, "invalid", "seed"),
        ({}, 400, "invalid", "kind"),
    ],
)
def test_a_run_that_cannot_work_is_refused_with_the_reason(cast, ranked, body, status, code, says):
    answer = start(cast, **body)
    assert (answer.status_code, error_code(answer)) == (status, code)
    assert says in answer.json()["error"]["message"]
    assert not Run.objects.exists()


def test_without_comparisons_there_is_no_reward_run(cast, make_pool):
    pool = make_pool(tasks=1)
    answer = start(cast, kind="reward", pool=pool.pk)
    assert (answer.status_code, error_code(answer)) == (400, "no_training_data")


def test_ties_alone_are_no_training_data(cast, make_pool):
    pool = make_pool(tasks=1)
    rank(cast.ben, pool, [1, 1, 1, 1])
    assert error_code(start(cast, kind="dpo", pool=pool.pk)) == "no_training_data"


def test_the_held_out_group_never_trains(cast, make_pool):
    pool = make_pool(tasks=1)
    cast.ben.user.labeler_group = "held-out"
    cast.ben.user.save(update_fields=["labeler_group"])
    rank(cast.ben, pool)
    assert error_code(start(cast, kind="reward", pool=pool.pk)) == "no_training_data"
    prompt = pool.prompts.get()
    prompt.demonstrations.create(text="mine", digest="1" * 64, author=cast.ben.user)
    assert error_code(start(cast, kind="sft", pool=pool.pk)) == "no_training_data"
    prompt.demonstrations.create(text="imported", digest="2" * 64)
    assert start(cast, kind="sft", pool=pool.pk).status_code == 201


def test_held_out_rankings_measure_a_reward_model_and_nothing_else(cast, make_pool, tmp_path):
    pool = make_pool(tasks=2)
    rank(cast.ben, pool)
    cast.cho.user.labeler_group = "held-out"
    cast.cho.user.save()
    rank(cast.cho, pool)
    marks = {}
    for kind in ("reward", "dpo"):
        rows = files_of(cast, {"kind": kind, "pool": pool.pk}, tmp_path)["comparisons"]
        marks[kind] = sorted(r["held_out"] for row in rows for r in row["rankings"])
    assert marks == {"reward": [False, True], "dpo": [False]}


def test_a_run_says_whose_rankings_it_reads(cast, make_pool):
    pool = make_pool(tasks=2, overlap=2)
    rank(caller("robot", "labeler", is_simulated=True), pool)
    rank(cast.ben, pool)
    assert start(cast, kind="reward", pool=pool.pk).json()["labelers"] == "people"
    for named in ("simulated", "all"):
        answer = start(cast, kind="reward", pool=pool.pk, labelers=named)
        assert answer.json()["labelers"] == named


def test_the_same_run_twice_at_once_is_a_conflict(cast, ranked):
    first = start(cast, kind="reward", pool=ranked.pk)
    again = start(cast, kind="reward", pool=ranked.pk)
    assert (again.status_code, error_code(again)) == (409, "run_exists")
    assert again.json()["error"]["data"]["run"] == first.json()["id"]
    assert start(cast, kind="reward", pool=ranked.pk, seed=1).status_code == 201


def test_sample_asks_for_what_lacks_completions(cast, make_pool, prompts_pool):
    answer = cast.ada.post(f"pools/{prompts_pool.pk}/sample/")
    assert answer.status_code == 202
    run = Run.objects.get(pk=answer.json()["run"])
    assert (run.kind, run.params["temperature"]) == ("sample", prompts_pool.temperature)
    assert cast.ada.post(f"pools/{prompts_pool.pk}/sample/").json() == answer.json()
    full = make_pool(tasks=1)
    refused = cast.ada.post(f"pools/{full.pk}/sample/")
    assert (refused.status_code, error_code(refused)) == (409, "nothing_to_sample")


def test_a_queued_run_is_cancelled_at_once_and_only_once(cast, ranked):
    run = start(cast, kind="reward", pool=ranked.pk).json()
    cancelled = cast.ada.post(f"runs/{run['id']}/cancel/")
    assert (cancelled.status_code, cancelled.json()["state"]) == (202, "cancelled")
    again = cast.ada.post(f"runs/{run['id']}/cancel/")
    assert (again.status_code, error_code(again)) == (409, "run_not_cancellable")
    assert error_code(cast.ada.post("runs/999/cancel/")) == "run_not_found"


def test_events_are_read_from_where_one_left_off(cast, ranked):
    start(cast, kind="reward", pool=ranked.pk)
    run = lifecycle.claim("gpu")
    events = [
        Event(phase="train", step=n, total=4, metrics={"loss": 1 / n}, time=n) for n in (1, 2, 3)
    ]
    lifecycle.record_events(run, 0, events)
    page = cast.rob.get(f"runs/{run.pk}/events/", after=0).json()
    assert [e["step"] for e in page["events"]] == [2, 3]
    assert page["last"] == 2
    assert cast.rob.get(f"runs/{run.pk}/events/", after=2).json() == {"events": [], "last": 2}
    assert error_code(cast.rob.get(f"runs/{run.pk}/events/", after="x")) == "invalid"
    shown = cast.rob.get(f"runs/{run.pk}/").json()
    assert (shown["progress"], shown["phase"]) == (0.75, "train")
    assert shown["metrics"]["loss"] == pytest.approx(1 / 3)


def test_the_registry_shows_lineage_and_promotion_opens_a_round(cast, make_pool):
    services.ensure_first_policy()
    first = cast.rob.get("models/").json()
    assert [(m["name"], m["promoted"], m["round"]) for m in first] == [("starter", True, 1)]
    base = ModelVersion.objects.get()
    tuned = ModelVersion.objects.create(
        name="ppo-1", kind="policy", digest="d" * 64, parent=base, round=base.round
    )
    answer = cast.ada.post(f"models/{tuned.pk}/promote/")
    assert answer.json() == {"model": tuned.pk, "round": 2}
    models = {m["name"]: m for m in cast.rob.get("models/").json()}
    assert models["ppo-1"]["lineage"] == [base.pk, tuned.pk]
    assert (models["ppo-1"]["promoted"], models["starter"]["promoted"]) == (True, False)
    again = cast.ada.post(f"models/{tuned.pk}/promote/")
    assert (again.status_code, error_code(again)) == (409, "not_promotable")


def test_a_model_from_outside_that_was_promoted_stays_promoted(cast):
    services.ensure_first_policy()
    outside = services.register_model("org/mine")
    services.promote_model(cast.ada.user, outside)
    assert services.ensure_first_policy() == outside


def test_a_reward_model_is_not_promoted(cast):
    base = services.ensure_first_policy()
    reward = ModelVersion.objects.create(
        name="reward-1", kind="reward", digest="d" * 64, parent=base, round=base.round
    )
    assert error_code(cast.ada.post(f"models/{reward.pk}/promote/")) == "not_promotable"
    assert error_code(start(cast, kind="sft", model="reward-1")) == "model_not_found"


def test_after_a_promotion_every_prompt_lacks_completions_again(cast, make_pool):
    pool = make_pool(tasks=2)
    base = services.ensure_first_policy()
    tuned = ModelVersion.objects.create(
        name="ppo-1", kind="policy", digest="d" * 64, parent=base, round=base.round
    )
    services.promote_model(None, tuned)
    run = services.start_run(None, kind="sample", pool=pool)
    assert (run.model, run.round_id) == (tuned, 2)


def test_the_first_policy_follows_the_setting_until_one_of_ours_is_promoted(settings, tmp_path, db):
    assert services.ensure_first_policy().name == "starter"
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    settings.PODIUM_MODEL = str(folder)
    mine = services.ensure_first_policy()
    assert (mine.name, mine.location) == ("mine", str(folder))
    trained = ModelVersion.objects.create(
        name="ppo-1", kind="policy", digest="d" * 64, parent=mine, round=mine.round
    )
    services.promote_model(None, trained)
    settings.PODIUM_MODEL = "org/other"
    assert services.ensure_first_policy() == trained


@pytest.mark.parametrize("reference", ["no/such/folder", "/nowhere", "nonsense", "../etc"])
def test_a_model_that_is_neither_folder_nor_hub_id_is_refused(settings, reference, db):
    from training.errors import ModelNotFound

    settings.PODIUM_MODEL = reference
    with pytest.raises(ModelNotFound, match=reference):
        services.ensure_first_policy()


def test_training_data_counts_ties_and_leaves_the_rest_to_the_trainer(cast, make_pool):
    """Pairs of equal texts are dropped there, where they are counted for the run's events."""
    pool = make_pool(tasks=0)
    texts = ["same", "same", "other", "last"]
    row = {"prompt": "x", "author": "me", "completions": [{"text": t} for t in texts]}
    labeling_services.import_prompts(pool, as_lines(row))
    rank(cast.ben, pool, [1, 2, 3, 3])
    (group,) = selectors.comparison_groups(pool, "people")
    assert group["author"] == "me"
    assert [c["text"] for c in group["completions"]] == texts
    (ranking,) = group["rankings"]
    assert (len(ranking["pairs"]), ranking["ties"]) == (5, 1)


def test_sft_learns_from_what_was_imported_as_from_people(cast, make_pool):
    pool = make_pool(tasks=1)
    prompt = pool.prompts.get()
    machine = caller("machine", "labeler", is_simulated=True).user
    prompt.demonstrations.create(text="simulated", digest="1" * 64, author=machine)
    assert error_code(start(cast, kind="sft", pool=pool.pk)) == "no_training_data"
    prompt.demonstrations.create(text="imported", digest="2" * 64)
    run = Run.objects.get(pk=start(cast, kind="sft", pool=pool.pk).json()["id"])
    assert run.labelers == "people"
    (row,) = selectors.rows_of(run, "demonstrations")
    assert row["completion"] == "imported"


def test_who_ranked_is_no_question_where_nothing_of_theirs_is_read(cast, scored):
    answer = start(cast, kind="ppo", labelers="all")
    assert (answer.status_code, error_code(answer)) == (400, "run_refused")
    assert answer.json()["error"]["data"] == {"field": "labelers"}
    assert start(cast, kind="ppo", labelers="people").status_code == 201


@pytest.fixture
def scored(cast, ranked):
    """A pool with a reward model and a demonstration."""
    reward = ModelVersion.objects.create(
        name="reward-0", kind="reward", reference="org/reward", round=lifecycle.current_round()
    )
    row = {"prompt": "with an answer", "reference": "the answer"}
    labeling_services.import_prompts(ranked, as_lines(row))
    return ranked, reward


def files_of(cast, body, tmp_path) -> dict[str, list[dict]]:
    """The data files that a run would find in its job folder."""
    answer = start(cast, **body)
    assert answer.status_code == 201, answer.json()
    run = Run.objects.get(pk=answer.json()["id"])
    folder = JobFolder(tmp_path / str(run.pk))
    folder.create()
    _, files = snapshots.freeze(run, folder)
    return {name: list(folder.read_data(entry)) for name, entry in files.items()}


@pytest.mark.parametrize("kind", ["rloo", "grpo", "ppo", "rejection"])
def test_online_runs_take_the_prompts_and_the_reward_model(cast, scored, kind, tmp_path):
    pool, reward = scored
    pool_settings = Pool.objects.filter(pk=pool.pk)
    pool_settings.update(max_new_tokens=33)
    files = files_of(cast, {"kind": kind, "pool": pool.pk}, tmp_path)
    assert set(files) == {"prompts"}
    assert len(files["prompts"]) == 3
    run = Run.objects.latest("pk")
    assert run.reward_model == reward
    assert run.params["max_new_tokens"] == 33


def test_ptx_mixes_in_the_demonstrations_or_a_corpus(cast, scored, settings, tmp_path):
    pool, _ = scored
    params = {"ptx_coef": 1, "ptx_ratio": 2}
    body = {"kind": "ppo", "pool": pool.pk, "params": params}
    files = files_of(cast, body, tmp_path)
    assert [row["completion"] for row in files["ptx"]] == ["the answer"]
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"text": "one"}\n\n{"text": "two"}\n', encoding="utf-8")
    settings.PTX_CORPUS = str(corpus)
    files = files_of(cast, body | {"seed": 1}, tmp_path)
    assert files["ptx"] == [{"text": "one"}, {"text": "two"}]


@pytest.mark.parametrize(("text", "says"), [(None, "No such file"), ('{"text"', "line 1")])
def test_a_corpus_that_cannot_be_read_fails_where_it_is_read(
    cast, scored, settings, tmp_path, text, says
):
    """The web process need not have the file; the worker names it."""
    pool, _ = scored
    settings.PTX_CORPUS = str(tmp_path / "corpus.jsonl")
    if text is not None:
        Path(settings.PTX_CORPUS).write_text(text, encoding="utf-8")
    body = {"kind": "ppo", "pool": pool.pk, "params": {"ptx_coef": 1, "ptx_ratio": 2}}
    with pytest.raises(NoTrainingData, match=says):
        files_of(cast, body, tmp_path)


def test_ptx_without_anything_to_mix_in_is_refused(cast, ranked, scored):
    Demonstration.objects.all().delete()
    params = {"ptx_coef": 1, "ptx_ratio": 2}
    answer = start(cast, kind="ppo", pool=ranked.pk, params=params)
    assert (answer.status_code, error_code(answer)) == (400, "no_training_data")
    assert "demonstrations to mix in" in answer.json()["error"]["message"]


def test_rejection_may_draw_on_the_completions_of_earlier_rounds(cast, scored, tmp_path):
    pool, _ = scored
    body = {"kind": "rejection", "pool": pool.pk, "params": {"past_completions": True}}
    files = files_of(cast, body, tmp_path)
    assert {row["prompt"] for row in files["completions"]} <= {
        row["prompt"] for row in files["prompts"]
    }
    assert len(files["completions"]) == Completion.objects.filter(task__prompt__pool=pool).count()
    assert set(files["completions"][0]) == {"prompt", "text", "token_ids", "finish_reason"}


def test_sft_takes_a_reward_model_only_to_choose_by_it(cast, scored, tmp_path):
    pool, reward = scored
    refused = start(cast, kind="sft", pool=pool.pk, reward_model=reward.name)
    assert (refused.status_code, error_code(refused)) == (400, "run_refused")
    params = {"choose_by": "reward"}
    files = files_of(cast, {"kind": "sft", "pool": pool.pk, "params": params}, tmp_path)
    assert set(files) == {"demonstrations"}
    assert Run.objects.latest("pk").reward_model == reward


@pytest.mark.parametrize(
    ("kind", "params", "field"),
    [
        ("ppo", {"ptx_coef": 1}, "ptx_ratio"),
        ("ppo", {"ptx_ratio": 1}, "ptx_coef"),
        ("ppo", {"kl_target": 6, "kl_coef": 0}, "kl_coef"),
        ("ppo", {"kl_horizon": 5}, "kl_horizon"),
        ("ppo", {"lora_alpha": 8}, "lora_alpha"),
        ("reward", {"lora_alpha": 8}, "lora_alpha"),
        ("reward", {"labeler_weights": 1}, "labeler_weights"),
        ("rloo", {"batch_size": 10, "n": 4}, "batch_size"),
        ("sft", {"choose_by": "luck"}, "choose_by"),
        ("sft", {"choose_by": "eval_loss", "validation_share": 0}, "choose_by"),
        ("sft", {"choose_by": "eval_loss", "epochs": 1}, "choose_by"),
    ],
)
def test_settings_that_contradict_each_other_are_refused_by_name(cast, scored, kind, params, field):
    pool, _ = scored
    answer = start(cast, kind=kind, pool=pool.pk, params=params)
    assert (answer.status_code, error_code(answer)) == (400, "run_refused")
    assert answer.json()["error"]["data"] == {"field": f"params.{field}"}
