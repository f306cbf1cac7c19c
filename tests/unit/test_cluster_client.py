"""The client, against an HTTP server that answers as told."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from aiohttp import web

from residency.cluster.client import Client
from residency.cluster.connection import connect
from residency.cluster.endpoints import api_servers
from residency.cluster.errors import ApiError, ConfigurationError, Unreachable
from residency.cluster.resources import LEASES, NAMESPACES, PODS

Answer = Callable[[web.Request], web.Response]


class ApiServer:
    """Answers in turn; remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: list[web.Response | Answer] = []
        self.asked: list[web.Request] = []
        self.bodies: list[Any] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append(request)
        text = await request.text()
        self.bodies.append(msgspec.json.decode(text) if text else None)
        answer = self.answers.pop(0)
        return answer if isinstance(answer, web.Response) else answer(request)


def status(code: int, reason: str = "", message: str = "") -> web.Response:
    return web.json_response({"kind": "Status", "reason": reason, "message": message}, status=code)


def page(*names: str, then: str = "") -> web.Response:
    items = [{"metadata": {"name": name}} for name in names]
    return web.json_response({"metadata": {"continue": then}, "items": items})


def write_kubeconfig(path: Path, url: str, token: str = "secret-1") -> None:
    config = {
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path.write_text(yaml.safe_dump(config))


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiServer]:
    api = ApiServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", api.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    write_kubeconfig(tmp_path / "kubeconfig", f"http://127.0.0.1:{runner.addresses[0][1]}")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    yield api
    await runner.cleanup()


@pytest.fixture
async def client(server: ApiServer) -> AsyncIterator[Client]:
    assert server.asked == []
    client = Client(await connect())
    yield client
    await client.close()


def names(items: Any) -> list[str]:
    return [item["metadata"]["name"] for item in items]


async def test_lists_are_read_page_by_page(server: ApiServer, client: Client) -> None:
    server.answers = [page("a", "b", then="more"), page("c")]
    assert names(await client.find(NAMESPACES, labels="x in (1, 2)")) == ["a", "b", "c"]
    assert [request.query.get("continue") for request in server.asked] == [None, "more"]
    assert {request.query["labelSelector"] for request in server.asked} == {"x in (1, 2)"}
    assert {request.query["limit"] for request in server.asked} == {"500"}


async def test_a_list_that_expires_half_way_is_read_again_in_one_piece(server: ApiServer, client: Client) -> None:
    server.answers = [page("a", then="more"), status(410, "Expired"), page("a", "b")]
    assert names(await client.find(NAMESPACES)) == ["a", "b"]
    assert "limit" not in server.asked[-1].query
    assert "continue" not in server.asked[-1].query


async def test_a_list_that_says_null_is_empty(server: ApiServer, client: Client) -> None:
    server.answers = [web.json_response({"metadata": {}, "items": None})]
    assert await client.find(NAMESPACES, metadata_only=True) == []
    assert "PartialObjectMetadataList" in server.asked[0].headers["Accept"]


async def test_only_declared_fields_are_kept(server: ApiServer, client: Client) -> None:
    class Named(msgspec.Struct):
        metadata: dict[str, str]

    server.answers = [page("a")]
    assert await client.find_as(Named, PODS) == [Named({"name": "a"})]


async def test_what_the_api_server_refuses_is_told_as_it_said_it(server: ApiServer, client: Client) -> None:
    server.answers = [status(409, "Conflict", "changed\nmeanwhile")]
    with pytest.raises(ApiError) as caught:
        await client.get(NAMESPACES, "a")
    assert (caught.value.status, caught.value.reason, caught.value.message) == (409, "Conflict", "changed\nmeanwhile")
    assert caught.value.conflict
    assert str(caught.value) == "changed meanwhile (409 Conflict)"


@pytest.mark.parametrize("text", ["<html>Bad Gateway</html>", "[]", "7", ""])
async def test_an_error_that_is_no_status_is_told_too(server: ApiServer, client: Client, text: str) -> None:
    server.answers = [web.Response(status=502, text=text)]
    with pytest.raises(ApiError, match="502"):
        await client.get(NAMESPACES, "a")


async def test_no_answer_is_unreachable(client: Client) -> None:
    nobody = client.at("http://127.0.0.1:1")
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1"):
        await nobody.get(NAMESPACES, "a")
    await nobody.close()


async def test_renewed_credentials_are_read_when_the_old_are_not_taken(
    server: ApiServer, client: Client, tmp_path: Path
) -> None:
    def renew(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer secret-1"
        write_kubeconfig(tmp_path / "kubeconfig", client.address, "secret-2")
        return status(401, "Unauthorized")

    server.answers = [renew, page("a")]
    assert names(await client.find(NAMESPACES)) == ["a"]
    assert server.asked[-1].headers["Authorization"] == "Bearer secret-2"


async def test_credentials_are_renewed_once_for_all_who_were_refused(
    server: ApiServer, client: Client, tmp_path: Path
) -> None:
    write_kubeconfig(tmp_path / "kubeconfig", client.address, "secret-2")

    def answer(request: web.Request) -> web.Response:
        renewed = request.headers["Authorization"] == "Bearer secret-2"
        return web.json_response({"metadata": {}, "items": []}) if renewed else status(401, "Unauthorized")

    server.answers = [answer] * 20
    await asyncio.gather(*(client.find(NAMESPACES) for _ in range(10)))
    assert len(server.asked) == 20


async def test_a_watch_renews_credentials_too(server: ApiServer, client: Client, tmp_path: Path) -> None:
    write_kubeconfig(tmp_path / "kubeconfig", client.address, "secret-2")
    server.answers = [status(401, "Unauthorized"), web.Response(text="a line\n")]
    stream = await client.watch(PODS, {"resourceVersion": "7", "fieldSelector": ""}, silence=5)
    assert (await stream.read(), await stream.read()) == (b"a line\n", b"")
    stream.close()
    assert dict(server.asked[-1].query) == {"resourceVersion": "7", "watch": "true"}
    assert server.asked[-1].headers["Authorization"] == "Bearer secret-2"


@pytest.mark.parametrize(
    ("said", "pause"), [("7", 7.0), ("", 0.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0.0), ("-1", 0.0)]
)
async def test_a_pause_that_is_asked_for_is_told(server: ApiServer, client: Client, said: str, pause: float) -> None:
    server.answers = [web.Response(status=429, text="Too many requests", headers={"Retry-After": said})]
    with pytest.raises(ApiError) as caught:
        await client.watch(PODS, {}, silence=5)
    assert (caught.value.status, caught.value.retry_after) == (429, pause)


async def test_credentials_that_are_being_written_are_waited_for_like_an_api_server_that_is_away(
    server: ApiServer, client: Client, tmp_path: Path
) -> None:
    (tmp_path / "kubeconfig").write_text("half a fi")
    server.answers = [status(401, "Unauthorized")]
    with pytest.raises(Unreachable, match="cannot be used"):
        await client.find(NAMESPACES)
    write_kubeconfig(tmp_path / "kubeconfig", client.address, "secret-2")
    server.answers = [status(401, "Unauthorized"), page("a")]
    assert names(await client.find(NAMESPACES)) == ["a"]


async def test_credentials_that_stay_refused_are_an_error(server: ApiServer, client: Client) -> None:
    server.answers = [status(401, "Unauthorized"), status(401, "Unauthorized")]
    with pytest.raises(ApiError, match="401"):
        await client.find(NAMESPACES)


async def test_an_apply_names_the_object_in_the_path_and_the_manager_in_the_query(
    server: ApiServer, client: Client
) -> None:
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}
    server.answers = [web.json_response(body)]
    assert await client.apply(NAMESPACES, body) == body
    (request,) = server.asked
    assert (request.method, request.path) == ("PATCH", "/api/v1/namespaces/a")
    assert dict(request.query) == {"fieldManager": "residency-controller", "force": "true"}
    assert request.content_type == "application/apply-patch+yaml"
    assert server.bodies == [body]


async def test_a_status_is_merged_at_its_own_path(server: ApiServer, client: Client) -> None:
    server.answers = [web.json_response({})]
    await client.merge(LEASES, "a", {"status": {"x": None}}, namespace="n", subresource="status")
    assert server.asked[0].path == "/apis/coordination.k8s.io/v1/namespaces/n/leases/a/status"
    assert server.asked[0].content_type == "application/merge-patch+json"
    assert server.bodies == [{"status": {"x": None}}]


@pytest.mark.parametrize("dry_run", [False, True])
async def test_an_eviction_names_the_uid_and_whether_it_is_meant(
    server: ApiServer, client: Client, dry_run: bool
) -> None:
    server.answers = [web.json_response({"kind": "Status", "status": "Success"}, status=201)]
    await client.evict("a", namespace="n", uid="u", dry_run=dry_run)
    (request,) = server.asked
    assert (request.method, request.path) == ("POST", "/api/v1/namespaces/n/pods/a/eviction")
    assert dict(request.query) == ({"dryRun": "All"} if dry_run else {})
    (body,) = server.bodies
    assert (body["apiVersion"], body["kind"]) == ("policy/v1", "Eviction")
    assert body["metadata"] == {"name": "a", "namespace": "n"}
    assert body["deleteOptions"] == {"preconditions": {"uid": "u"}} | ({"dryRun": ["All"]} if dry_run else {})


@pytest.mark.parametrize(("cause", "over"), [("DisruptionBudget", True), ("Other", False), (None, False)])
async def test_a_budget_is_told_from_an_api_server_that_is_busy(
    server: ApiServer, client: Client, cause: str | None, over: bool
) -> None:
    details = {} if cause is None else {"details": {"causes": [{"reason": cause}]}}
    body = {"kind": "Status", "reason": "TooManyRequests", "message": "later"} | details
    server.answers = [web.json_response(body, status=429, headers={"Retry-After": "7"})]
    with pytest.raises(ApiError) as refused:
        await client.evict("a", namespace="n", uid="u")
    assert (refused.value.over_budget, refused.value.retry_after) == (over, 7.0)


async def test_an_empty_patch_is_sent_as_an_empty_object(server: ApiServer, client: Client) -> None:
    server.answers = [web.json_response({})]
    await client.merge(LEASES, "a", {}, namespace="n")
    assert server.bodies == [{}]


async def test_a_dry_run_says_so(server: ApiServer, client: Client) -> None:
    server.answers = [web.json_response({})]
    await client.create(PODS, {"metadata": {"generateName": "x-"}}, namespace="n", dry_run=True)
    assert server.asked[0].query["dryRun"] == "All"


async def test_api_servers_are_read_from_their_slices(server: ApiServer, client: Client) -> None:
    slices = [
        {
            "addressType": "IPv4",
            "ports": [{"name": "https", "port": 6443}, {"name": "other", "port": 1}],
            "endpoints": [
                {"addresses": ["10.0.0.2"], "conditions": {"ready": True}},
                {"addresses": ["10.0.0.1"]},
                {"addresses": ["10.0.0.9"], "conditions": {"ready": False}},
            ],
        },
        {"addressType": "IPv6", "ports": [{"name": "https", "port": 6443}], "endpoints": [{"addresses": ["fd00::1"]}]},
        {"addressType": "IPv4", "ports": None, "endpoints": None},
    ]
    server.answers = [web.json_response({"metadata": {}, "items": slices})]
    assert await api_servers(client) == ("https://10.0.0.1:6443", "https://10.0.0.2:6443", "https://[fd00::1]:6443")


@pytest.mark.parametrize("content", [None, "", "{", "a: b", "clusters: 7\ncurrent-context: x"])
async def test_a_kubeconfig_that_cannot_be_used_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    path = tmp_path / "kubeconfig"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("KUBECONFIG", str(path))
    with pytest.raises(ConfigurationError) as caught:
        await connect()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_pod_without_a_token_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    with pytest.raises(ConfigurationError, match="service account of this pod"):
        await connect()
