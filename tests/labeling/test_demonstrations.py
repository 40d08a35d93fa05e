"""Writing demonstrations over the API: who gets which prompt, what is stored, what is refused."""

import json
import uuid

import pytest
from django.db import IntegrityError, transaction

from labeling import services
from labeling.errors import InvalidInput
from labeling.models import Demonstration, FormerText, Pool, Writing
from tests.conftest import as_lines, caller, error_code, line

pytestmark = pytest.mark.django_db


@pytest.fixture
def pool(db):
    """Three prompts; somebody has imported a demonstration for the first."""
    pool = services.create_pool(name="to write", guidelines="Be kind.")
    rows = [line(f"prompt {n}") for n in range(3)]
    rows[0]["reference"] = "imported"
    services.import_prompts(pool, as_lines(*rows))
    return pool


def ask(labeler, pool=None):
    return labeler.post("demonstrations/next/", {"pool": pool.pk} if pool else {})


def asked(labeler, pool):
    answer = ask(labeler, pool)
    assert answer.status_code == 200, answer.content
    return answer.json()


def body_for(task, text="my answer", **changes):
    return {
        "handle": task["handle"],
        "submission_id": str(uuid.uuid4()),
        "text": text,
    } | changes


def write(labeler, pool, text="my answer"):
    task = asked(labeler, pool)
    answer = labeler.post("demonstrations/", body_for(task, text))
    assert answer.status_code == 201, answer.content
    return task


def prompt_of(task):
    return task["prompt"]["messages"][-1]["content"]


def test_a_labeler_sees_the_prompt_and_the_guidelines_and_nothing_else(cast, pool):
    write(cast.cho, pool, "what cho wrote")
    answer = ask(cast.ben, pool)
    task = answer.json()
    assert set(task) == {"handle", "pool", "prompt", "warnings", "guidelines", "draft"}
    assert set(task["prompt"]) == {"messages"}
    assert task["guidelines"] == {"version": 1, "text": "Be kind."}
    shown = answer.content.decode() + json.dumps(dict(answer.headers))
    hidden = ["imported", "what cho wrote", "cho", "model-0", "answer 0"]
    assert not [word for word in hidden if word in shown]
    assert uuid.UUID(task["handle"]).version == 4


def test_what_is_written_is_stored_byte_for_byte_under_its_author(cast, pool):
    text = "  First line\r\nsecond\tline – ünïcödé 😀 \n"
    task = asked(cast.ben, pool)
    answer = cast.ben.post("demonstrations/", body_for(task, text))
    assert answer.status_code == 201
    assert answer.json() == {"handle": task["handle"], "characters": len(text)}
    stored = Demonstration.objects.get(author=cast.ben.user)
    assert stored.text == text
    assert str(stored.prompt) == prompt_of(task)
    assert Writing.objects.get(pk=task["handle"]).guideline_version.number == 1


def test_the_prompt_in_hand_comes_again_until_it_is_done(cast, pool):
    first = asked(cast.ben, pool)
    assert asked(cast.ben, pool) == first
    assert Writing.objects.count() == 1
    cast.ben.post("demonstrations/", body_for(first))
    assert asked(cast.ben, pool)["handle"] != first["handle"]


def test_prompts_with_the_fewest_demonstrations_come_first(cast, pool):
    """Prompt 0 has an imported one; what somebody is writing for counts as written."""
    assert prompt_of(asked(cast.ben, pool)) == "prompt 1"
    assert prompt_of(write(cast.cho, pool)) == "prompt 2"
    assert prompt_of(asked(cast.cho, pool)) == "prompt 0"


def test_a_labeler_writes_once_for_each_prompt_and_then_there_is_none(cast, pool):
    prompts = [prompt_of(write(cast.ben, pool)) for _ in range(3)]
    assert sorted(prompts) == ["prompt 0", "prompt 1", "prompt 2"]
    empty = ask(cast.ben, pool)
    assert empty.status_code == 204
    assert int(empty.headers["Retry-After"]) > 0
    assert prompt_of(asked(cast.cho, pool)) in prompts


def test_two_labelers_may_write_the_same_text(cast, pool):
    for labeler in (cast.ben, cast.cho):
        for _ in range(3):
            write(labeler, pool, "Paris")
    assert Demonstration.objects.filter(text="Paris").count() == 6


def test_a_text_that_a_labeler_wrote_can_still_be_imported(cast, pool):
    task = write(caller("robot", "labeler", is_simulated=True), pool, "the same")
    row = {"prompt": prompt_of(task), "reference": "the same"}
    assert services.import_prompts(pool, as_lines(row)).accepted == 1
    assert services.import_prompts(pool, as_lines(row)).duplicates == 1
    assert Demonstration.objects.filter(text="the same").count() == 2


def test_any_open_pool_serves_and_a_closed_one_hands_out_nothing(cast, pool):
    assert ask(cast.ben).status_code == 200
    pool.is_open = False
    pool.save(update_fields=["is_open"])
    answer = ask(cast.ben, pool)
    assert (answer.status_code, error_code(answer)) == (409, "pool_closed")
    assert ask(cast.ben).status_code == 204


def test_what_was_begun_is_taken_after_the_pool_has_closed(cast, pool):
    task = asked(cast.ben, pool)
    pool.is_open = False
    pool.save(update_fields=["is_open"])
    assert cast.ben.post("demonstrations/", body_for(task)).status_code == 201


def test_the_same_submission_again_gets_the_same_answer(cast, pool):
    body = body_for(asked(cast.ben, pool))
    first, again = (cast.ben.post("demonstrations/", body) for _ in range(2))
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    assert Demonstration.objects.filter(author=cast.ben.user).count() == 1


def test_another_body_under_a_used_submission_id_is_a_conflict(cast, pool):
    body = body_for(asked(cast.ben, pool))
    cast.ben.post("demonstrations/", body)
    other = cast.ben.post("demonstrations/", body | {"text": "changed"})
    assert (other.status_code, error_code(other)) == (409, "submission_conflict")
    elsewhere = body | {"handle": asked(cast.ben, pool)["handle"]}
    other = cast.ben.post("demonstrations/", elsewhere)
    assert (other.status_code, error_code(other)) == (409, "submission_conflict")
    assert Demonstration.objects.get(author=cast.ben.user).text == "my answer"


def test_a_second_answer_to_the_same_prompt_is_refused(cast, pool):
    task = write(cast.ben, pool)
    answer = cast.ben.post("demonstrations/", body_for(task, "second thoughts"))
    assert (answer.status_code, error_code(answer)) == (409, "assignment_closed")
    assert answer.json()["error"]["data"] == {"state": "submitted"}


@pytest.mark.parametrize(
    ("change", "status", "code", "says"),
    [
        ({"text": ""}, 400, "invalid", "text is empty"),
        ({"text": " \n\t "}, 400, "invalid", "text is empty"),
        ({"text": None}, 400, "invalid", "text"),
        ({"text": ["a"]}, 400, "invalid", "text"),
        ({"text": "a" * 101}, 400, "invalid", "101 characters; at most 100"),
        ({"text": "nul \0 byte"}, 400, "parse_error", "NUL"),
        ({"text": "half \ud800 pair"}, 400, "parse_error", "surrogate"),
        ({"submission_id": "nonsense"}, 400, "invalid", "submission_id"),
        ({"handle": "nonsense"}, 400, "invalid", "handle"),
        ({"handle": "1"}, 400, "invalid", "handle"),
        ({"handle": str(uuid.uuid4())}, 404, "not_found", "no such prompt"),
    ],
)
def test_a_refused_submission_changes_nothing(cast, pool, settings, change, status, code, says):
    settings.MAX_TEXT_CHARACTERS = 100
    task = asked(cast.ben, pool)
    answer = cast.ben.post("demonstrations/", body_for(task) | change)
    assert (answer.status_code, error_code(answer)) == (status, code)
    assert says in answer.json()["error"]["message"]
    assert not Demonstration.objects.filter(author=cast.ben.user).exists()
    assert cast.ben.post("demonstrations/", body_for(task, "a" * 100)).status_code == 201


@pytest.mark.parametrize("text", ["nul \0 byte", "half \ud800 pair"])
def test_the_service_refuses_what_cannot_be_stored_from_any_face(cast, pool, text):
    writing = services.next_writing(cast.ben.user, pool=pool)
    with pytest.raises(InvalidInput, match="text has"):
        services.submit_demonstration(
            cast.ben.user, writing.pk, submission_id=uuid.uuid4(), text=text
        )


def test_somebody_elses_handle_is_not_there(cast, pool):
    task = asked(cast.ben, pool)
    for path, body in (("", body_for(task)), ("skip/", {"handle": task["handle"], "reason": "x"})):
        answer = cast.cho.post(f"demonstrations/{path}", body)
        assert (answer.status_code, error_code(answer)) == (404, "not_found")
    assert Writing.objects.get().state == "open"


def test_without_an_account_there_is_nothing(cast, pool):
    cast.ben.token = "podium_wrong"
    for path in ("demonstrations/", "demonstrations/next/", "demonstrations/skip/"):
        assert cast.ben.post(path).status_code == 401


def test_a_skipped_prompt_goes_to_others_and_never_comes_back(cast, pool):
    task = asked(cast.ben, pool)
    skip = {"handle": task["handle"], "reason": "I know no Basque"}
    empty = cast.ben.post("demonstrations/skip/", skip | {"reason": " "})
    assert (empty.status_code, error_code(empty)) == (400, "invalid")
    assert cast.ben.post("demonstrations/skip/", skip).status_code == 204
    again = cast.ben.post("demonstrations/skip/", skip)
    assert (again.status_code, error_code(again)) == (409, "assignment_closed")
    late = cast.ben.post("demonstrations/", body_for(task))
    assert (late.status_code, error_code(late)) == (409, "assignment_closed")
    rest = {prompt_of(write(cast.ben, pool)) for _ in range(2)}
    assert prompt_of(task) not in rest
    assert ask(cast.ben, pool).status_code == 204
    assert prompt_of(asked(cast.cho, pool)) == prompt_of(task)
    assert Writing.objects.get(pk=task["handle"]).skip_reason == "I know no Basque"


def test_one_who_has_written_stays_a_person(cast, pool):
    write(cast.ben, pool)
    with pytest.raises(InvalidInput, match="work under its name"):
        services.change_user(cast.ben.user, is_simulated=True)


def test_what_is_written_reaches_the_export(cast, pool):
    write(cast.ben, pool, "for the export")
    write(caller("robot", "labeler", is_simulated=True), pool, "by a program")
    answer = cast.rob.get(f"pools/{pool.pk}/export/", kind="demonstrations")
    rows = [json.loads(row) for row in b"".join(answer.streaming_content).splitlines()]
    assert [(row["author"], row["simulated"], row["completion"]) for row in rows] == [
        ("", False, "imported"),
        ("ben", False, "for the export"),
        ("robot", True, "by a program"),
    ]


def test_the_database_refuses_a_second_one(cast, pool):
    """One writing and one demonstration for a prompt and labeler, one for a submission."""
    write(cast.ben, pool)
    stored = Demonstration.objects.get(author=cast.ben.user)
    other = pool.prompts.exclude(pk=stored.prompt_id).first()
    imported = Demonstration.objects.get(author=None)
    same = {"prompt": imported.prompt, "digest": imported.digest}
    for model, row in (
        (Writing, {"prompt": stored.prompt, "labeler": cast.ben.user}),
        (Demonstration, {"prompt": stored.prompt, "author": cast.ben.user}),
        (
            Demonstration,
            {"prompt": other, "author": cast.ben.user, "submission_id": stored.submission_id},
        ),
        (Demonstration, same),
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            model.objects.create(**row)
    Demonstration.objects.create(**same, author=cast.cho.user)


# --- drafts ---------------------------------------------------------------------------------------


def keep(labeler, task, text):
    return labeler.post("demonstrations/draft/", {"handle": task["handle"], "text": text})


def test_a_draft_comes_back_with_the_prompt_and_an_empty_one_clears_it(cast, pool):
    task = asked(cast.ben, pool)
    assert task["draft"] == ""
    for text in ("  half a\n", "", "half a sentence"):
        assert keep(cast.ben, task, text).status_code == 204
        assert asked(cast.ben, pool)["draft"] == text


def test_a_draft_is_refused_where_it_is_not_the_labelers_or_comes_too_late(cast, pool):
    task = asked(cast.ben, pool)
    keep(cast.ben, task, "mine")
    foreign = keep(cast.cho, task, "not mine")
    assert (foreign.status_code, error_code(foreign)) == (404, "not_found")
    cast.ben.post("demonstrations/", body_for(task, "done"))
    late = keep(cast.ben, task, "an older draft")
    assert (late.status_code, error_code(late)) == (409, "assignment_closed")
    assert Writing.objects.get().draft == "mine"
    assert Demonstration.objects.get(author=cast.ben.user).text == "done"


def test_a_draft_is_as_long_as_a_demonstration_at_most(cast, pool, settings):
    settings.MAX_TEXT_CHARACTERS = 10
    task = asked(cast.ben, pool)
    answer = keep(cast.ben, task, "a" * 11)
    assert (answer.status_code, error_code(answer)) == (400, "invalid")


# --- a pool's setting -----------------------------------------------------------------------------


def test_a_pool_may_take_no_demonstrations(cast, pool):
    begun = asked(cast.ben, pool)
    Pool.objects.filter(pk=pool.pk).update(takes_demonstrations=False)
    answer = ask(cast.cho, pool)
    assert (answer.status_code, error_code(answer)) == (409, "pool_closed")
    assert ask(cast.cho).status_code == 204
    assert cast.ben.post("demonstrations/", body_for(begun)).status_code == 201


def test_the_settings_are_in_the_api(cast):
    answer = cast.ada.post("pools/", {"name": "only ranked", "takes_demonstrations": False})
    assert answer.status_code == 201
    assert answer.json()["takes_demonstrations"] is False
    assert answer.json()["takes_prompts"] is True


# --- changing what was written --------------------------------------------------------------------


def revise(labeler, task, text, **changes):
    return labeler.post("demonstrations/revise/", body_for(task, text, **changes))


def test_a_demonstration_can_be_changed_and_what_it_said_is_kept(cast, pool):
    task = write(cast.ben, pool, "first")
    for text in ("second", "third"):
        answer = revise(cast.ben, task, text)
        assert (answer.status_code, answer.json()["characters"]) == (200, len(text))
    stored = Demonstration.objects.get(author=cast.ben.user)
    assert stored.text == "third"
    assert stored.revised_at is not None
    assert [(f.number, f.text) for f in stored.former_texts.all()] == [(1, "first"), (2, "second")]


def test_a_change_sent_twice_and_the_same_text_again_make_no_version(cast, pool):
    task = write(cast.ben, pool, "first")
    same_id = str(uuid.uuid4())
    for _ in range(2):
        assert revise(cast.ben, task, "second", submission_id=same_id).status_code == 200
    assert revise(cast.ben, task, "second").status_code == 200
    other = revise(cast.ben, task, "another", submission_id=same_id)
    assert (other.status_code, error_code(other)) == (409, "submission_conflict")
    assert FormerText.objects.count() == 1


def test_a_submission_sent_again_after_a_change_gets_its_answer_and_undoes_nothing(cast, pool):
    task = asked(cast.ben, pool)
    body = body_for(task, "first")
    first = cast.ben.post("demonstrations/", body)
    revise(cast.ben, task, "changed since")
    again = cast.ben.post("demonstrations/", body)
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert Demonstration.objects.get(author=cast.ben.user).text == "changed since"


def test_only_ones_own_can_be_changed_and_only_for_a_while(cast, pool):
    task = write(cast.ben, pool, "first")
    foreign = revise(cast.cho, task, "mine now")
    assert (foreign.status_code, error_code(foreign)) == (404, "not_found")
    unwritten = revise(cast.ben, asked(cast.ben, pool), "too early")
    assert (unwritten.status_code, error_code(unwritten)) == (404, "not_found")
    empty = revise(cast.ben, task, " ")
    assert (empty.status_code, error_code(empty)) == (400, "invalid")
    Pool.objects.filter(pk=pool.pk).update(edit_minutes=0)
    late = revise(cast.ben, task, "too late")
    assert (late.status_code, error_code(late)) == (409, "revision_closed")
    assert Demonstration.objects.get(author=cast.ben.user).text == "first"
