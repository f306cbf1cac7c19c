"""What a control plane writes before it starts: certificates, kubeconfigs, command lines, nodes."""

import base64
import datetime
import ipaddress
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.x509.oid import NameOID

from controlplane import components, kubeconfig
from controlplane.admission import StaticManifests
from controlplane.binaries import TOOLS
from controlplane.certificates import LOOPBACK, Authority, Credentials
from controlplane.components import ApiServerOptions
from controlplane.identities import Identities
from controlplane.layout import Layout
from controlplane.pools import DEFAULT_POOLS, ODC_NOORD, PLAIN, US_AMSTERDAM, Pool, node_is_usable
from controlplane.ports import RANGE, free_ports, is_free
from residency.api.names import FACT_PREFIX, SOVEREIGN, Fact


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    programs = {tool.name: Path("programs") / tool.name for tool in TOOLS}
    return Layout.choose(tmp_path, programs, api_servers=2)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def certificate(credentials: Credentials) -> x509.Certificate:
    return x509.load_pem_x509_certificate(credentials.certificate)


def values(subject: x509.Name, oid: x509.ObjectIdentifier) -> list[str | bytes]:
    return [attribute.value for attribute in subject.get_attributes_for_oid(oid)]


def test_a_client_certificate_carries_the_user_and_the_groups(authority: Authority) -> None:
    subject = certificate(authority.client("jane", ["developers", "auditors"])).subject

    assert values(subject, NameOID.COMMON_NAME) == ["jane"]
    assert values(subject, NameOID.ORGANIZATION_NAME) == ["developers", "auditors"]


def test_the_serving_certificate_is_for_the_loopback_address(authority: Authority) -> None:
    extension = certificate(authority.serving("x")).extensions.get_extension_for_class(x509.SubjectAlternativeName)

    assert extension.value.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address(LOOPBACK)]
    assert "localhost" in extension.value.get_values_for_type(x509.DNSName)


def test_certificates_are_valid_now_and_signed_by_the_authority(authority: Authority) -> None:
    issued = certificate(authority.client("jane"))
    now = datetime.datetime.now(datetime.UTC)

    assert issued.not_valid_before_utc < now < issued.not_valid_after_utc
    issued.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate))


def test_strict_verification_accepts_the_certificates(authority: Authority, tmp_path: Path) -> None:
    """Newer Pythons verify strictly: key usages and key identifiers must be there."""
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    authority.serving("server").write(tmp_path, "server")
    client = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "server.crt", tmp_path / "server.key")

    assert _handshake(client, server) == "TLSv1.3"


def _handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> str | None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(to_client, to_server, server_hostname=LOOPBACK)
    other = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (one, other, one, other):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return one.version()


def test_private_keys_are_readable_by_their_owner_only(layout: Layout) -> None:
    Identities(layout)

    private = [*layout.pki.glob("*.key"), *layout.folder.glob("*.kubeconfig")]
    assert len(private) >= 7
    assert {path.stat().st_mode & 0o777 for path in private} == {0o600}


def test_a_kubeconfig_carries_its_certificates(authority: Authority, tmp_path: Path) -> None:
    jane = authority.client("jane")
    path = tmp_path / "config"
    kubeconfig.write(path, "https://127.0.0.1:1", authority.certificate, kubeconfig.certificate_user(jane))

    content = yaml.safe_load(path.read_text())
    cluster, user = content["clusters"][0]["cluster"], content["users"][0]["user"]
    assert cluster["server"] == "https://127.0.0.1:1"
    assert base64.b64decode(cluster["certificate-authority-data"]) == authority.certificate
    assert base64.b64decode(user["client-certificate-data"]) == jane.certificate
    assert content["current-context"] == content["contexts"][0]["name"]


def test_the_components_have_the_users_that_rbac_knows(layout: Layout) -> None:
    Identities(layout)

    def user(name: str) -> list[str | bytes]:
        content = yaml.safe_load(layout.kubeconfig(name).read_text())
        pem = base64.b64decode(content["users"][0]["user"]["client-certificate-data"])
        return values(x509.load_pem_x509_certificate(pem).subject, NameOID.COMMON_NAME)

    assert user("kube-scheduler") == ["system:kube-scheduler"]
    assert user("kube-controller-manager") == ["system:kube-controller-manager"]


def test_a_second_api_server_has_a_port_of_its_own(layout: Layout) -> None:
    assert layout.api_servers == ["kube-apiserver", "kube-apiserver-2"]
    assert len(set(layout.ports.values())) == len(layout.ports)


def command_lines(layout: Layout) -> Iterator[list[str]]:
    options = ApiServerOptions()
    yield components.etcd(layout)
    yield from (components.api_server(layout, name, options) for name in layout.api_servers)
    yield components.controller_manager(layout, None)
    yield components.scheduler(layout, None)
    yield components.kwok(layout)


def test_every_component_is_told_the_loopback_address_and_nothing_else(layout: Layout) -> None:
    for command in command_lines(layout):
        flags = " ".join(command)
        assert LOOPBACK in flags
        assert "0.0.0.0" not in flags
        assert "://" not in flags.replace(f"://{LOOPBACK}", "").replace("https://kubernetes.default.svc", "")


def test_an_api_server_is_not_told_what_was_not_asked_for() -> None:
    assert ApiServerOptions().flags(Path("log")) == []


def test_the_options_of_an_api_server_become_flags() -> None:
    options = ApiServerOptions(
        emulated_version="1.35",
        feature_gates={"One": True, "Two": False},
        audit_policy=Path("policy"),
        admission_configuration=Path("admission"),
        service_accounts=False,
        extra_flags=["--v=4"],
    )

    assert options.flags(Path("log")) == [
        "--emulated-version=1.35",
        "--disable-admission-plugins=ServiceAccount",
        "--feature-gates=One=true,Two=false",
        "--audit-policy-file=policy",
        "--audit-log-path=log",
        "--admission-control-config-file=admission",
        "--v=4",
    ]


def test_only_the_static_manifests_that_there_are_get_configured(tmp_path: Path) -> None:
    plugins = StaticManifests(validating=tmp_path).configuration()["plugins"]

    assert [plugin["name"] for plugin in plugins] == ["ValidatingAdmissionPolicy"]
    assert plugins[0]["configuration"]["staticManifestsDir"] == str(tmp_path)


def test_every_stage_of_the_simulated_kubelet_has_a_name_of_its_own() -> None:
    stages = list(yaml.safe_load_all(components.STAGES.read_text()))

    assert {stage["kind"] for stage in stages} == {"Stage"}
    assert len({stage["metadata"]["name"] for stage in stages}) == len(stages) == 7


def test_a_port_that_is_taken_is_not_given_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen()
        taken = listener.getsockname()[1]
        free = free_ports(1)[0]
        monkeypatch.setattr("random.sample", lambda *_: [taken, free])

        assert not is_free(taken)
        assert free_ports(1) == [free]


def test_ports_are_different_and_not_those_of_outgoing_connections() -> None:
    ports = free_ports(20)

    assert len(set(ports)) == 20
    assert all(port in RANGE for port in ports)
    assert RANGE.stop <= 32768


def test_a_pool_is_a_number_of_equal_nodes_in_different_zones() -> None:
    nodes = Pool("pool", nodes=4, region="here", labels={"fact": "true"}).manifests()
    labels = [node["metadata"]["labels"] for node in nodes]

    assert [node["metadata"]["name"] for node in nodes] == ["pool-0", "pool-1", "pool-2", "pool-3"]
    assert [label["kubernetes.io/hostname"] for label in labels] == ["pool-0", "pool-1", "pool-2", "pool-3"]
    zones = [label["topology.kubernetes.io/zone"] for label in labels]
    assert zones == ["here-a", "here-b", "here-c", "here-a"]
    assert {label["fact"] for label in labels} == {"true"}


def test_the_default_pools_tell_location_and_control_apart() -> None:
    assert US_AMSTERDAM.labels[Fact.COUNTRY] == ODC_NOORD.labels[Fact.COUNTRY] == "NL"
    assert US_AMSTERDAM.labels[Fact.CONTROLLED_FROM] == "US"
    assert ODC_NOORD.labels[Fact.CONTROLLED_FROM] == "NL"


def test_the_plain_pool_has_no_facts() -> None:
    labels = PLAIN.manifests()[0]["metadata"]["labels"]

    assert not [label for label in labels if label.startswith(FACT_PREFIX)]


def test_only_the_sovereign_pool_has_a_taint() -> None:
    tainted = {pool.name: [taint["key"] for taint in pool.taints] for pool in DEFAULT_POOLS if pool.taints}

    assert tainted == {"odc-noord": [SOVEREIGN]}


@pytest.mark.parametrize(
    ("ready", "taints", "usable"),
    [
        ("True", [], True),
        ("True", [{"key": SOVEREIGN, "value": "true", "effect": "NoSchedule"}], True),
        ("True", [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}], False),
        ("Unknown", [], False),
    ],
)
def test_a_node_is_usable_when_it_is_ready_and_its_taint_lifted(
    ready: str, taints: list[dict[str, str]], usable: bool
) -> None:
    node = {"spec": {"taints": taints}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}

    assert node_is_usable(node) is usable


def test_a_node_of_which_nothing_is_known_is_not_usable() -> None:
    assert not node_is_usable({})
