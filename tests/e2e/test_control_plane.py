"""The control plane that everything else is tested on."""

from controlplane import ControlPlane


def test_pods_run_on_simulated_nodes(control_plane: ControlPlane) -> None:
    control_plane.kubectl("create", "deployment", "web", "--image=web", "--replicas=3")

    assert "successfully rolled out" in control_plane.kubectl("rollout", "status", "deployment/web")
    control_plane.kubectl("delete", "deployment", "web")
