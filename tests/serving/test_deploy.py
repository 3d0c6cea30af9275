"""The files of deploy/: read, not built. Their paths, packages, commands, ports, probes and names are those of the server."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi import FastAPI

from crosscue.serving import page_routes
from crosscue.serving.app import application
from crosscue.serving.holdings import Holdings
from crosscue.serving.options import ServeOptions
from crosscue.serving.running import DRAIN
from crosscue.serving.security import OPEN_PATHS, Rules
from crosscue.serving.service import Service
from tests.docs.test_snippets import parse

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
EFFECTS = {"/api/labels", "/api/collections/{name}/refresh", "/login", "/api/zip"}
"""Routes whose requests change something, or whose long answer cannot begin anew."""


@pytest.fixture(scope="module")
def app(painted: Path) -> FastAPI:
    return application(Service({}), Holdings([painted]), Rules())


def methods(app: FastAPI) -> dict[str, set[str]]:
    """Returns path -> methods of all routes, those of the page among them."""
    found = {path: {method.upper() for method in operations} for path, operations in app.openapi()["paths"].items()}
    for route in page_routes.router.routes:  # the schema leaves the page out
        found.setdefault(route.path, set()).update(route.methods)  # type: ignore[attr-defined]
    return found


def entry() -> list[str]:
    """Returns the command of the container without its arguments."""
    return list(json.loads(dict(instructions())["ENTRYPOINT"]))


def kubernetes(kind: str) -> Any:
    """Returns the specification of the one object of a kind."""
    (found,) = [each for each in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()) if each["kind"] == kind]
    return found["spec"]


def instructions() -> list[tuple[str, str]]:
    """Returns the instructions of the container file, each with its words."""
    lines = (DEPLOY / "Containerfile").read_text().replace("\\\n", " ").splitlines()
    return [(name, rest) for line in lines if not line.startswith("#") for name, _, rest in [line.partition(" ")]]


def test_every_copied_path_exists_and_the_package_is_among_them() -> None:
    copied = [path for name, rest in instructions() if name == "COPY" for path in rest.split()[:-1]]
    assert copied and all((ROOT / path).exists() for path in copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    built = [*project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"], project["project"]["readme"]]
    needed = [*built, *project["project"]["license-files"], "pyproject.toml"]
    assert all(any(Path(path).is_relative_to(each) for each in copied) for path in needed)


def test_the_packages_of_the_container_are_all_that_serving_names() -> None:
    (run,) = [rest for name, rest in instructions() if name == "RUN"]
    assert "-r /src/torch_free.txt" in run
    pinned = {line.partition("==")[0].lower() for line in (ROOT / "docs" / "torch_free.txt").read_text().splitlines()}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {re.split(r"[\[>;]", each)[0].replace("-", "[-_]") for each in (*extras["serve"], *extras["search"])}
    faster = {"httptools", "uvloop", "crosscue"}  # uvicorn does without the first two
    assert not [name for name in named - faster if not any(re.fullmatch(name, each) for each in pinned)]


def test_the_commands_of_container_and_unit_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = dict(instructions())
    parse([*json.loads(parts["ENTRYPOINT"]), *json.loads(parts["CMD"])], monkeypatch)
    unit = (DEPLOY / "crosscue.service").read_text()
    started = re.search(r"^ExecStart=(\S+) (.*)$", unit, re.M)
    assert started and Path(started[1]).name == "crosscue"
    parse(["crosscue", *shlex.split(started[2])], monkeypatch)
    with pytest.raises(AssertionError):
        parse(["crosscue", "serve", "/images", "--hostt", "0.0.0.0"], monkeypatch)


def test_nginx_repeats_the_requests_that_change_nothing_and_no_other(app: FastAPI) -> None:
    conf = (DEPLOY / "nginx.conf").read_text()
    places = re.findall(r"location (~ )?(/\S*|\^\S+) \{(.*?)\}", conf, re.S)
    patterns = [(pattern, body) for regular, pattern, body in places if regular]
    prefixes = sorted(((path, body) for regular, path, body in places if not regular), key=lambda each: -len(each[0]))

    def chosen(path: str) -> str:
        """Returns the block that nginx takes: the first pattern that fits, else the longest prefix."""
        fitting = [body for pattern, body in patterns if re.search(pattern, path)]
        return fitting[0] if fitting else next(body for prefix, body in prefixes if path.startswith(prefix))

    posts = [path for path, allowed in methods(app).items() if allowed & {"POST", "DELETE"}]
    assert len(posts) > 8 and set(posts) > EFFECTS
    for path in posts:
        marks = path.startswith("/api/labels")
        assert ("non_idempotent" in chosen(path)) is (path not in EFFECTS and not marks), path
        assert ("proxy_next_upstream off" in chosen(path)) is marks, path
    assert conf.count("non_idempotent") == 1 and re.search(r"proxy_next_upstream_tries 2;", conf)
    for _, path, body in places:
        assert "proxy_pass http://replicas;" in body
        assert any(re.search(path, each) if path[0] == "^" else each.startswith(path) for each in methods(app)), path


def test_all_files_name_the_port_of_the_server() -> None:
    port = str(ServeOptions().port)
    parts = dict(instructions())
    assert parts["EXPOSE"] == port and entry()[entry().index("--port") + 1] == port
    upstream = re.findall(r"server (\S+):(\d+) ", (DEPLOY / "nginx.conf").read_text())
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert {name for name, _ in upstream} == services.keys() - {"proxy"} and {own for _, own in upstream} == {port}
    assert all(services[name]["expose"] == [port] for name, _ in upstream)
    listened = re.search(r"listen (\d+);", (DEPLOY / "nginx.conf").read_text())
    assert listened and services["proxy"]["ports"] == [f"{listened[1]}:{listened[1]}"]
    assert all("ports" not in services[name] for name, _ in upstream)
    container = kubernetes("Deployment")["template"]["spec"]["containers"][0]
    assert container["ports"] == [{"name": "http", "containerPort": int(port)}]
    assert [each["targetPort"] for each in kubernetes("Service")["ports"]] == ["http"]


def test_probes_are_routes_that_need_no_key(app: FastAPI) -> None:
    container = kubernetes("Deployment")["template"]["spec"]["containers"][0]
    probes = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("readiness", "liveness")}
    assert {kind: probe["path"] for kind, probe in probes.items()} == {"readiness": "/readyz", "liveness": "/healthz"}
    assert all(probe["port"] == "http" for probe in probes.values())
    replica = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["replica-1"]
    asked = re.search(rf"http://127\.0\.0\.1:{ServeOptions().port}(/\w+)", replica["healthcheck"]["test"][-1])
    assert asked and asked[1] == "/readyz"
    for path in ("/readyz", "/healthz"):
        assert "GET" in methods(app)[path] and path.startswith(OPEN_PATHS)


def test_two_replicas_end_one_at_a_time_and_finish_their_requests() -> None:
    deployment = kubernetes("Deployment")
    assert deployment["replicas"] == 2 and deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    pod = deployment["template"]["spec"]
    waits = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert waits == ["sleep", "5"] and pod["terminationGracePeriodSeconds"] >= 5 + DRAIN
    assert kubernetes("PodDisruptionBudget")["minAvailable"] == 1
    labels = deployment["template"]["metadata"]["labels"]
    selectors = [deployment["selector"], kubernetes("PodDisruptionBudget")["selector"]]
    assert all(each["matchLabels"] == labels for each in selectors) and kubernetes("Service")["selector"] == labels
    replica = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["replica-1"]
    assert int(replica["stop_grace_period"].removesuffix("s")) >= DRAIN


def test_replicas_read_their_volumes_and_take_their_options(monkeypatch: pytest.MonkeyPatch) -> None:
    pod = kubernetes("Deployment")["template"]["spec"]
    replica = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["replica-1"]
    mounts = {each["mountPath"]: each["readOnly"] for each in pod["containers"][0]["volumeMounts"]}
    names = {each["name"] for each in pod["containers"][0]["volumeMounts"]}
    assert names == {each["name"] for each in pod["volumes"]}
    bound = dict(each.rsplit(":", 2)[1:] for each in replica["volumes"])
    assert mounts == {"/images": True, "/secrets": True} and bound == {"/images": "ro", "/secrets": "ro"}
    secret = next(each["secret"]["secretName"] for each in pod["volumes"] if "secret" in each)
    claim = next(
        each["persistentVolumeClaim"]["claimName"] for each in pod["volumes"] if "persistentVolumeClaim" in each
    )
    steps = (ROOT / "docs" / "deploying.md").read_text()
    assert f"secret generic {secret} " in steps and f"`{claim}`" in steps
    for given in (pod["containers"][0]["args"], replica["command"]):
        assert "--replica" in given
        assert all(Path(each).parent.as_posix() in mounts for each in given if each.startswith("/"))
        parse([*entry(), *given], monkeypatch)
    assert entry()[2] in mounts  # the folder that is served
    named = [each["metadata"]["name"] for each in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())]
    args = pod["containers"][0]["args"]
    assert args[args.index("--hosts") + 1].split(",")[0] == named[1]  # the name of the Service
