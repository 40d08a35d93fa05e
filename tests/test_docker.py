"""What the images and the compose file promise, read from the files themselves."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml

from training.execution.process import PASSED_ON

ROOT = Path(__file__).resolve().parent.parent
DOCKER = ROOT / "docker"
IMAGES = ("web", "worker")
# Services that run an image of ours; the others are run as their makers built them.
OURS = ("migrate", "web", "worker")
HEAVY = {"torch", "transformers", "trl", "peft", "accelerate", "datasets", "tokenizers"}


def instructions(image: str) -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order, each with its argument on one line."""
    text = (DOCKER / f"{image}.Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    pairs = (line.split(maxsplit=1) for line in text.splitlines() if line.strip())
    return [(word.upper(), " ".join(rest.split())) for word, rest in pairs]


def last_stage(image: str) -> list[tuple[str, str]]:
    """What the shipped image is made of: all after the last FROM."""
    found = instructions(image)
    start = max(i for i, (word, _) in enumerate(found) if word == "FROM")
    return found[start:]


def only(image: str, word: str) -> str:
    """The argument of the one instruction ``word`` of the shipped image."""
    [argument] = [rest for name, rest in last_stage(image) if name == word]
    return argument


def compose(name: str = "compose.yml") -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((DOCKER / name).read_text(encoding="utf-8"))
    return content


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def seconds(duration: str) -> int:
    return int(duration.removesuffix("s"))


def locked(*names: str) -> set[str]:
    """Normalised names of the distributions that the lock files pin."""
    lines = [
        line
        for name in names
        for line in (ROOT / "requirements" / f"{name}.txt").read_text("utf-8").splitlines()
    ]
    pinned = (re.match(r"([\w.-]+)==", line) for line in lines)
    return {normalised(match[1]) for match in pinned if match}


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def settings_read() -> set[str]:
    """Every variable that the settings read through ``config.env``."""
    tree = ast.parse((ROOT / "config" / "settings.py").read_text(encoding="utf-8"))
    return {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "env"
        and isinstance(node.args[0], ast.Constant)
    }


def read_by_podium() -> set[str]:
    names = settings_read()
    return names | {f"{name}_FILE" for name in names} | set(PASSED_ON)


def interpolated() -> set[str]:
    """Variables that compose itself puts into the file."""
    text = (DOCKER / "compose.yml").read_text(encoding="utf-8")
    arguments = {
        name for service in services().values() for name in service.get("build", {}).get("args", {})
    }
    return set(re.findall(r"\$\{(\w+)", text)) | arguments


def imported(folder: Path, *, but: tuple[str, ...] = ()) -> set[str]:
    """Top-level names of all that the Python files below ``folder`` import."""
    names = set()
    for path in folder.rglob("*.py"):
        if path.relative_to(ROOT).as_posix().startswith(but):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
    return names


def distributions(modules: set[str]) -> set[str]:
    """The installed distributions that provide ``modules``; our own have none."""
    providers = packages_distributions()
    return {normalised(name) for module in modules for name in providers.get(module, [])[:1]}


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_runs_as_an_ordinary_user_and_in_exec_form(image: str) -> None:
    assert only(image, "USER") == "10001:10001"
    command = json.loads(only(image, "CMD"))
    assert command[0] in {"gunicorn", "celery"}
    check = only(image, "HEALTHCHECK").partition("CMD ")[2]
    assert json.loads(check)[0] == "python"
    words = [word for word, _ in last_stage(image)]
    assert words.index("USER") < words.index("CMD")
    assert "RUN" not in words[words.index("USER") :], "built as root, run as somebody else"


@pytest.mark.parametrize("image", IMAGES)
def test_base_images_are_pinned_by_tag(image: str) -> None:
    stages = [rest.split() for word, rest in instructions(image) if word == "FROM"]
    assert all(re.fullmatch(r"[a-z]+:\d[\w.-]+", stage[0]) for stage in stages)
    assert stages[-1][0].startswith("python:3.11-")


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_carries_no_secret_key(image: str) -> None:
    """Settings make a key where none is given: a build step must do that where it stays behind."""
    runs = [rest for word, rest in instructions(image) if word == "RUN" and "manage.py" in rest]
    assert all(rest.startswith("DATA_DIR=/tmp/") for rest in runs)
    assert not any("manage.py" in rest for word, rest in last_stage(image) if word == "RUN")


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_copies_only_what_is_there_and_what_the_ignore_file_lets_in(image: str) -> None:
    let_in = {
        line[1:].rstrip("/")
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    sources = [
        source
        for word, rest in instructions(image)
        if word == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    ]
    assert sources
    assert all((ROOT / source).exists() for source in sources)
    assert {source.rstrip("/").split("/")[0] for source in sources} <= let_in


def test_the_web_image_installs_no_torch() -> None:
    installs = [rest for word, rest in instructions("web") if word == "RUN" and "pip " in rest]
    assert installs == ["pip install --no-cache-dir -r /tmp/requirements/web.txt"]
    assert not locked("web") & HEAVY
    assert locked("worker", "torch") >= HEAVY
    assert "-r" not in (ROOT / "requirements" / "web.txt").read_text("utf-8").split()


def test_each_image_installs_what_its_code_imports() -> None:
    apps = [ROOT / "config", ROOT / "labeling", ROOT / "training"]
    # What a worker alone runs: import-linter's I4, I5 and I8 keep it from the web.
    workers = ("training/rlhf/", "labeling/quality/")
    web = set().union(*(imported(app, but=workers) for app in apps))
    assert distributions(web) <= locked("web")
    worker = set().union(*(imported(ROOT / folder) for folder in workers))
    assert distributions(worker) <= locked("web", "worker", "torch")


def test_the_worker_takes_one_run_at_a_time_from_the_gpu_queue() -> None:
    command = json.loads(only("worker", "CMD"))
    arguments = " ".join(command)
    assert arguments.startswith("celery -A config worker -Q gpu -P threads -c 1 ")
    assert {"--prefetch-multiplier=1", "--without-mingle", "--without-gossip"} <= set(command)


def test_only_the_proxy_is_published_and_the_inner_network_has_no_way_out() -> None:
    assert [name for name, service in services().items() if "ports" in service] == ["proxy"]
    assert all(
        port.startswith("${PUBLISH_ADDRESS:-127.0.0.1}:") for port in services()["proxy"]["ports"]
    )
    assert compose()["networks"]["back"] == {"internal": True}
    outside = {name for name, service in services().items() if "front" in service["networks"]}
    assert outside == {"proxy", "web"}
    assert not any("network_mode" in service for service in services().values())


@pytest.mark.parametrize("name", sorted(services()))
def test_a_service_is_confined(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["init"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert service.get("user") != "root"
    assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "proxy" else [])


@pytest.mark.parametrize("name", sorted(services()))
def test_a_service_has_a_health_check(name: str) -> None:
    check = services()[name].get("healthcheck")
    if name == "migrate":
        assert check == {"disable": True}, "it ends by itself; web's check would never pass"
    elif name in OURS:
        assert check is None, "the image's own, written once"
    else:
        assert check["test"][0] in {"CMD", "CMD-SHELL"}


def test_services_start_after_what_they_need() -> None:
    needs = {
        name: {other: on["condition"] for other, on in service.get("depends_on", {}).items()}
        for name, service in services().items()
    }
    ready = {"postgres": "service_healthy", "redis": "service_healthy"}
    migrated = {"migrate": "service_completed_successfully"}
    assert needs["migrate"] == {"postgres": "service_healthy"}
    assert needs["web"] == needs["worker"] == ready | migrated
    assert needs["proxy"] == {"web": "service_healthy"}


def test_web_and_worker_share_the_data_and_nothing_else_is_written() -> None:
    for name in OURS:
        assert services()[name]["volumes"] == ["data:/data"]
    for image in IMAGES:
        assert "DATA_DIR=/data" in only(image, "ENV").split()


def test_a_stopped_worker_has_time_for_its_checkpoint() -> None:
    worker = services()["worker"]
    given = re.fullmatch(
        r"\$\{TRAINER_GRACE_SECONDS:-(\d+)\}", worker["environment"]["TRAINER_GRACE_SECONDS"]
    )
    assert given is not None
    assert seconds(worker["stop_grace_period"]) >= int(given[1]) + 30
    arguments = json.loads(only("web", "CMD"))
    [graceful] = [a.partition("=")[2] for a in arguments if a.startswith("--graceful-timeout")]
    assert seconds(services()["web"]["stop_grace_period"]) > int(graceful)


@pytest.mark.parametrize("name", OURS)
def test_every_variable_given_to_podium_is_read_by_it(name: str) -> None:
    assert set(services()[name]["environment"]) <= read_by_podium()


@pytest.mark.parametrize("name", OURS)
def test_secrets_come_as_files(name: str) -> None:
    service = services()[name]
    environment = service["environment"]
    files = {value.removeprefix("/run/secrets/") for key, value in environment.items()
             if key.endswith("_FILE")}  # fmt: skip
    assert files == set(service["secrets"]) == {"secret_key", "database_url", "redis_url"}
    assert not {"SECRET_KEY", "DATABASE_URL", "REDIS_URL"} & set(environment)


def test_every_variable_of_the_example_is_known_and_every_known_one_is_shown() -> None:
    text = (DOCKER / "env.example").read_text(encoding="utf-8")
    shown = set(re.findall(r"^#?([A-Z][A-Z_]+)=", text, flags=re.MULTILINE))
    passed_on = {
        key
        for name in OURS
        for key, value in services()[name]["environment"].items()
        if value is None
    }
    assert shown == interpolated() | passed_on


def test_redis_keeps_nothing_and_refuses_when_full() -> None:
    command = services()["redis"]["command"]
    pairs = dict(zip(command[1::2], command[2::2], strict=True))
    assert pairs["--save"] == ""
    assert pairs["--appendonly"] == "no"
    assert pairs["--maxmemory-policy"] == "noeviction"
    assert pairs["--aclfile"] == "/run/secrets/redis_acl"


def test_the_gpu_file_only_adds_a_device() -> None:
    overlay = compose("compose.gpu.yml")
    assert list(overlay["services"]) == ["worker"]
    [device] = overlay["services"]["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia"
    assert device["capabilities"] == ["gpu"]
    assert ("count" in device) != ("device_ids" in device)


def test_secrets_are_made_once_and_are_the_ones_that_compose_mounts(tmp_path: Path) -> None:
    script = tmp_path / "make-secrets.sh"
    script.write_text((DOCKER / "make-secrets.sh").read_text(encoding="utf-8"), encoding="utf-8")
    subprocess.run(["sh", script], check=True, capture_output=True)
    folder = tmp_path / "secrets"
    made = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
    mounted = {entry["file"].removeprefix("./secrets/") for entry in compose()["secrets"].values()}
    assert set(made) == mounted
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(made["secret_key"]) == 128
    assert f":{made['postgres_password']}@postgres:5432/" in made["database_url"]
    [password] = re.findall(r"redis://podium:(\w{64})@redis:6379/0", made["redis_url"])
    assert f"user podium on >{password} " in made["redis_acl"]
    assert "-@dangerous -@scripting" in made["redis_acl"]

    again = subprocess.run(["sh", script], check=False, capture_output=True)
    assert again.returncode == 1
    assert (folder / "secret_key").read_text(encoding="utf-8") == made["secret_key"]


def test_secrets_stay_out_of_history_and_images() -> None:
    ignored = (DOCKER / ".gitignore").read_text(encoding="utf-8").split()
    assert {"secrets/", ".env"} <= set(ignored)
    assert (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()[1] == "*"


def test_the_settings_table_of_the_operations_page_is_complete() -> None:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    settings, _, trainer = page.partition("A trainer does not inherit")
    described = set(re.findall(r"^\| `([A-Z_]+)` \|", settings, flags=re.MULTILINE))
    assert described == settings_read()
    inherited = {
        name
        for row in trainer.splitlines()
        if re.match(r"\| `[A-Z_]+`", row)
        for name in re.findall(r"`([A-Z_]+)`", row.split("|")[1])
    }
    assert inherited == set(PASSED_ON)
