"""Nothing that exists is ever stuck: everyday operations complete on objects from before and after a classification.

The compiled policies are in force and no controller runs; the scheduler and the controller manager are real.
"""

from collections.abc import Iterator, Mapping
from functools import partial

import pytest

from controlplane import DEFAULT_POOLS, ControlPlane
from e2e.attempts import CATALOGUE, PIPELINE
from e2e.enforcement import add_namespace, enforce
from e2e.everyday import ONE_OF_EACH_KIND, OPERATIONS, ORIGINS, Operation, Origin, Site, total
from golden import resolved
from keepalive import Answer, KeepAlive
from residency.api.names import Code

START_SECONDS = 120.0
VERBS = "get,list,watch,create,update,patch,delete,deletecollection"
BY_ORIGIN = [pytest.param(origin, id=origin.name) for origin in ORIGINS]
BY_NAME = [pytest.param(operation, id=operation.name) for operation in OPERATIONS]


@pytest.fixture(scope="module")
def sites() -> Iterator[Mapping[str, tuple[Site, Site]]]:
    """For each origin a namespace to work in and one to delete, both full of objects whose pods run."""
    with ControlPlane(type_checking=False) as cluster, KeepAlive(cluster.kubeconfig) as administrator:
        cluster.add_pools(DEFAULT_POOLS)
        cluster.kubectl("create", "clusterrole", PIPELINE, f"--verb={VERBS}", "--resource=*.*")
        cluster.kubectl("create", "clusterrolebinding", PIPELINE, f"--clusterrole={PIPELINE}", f"--user={PIPELINE}")
        with KeepAlive(cluster.user_kubeconfig(PIPELINE)) as pipeline:
            made = {
                origin.name: (
                    Site(cluster, pipeline, f"{origin.name}-used", origin),
                    Site(cluster, pipeline, f"{origin.name}-deleted", origin),
                )
                for origin in ORIGINS
            }
            everywhere = [site for both in made.values() for site in both]
            fill(administrator, [site for site in everywhere if site.origin.before])
            enforce(administrator, resolved(CATALOGUE))
            for site in everywhere:
                if site.origin.label in CATALOGUE:
                    add_namespace(administrator, site.namespace, site.origin.label)
            fill(administrator, [site for site in everywhere if not site.origin.before])
            yield made


def fill(administrator: KeepAlive, sites: list[Site]) -> None:
    """Create an object for every operation, and wait until their pods run."""
    for site in sites:
        # One that names what is not known yet can only be from before.
        known_later = site.origin.label in CATALOGUE and site.origin.before
        add_namespace(administrator, site.namespace, None if known_later else site.origin.label)
    for site in sites:
        site.wait("its account", partial(has_account, site))
        for operation in operations(site):
            site.send("POST", site.path(operation.kind), operation.manifest(site.origin))
    for site in sites:
        site.wait("all pods to run", partial(all_ran, site), START_SECONDS)


def has_account(site: Site) -> bool:
    answer: Answer = site.api.send("GET", f"/api/v1/namespaces/{site.namespace}/serviceaccounts/default")
    return answer.status == 200


def all_ran(site: Site) -> bool:
    pods = site.send("GET", site.path("Pod"))["items"]
    started = [pod for pod in pods if pod["status"].get("phase") in ("Running", "Succeeded")]
    return len(started) == total(operations(site), site.origin)


def operations(site: Site) -> list[Operation]:
    """What a namespace is filled for: to make everything in it, or to be deleted."""
    return OPERATIONS if site.namespace.endswith("-used") else ONE_OF_EACH_KIND


@pytest.mark.parametrize("origin", BY_ORIGIN)
@pytest.mark.parametrize("operation", BY_NAME)
def test_it_completes(sites: Mapping[str, tuple[Site, Site]], operation: Operation, origin: Origin) -> None:
    operation.run(sites[origin.name][0], operation.name)


@pytest.mark.parametrize("origin", BY_ORIGIN)
def test_a_full_namespace_is_deleted(sites: Mapping[str, tuple[Site, Site]], origin: Origin) -> None:
    site = sites[origin.name][1]
    path = f"/api/v1/namespaces/{site.namespace}"
    site.send("DELETE", path)
    site.wait("the namespace to go", lambda: site.api.send("GET", path).status == 404)


def test_the_origins_are_of_every_sort() -> None:
    assert {origin.code for origin in ORIGINS} == {None, Code.CONTRADICTION, Code.UNKNOWN_CLASSIFICATION}
