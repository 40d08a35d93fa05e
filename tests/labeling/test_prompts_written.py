"""Prompts that labelers write: what is taken, what is refused, what a review makes of them."""

import json
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import IntegrityError, connection, transaction

from labeling import selectors, services
from labeling.errors import InvalidInput, LabelingError
from labeling.models import Application, Pool, Prompt, Proposal
from tests.conftest import as_lines, caller, error_code

pytestmark = pytest.mark.django_db

FEW_SHOT = {
    "instruction": "Give the sentiment.",
    "examples": [
        {"query": "I love it", "response": "positive"},
        {"query": "I hate it", "response": "negative"},
    ],
    "query": "It is there",
}
TURNS = [
    {"role": "system", "content": "You are brief."},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hello! "},
    {"role": "user", "content": "  Name a river.\n"},
]


@pytest.fixture
def pool(db):
    return services.create_pool(name="written")


def body_for(pool, text="What is rain?", **changes):
    return {
        "submission_id": str(uuid.uuid4()),
        "pool": pool.name,
        "kind": "plain",
        "use_case": "open qa",
        "messages": [{"role": "user", "content": text}],
    } | changes


def propose(author, pool, text="What is rain?", **changes):
    answer = author.post("prompts/", body_for(pool, text, **changes))
    assert answer.status_code == 201, answer.content
    return answer.json()


def accept(reviewer, proposal, **body):
    return reviewer.post(f"prompts/{proposal['id']}/accept/", body)


def reject(reviewer, proposal, reason="Too close to others."):
    return reviewer.post(f"prompts/{proposal['id']}/reject/", {"reason": reason})


# --- writing --------------------------------------------------------------------------------------


def test_a_prompt_waits_outside_the_pool_until_it_is_accepted(cast, pool):
    proposal = propose(cast.ben, pool, messages=TURNS)
    assert proposal["state"] == "proposed"
    assert proposal["messages"] == TURNS
    assert not Prompt.objects.exists()
    answer = accept(cast.rob, proposal)
    assert answer.status_code == 201
    prompt = Prompt.objects.get(pk=answer.json()["prompt"])
    assert (prompt.pool, prompt.messages, prompt.use_case) == (pool, TURNS, "open qa")
    assert (prompt.source, prompt.author) == ("written", "ben")
    stored = Proposal.objects.get()
    assert (stored.state, stored.reviewer, stored.prompt) == ("accepted", cast.rob.user, prompt)
    assert stored.reviewed_at is not None


def test_a_few_shot_prompt_becomes_turns_without_a_word_of_ours(cast, pool):
    proposal = propose(cast.ben, pool, kind="few-shot", few_shot=FEW_SHOT, messages=[])
    assert [(turn["role"], turn["content"]) for turn in proposal["messages"]] == [
        ("user", "Give the sentiment.\n\nI love it"),
        ("assistant", "positive"),
        ("user", "I hate it"),
        ("assistant", "negative"),
        ("user", "It is there"),
    ]
    assert proposal["few_shot"] == FEW_SHOT
    assert accept(cast.rob, proposal).status_code == 201


def test_a_user_based_prompt_is_written_for_a_given_use_case(cast, pool):
    other = services.create_pool(name="other")
    added = cast.ada.post(f"pools/{pool.pk}/applications/", {"texts": ["a", "b", "a"]})
    assert added.json() == {"accepted": 2, "duplicates": 1}
    given = cast.ben.post("prompts/application/", {"pool": pool.name}).json()
    after = {"pool": pool.name, "after": given["application"]}
    another = cast.ben.post("prompts/application/", after).json()
    assert {given["text"], another["text"]} == {"a", "b"}
    asks = {"kind": "user-based", "application": given["application"]}
    proposal = propose(cast.ben, pool, **asks)
    assert proposal["application"] == given["text"]
    # The one without a prompt comes first now, for the writer and for others.
    for labeler in (cast.ben, cast.cho):
        now = labeler.post("prompts/application/", {"pool": pool.name}).json()
        assert now["text"] == another["text"]
    assert cast.ben.post("prompts/application/", {"pool": other.name}).status_code == 204
    foreign = cast.ben.post("prompts/", body_for(other, **asks))
    assert (foreign.status_code, error_code(foreign)) == (404, "not_found")
    missing = cast.ben.post("prompts/", body_for(pool, "x", kind="user-based"))
    assert (missing.status_code, error_code(missing)) == (400, "invalid")


LONG = [{"role": "user", "content": "a" * 60_000}] * 2
SYSTEM_LATE = [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"messages": []}, 400, "1 to 100 turns"),
        ({"messages": [{"role": "user", "content": " \n"}]}, 400, "Turn 1 is empty"),
        ({"messages": TURNS[:3]}, 400, "last turn must be the user's"),
        ({"messages": [*SYSTEM_LATE, TURNS[-1]]}, 400, "only come first"),
        ({"messages": [{"role": "tool", "content": "x"}]}, 400, "tool"),
        ({"messages": [{"role": "user"}]}, 400, "required"),
        ({"messages": LONG}, 400, "at most 100,000"),
        ({"messages": [{"role": "user", "content": "nul \0"}]}, 400, "NUL"),
        ({"messages": [{"role": "user", "content": "half \ud800"}]}, 400, "surrogate"),
        ({"kind": "few-shot", "few_shot": None}, 400, "2 to 32 examples"),
        (
            {"kind": "few-shot", "few_shot": FEW_SHOT | {"examples": FEW_SHOT["examples"][:1]}},
            400,
            "2 to 32",
        ),
        ({"kind": "few-shot", "few_shot": FEW_SHOT | {"query": ""}}, 400, "the last query"),
        ({"kind": "strange"}, 400, "kind"),
        ({"use_case": "poetry"}, 400, "use_case"),
        ({"submission_id": "1"}, 400, "submission_id"),
        ({"pool": "nowhere"}, 404, "no pool"),
    ],
)
def test_what_cannot_be_a_prompt_is_refused_and_nothing_is_stored(cast, pool, change, status, says):
    answer = cast.ben.post("prompts/", body_for(pool) | change)
    assert answer.status_code == status
    assert says in answer.json()["error"]["message"]
    assert not Proposal.objects.exists()


@pytest.mark.parametrize("text", ["nul \0 byte", "half \ud800 pair"])
def test_the_service_refuses_what_cannot_be_stored_from_any_face(cast, pool, text):
    with pytest.raises(InvalidInput):
        services.propose_prompt(
            cast.ben.user, pool=pool, submission_id=uuid.uuid4(), kind="plain", use_case="chat",
            messages=[{"role": "user", "content": text}],
        )  # fmt: skip


@pytest.mark.parametrize("setting", [{"is_open": False}, {"takes_prompts": False}])
def test_a_pool_may_take_no_prompts(cast, pool, setting):
    waiting = propose(cast.ben, pool, "before")
    Pool.objects.filter(pk=pool.pk).update(**setting)
    answer = cast.ben.post("prompts/", body_for(pool))
    assert (answer.status_code, error_code(answer)) == (409, "pool_closed")
    assert cast.ben.post("prompts/application/", {"pool": pool.name}).status_code == 409
    assert accept(cast.rob, waiting).status_code == 201


def test_the_same_submission_again_gets_the_same_answer(cast, pool):
    body = body_for(pool)
    first, again = (cast.ben.post("prompts/", body) for _ in range(2))
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    other = cast.ben.post("prompts/", body | {"use_case": "chat"})
    assert (other.status_code, error_code(other)) == (409, "submission_conflict")
    assert Proposal.objects.count() == 1


def test_an_exact_duplicate_is_refused_and_told_where_it_is(cast, pool):
    """In the pool; waiting, be it somebody else's; one's own, be it rejected."""

    def refusal(author, text):
        answer = author.post("prompts/", body_for(pool, text))
        assert (answer.status_code, error_code(answer)) == (409, "duplicate_prompt")
        return answer.json()["error"]

    services.import_prompts(pool, as_lines({"prompt": "imported"}))
    assert "“written” has this very prompt" in refusal(cast.ben, "imported")["message"]
    first = propose(cast.ben, pool, "first")
    told = refusal(cast.cho, "first")
    assert "waits for review" in told["message"]
    assert "ben" not in json.dumps(told)
    assert first["id"] not in json.dumps(told)
    own = refusal(cast.ben, "first")
    assert own["data"]["proposal"] == first["id"]
    reject(cast.rob, first, "Too short.")
    assert "rejected (Too short.)" in refusal(cast.ben, "first")["message"]
    assert propose(cast.cho, pool, "first")["state"] == "proposed"
    elsewhere = services.create_pool(name="elsewhere")
    assert propose(cast.ben, elsewhere, "first")["state"] == "proposed"


# --- reviewing ------------------------------------------------------------------------------------


def test_a_reviewer_may_edit_it_first_and_the_author_sees_both_forms(cast, pool):
    proposal = propose(cast.ben, pool, "Whats rain")
    edited = [{"role": "user", "content": "What is rain?"}]
    assert accept(cast.rob, proposal, messages=edited, use_case="chat").status_code == 201
    prompt = Prompt.objects.get()
    assert (prompt.messages, prompt.use_case, prompt.author) == (edited, "chat", "ben")
    seen = cast.ben.get("prompts/").json()[0]
    assert seen["messages"][0]["content"] == "Whats rain"
    assert seen["accepted_messages"] == edited
    assert Proposal.objects.get().was_edited


def test_a_rejected_one_stays_out_and_its_author_reads_why(cast, pool):
    proposal = propose(cast.ben, pool)
    for reason in ("", "  ", "a" * 1001):
        answer = reject(cast.rob, proposal, reason)
        assert (answer.status_code, error_code(answer)) == (400, "invalid")
    assert reject(cast.rob, proposal, "Names a person.").status_code == 204
    seen = cast.ben.get("prompts/").json()[0]
    assert (seen["state"], seen["reason"]) == ("rejected", "Names a person.")
    assert not Prompt.objects.exists()
    assert "rob" not in json.dumps(seen)


def test_what_is_decided_is_not_decided_again(cast, pool):
    first, second = propose(cast.ben, pool, "one"), propose(cast.ben, pool, "two")
    accept(cast.rob, first)
    reject(cast.rob, second)
    for proposal, state in ((first, "accepted"), (second, "rejected")):
        for answer in (accept(cast.ada, proposal), reject(cast.ada, proposal)):
            assert (answer.status_code, error_code(answer)) == (409, "proposal_closed")
            assert answer.json()["error"]["data"] == {"state": state}
    assert Prompt.objects.count() == 1


def test_what_the_pool_got_meanwhile_is_not_added_twice(cast, pool):
    proposal = propose(cast.ben, pool, "twice")
    services.import_prompts(pool, as_lines({"prompt": "twice"}))
    answer = accept(cast.rob, proposal)
    assert (answer.status_code, error_code(answer)) == (409, "duplicate_prompt")
    assert Prompt.objects.count() == 1
    assert Proposal.objects.get().state == "proposed"
    assert reject(cast.rob, proposal, "The pool has it.").status_code == 204


def test_a_broken_edit_is_refused_and_nothing_is_decided(cast, pool):
    proposal = propose(cast.ben, pool)
    answer = accept(cast.rob, proposal, messages=[{"role": "user", "content": " "}])
    assert (answer.status_code, error_code(answer)) == (400, "invalid")
    assert Proposal.objects.get().state == "proposed"


def test_reviewers_do_not_accept_their_own(cast, pool):
    proposal = propose(cast.rob, pool)
    for answer in (accept(cast.rob, proposal), reject(cast.rob, proposal)):
        assert (answer.status_code, error_code(answer)) == (403, "own_proposal")
    assert accept(cast.ada, proposal).status_code == 201
    assert accept(cast.ada, propose(cast.ada, pool, "an admin's")).status_code == 201


def test_one_who_has_written_a_prompt_stays_a_person(cast, pool):
    propose(cast.ben, pool)
    with pytest.raises(InvalidInput, match="work under its name"):
        services.change_user(cast.ben.user, is_simulated=True)


# --- who sees what --------------------------------------------------------------------------------


def test_a_labeler_sees_its_own_alone(cast, pool):
    foreign = propose(cast.cho, pool, "cho's secret")
    propose(cast.ben, pool, "mine")
    answer = cast.ben.get("prompts/")
    assert [row["messages"][0]["content"] for row in answer.json()] == ["mine"]
    assert "secret" not in answer.content.decode()
    for path in (f"prompts/{foreign['id']}/accept/", f"prompts/{foreign['id']}/reject/"):
        assert cast.ben.post(path, {"reason": "no"}).status_code == 403
    assert cast.ben.get("prompts/review/").status_code == 403
    assert cast.ben.post(f"pools/{pool.pk}/applications/", {"texts": ["x"]}).status_code == 403
    with pytest.raises(LabelingError):
        services.accept_proposal(cast.ben.user, uuid.UUID(foreign["id"]))


def test_reviewers_see_what_waits_oldest_first_with_its_author(cast, pool):
    for author, text in ((cast.cho, "one"), (cast.ben, "two")):
        propose(author, pool, text)
    robot = caller("robot", "labeler", is_simulated=True)
    accept(cast.rob, propose(robot, pool, "three"))
    rows = cast.rob.get("prompts/review/").json()
    assert [(row["author"], row["messages"][0]["content"]) for row in rows] == [
        ("cho", "one"),
        ("ben", "two"),
    ]
    [done] = cast.rob.get("prompts/review/", state="accepted").json()
    assert (done["author"], done["simulated"]) == ("robot", True)
    assert len(cast.rob.get("prompts/review/", limit=1, offset=1).json()) == 1
    for query in ({"state": "lost"}, {"limit": "many"}):
        assert cast.rob.get("prompts/review/", **query).status_code == 400


def test_without_an_account_there_is_nothing(cast, pool):
    cast.ben.token = "podium_wrong"
    assert cast.ben.get("prompts/").status_code == 401
    for path in ("prompts/", "prompts/application/", f"prompts/{uuid.uuid4()}/accept/"):
        assert cast.ben.post(path).status_code == 401


def test_the_calls_are_in_the_schema(cast):
    paths = cast.ada.http.get("/api/v1/schema/?format=json").content.decode()
    for path in ("prompts/", "prompts/{proposal_id}/accept/", "demonstrations/draft/"):
        assert f"/api/v1/{path}" in paths


# --- the database's own rules ---------------------------------------------------------------------


def row_for(cast, pool, **changes):
    return {
        "pool": pool, "author": cast.ben.user, "kind": "plain", "use_case": "chat",
        "messages": [{"role": "user", "content": "x"}], "digest": "d",
        "submission_id": uuid.uuid4(),
    } | changes  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "user-based"},
        {"state": "accepted"},
        {"state": "rejected"},
        {"digest": "first"},
        {"submission_id": uuid.UUID(int=1)},
    ],
)
def test_the_database_refuses_a_row_that_is_not_whole(cast, pool, change):
    Proposal.objects.create(**row_for(cast, pool, digest="first", submission_id=uuid.UUID(int=1)))
    with pytest.raises(IntegrityError), transaction.atomic():
        Proposal.objects.create(**row_for(cast, pool, **change))


def test_the_database_lets_one_of_a_kind_wait(cast, pool):
    """The same prompt by two authors; one rejected before; two proposals of one prompt."""
    Proposal.objects.create(**row_for(cast, pool))
    with pytest.raises(IntegrityError), transaction.atomic():
        Proposal.objects.create(**row_for(cast, pool, author=cast.cho.user))
    services.import_prompts(pool, as_lines({"prompt": "x"}))
    done = {"state": "accepted", "reviewer": cast.rob.user, "prompt": Prompt.objects.get()}
    Proposal.objects.create(**row_for(cast, pool, author=cast.cho.user, digest="e", **done))
    with pytest.raises(IntegrityError), transaction.atomic():
        Proposal.objects.create(**row_for(cast, pool, author=cast.cho.user, digest="f", **done))
    services.add_applications(pool, ["one"])
    with pytest.raises(IntegrityError), transaction.atomic():
        Application.objects.create(pool=pool, text="one", digest=Application.objects.get().digest)


# --- at the same moment ---------------------------------------------------------------------------


def at_once(*actions):
    """Each in a thread with a connection of its own; a refusal is its code."""
    barrier = threading.Barrier(len(actions))

    def run(action):
        try:
            barrier.wait()
            action()
        except LabelingError as error:
            return error.code
        finally:
            connection.close()
        return "done"

    with ThreadPoolExecutor(len(actions)) as threads:
        return sorted(threads.map(run, actions))


def people(*names, role="labeler"):
    return [services.create_user(username=n, password=None, role=role) for n in names]


def proposed(author, pool, text="once", submission_id=None):
    return services.propose_prompt(
        author, pool=pool, submission_id=submission_id or uuid.uuid4(), kind="plain",
        use_case="chat", messages=[{"role": "user", "content": text}],
    )  # fmt: skip


@pytest.mark.django_db(transaction=True)
def test_two_reviewers_at_once_make_one_prompt():
    pool = services.create_pool(name="race")
    [author], reviewers = people("ben"), people("rob", "ria", "roy", role="reviewer")
    for round_ in range(3):
        proposal = proposed(author, pool, f"prompt {round_}")
        calls = [
            lambda who=who, pk=proposal.pk: services.accept_proposal(who, pk) for who in reviewers
        ]
        assert at_once(*calls) == ["done", "proposal_closed", "proposal_closed"]
        assert pool.prompts.count() == round_ + 1


@pytest.mark.django_db(transaction=True)
def test_accepting_and_rejecting_at_once_end_in_one_of_them():
    pool = services.create_pool(name="race")
    [author], [rob, ria] = people("ben"), people("rob", "ria", role="reviewer")
    proposal = proposed(author, pool)
    ends = at_once(
        lambda: services.accept_proposal(rob, proposal.pk),
        lambda: services.reject_proposal(ria, proposal.pk, reason="no"),
    )
    assert ends == ["done", "proposal_closed"]
    proposal.refresh_from_db()
    assert (proposal.state == "accepted") == pool.prompts.exists()


@pytest.mark.django_db(transaction=True)
def test_a_double_click_and_two_authors_store_one_proposal():
    pool = services.create_pool(name="race")
    ben, cho = people("ben", "cho")
    same = uuid.uuid4()
    clicks = [lambda: proposed(ben, pool, submission_id=same) for _ in range(4)]
    assert at_once(*clicks) == ["done"] * 4
    ends = at_once(lambda: proposed(ben, pool, "two"), lambda: proposed(cho, pool, "two"))
    assert ends == ["done", "duplicate_prompt"]
    assert Proposal.objects.count() == 2
    assert selectors.proposals_waiting() == 2
