"""``python -m demo``: tell the story; with KEEP=1 in the environment, leave the cluster up until Ctrl-C."""

import os
import signal
import sys
import time
from typing import Final

from controlplane import ControlPlaneError
from demo.checks import Checks
from demo.examples import REFUSALS, ROOT
from demo.setting import Setting, prepared
from demo.story import Story
from demo.view import View

ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CHECK_SECONDS: Final = 1.0
LOOK_AROUND: Final = """
The cluster stays up. In another shell, in this folder:

  export KUBECONFIG={kubeconfig}
  export PATH={programs}:$PATH

  kubectl get dcl
  kubectl describe dcl nl-depv
  kubectl get nodes -L {labels}
  kubectl get pods -A -o wide
  kubectl apply -f {refusals}       # each is refused, with the reason
  kubectl label namespace intranet residency.dev/classification=nl-depv

The controller writes to {log}
Ctrl-C (or kill {pid}) stops everything and removes it.
"""
LABELS: Final = "cloud.example/pool,residency.node-restriction.kubernetes.io/country"


class Ended(BaseException):
    """Somebody asked it to end; no error, so that nothing handles it on the way out."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = number


def main() -> int:
    """Run the demo; the exit status: 0 when everything was as claimed."""
    for number in ENDING:
        signal.signal(number, _end)
    view, checks = View.of_terminal(), Checks()
    view.opening()
    try:
        with prepared(view) as setting:
            told = _tell(Story(setting, view, checks))
            if os.environ.get("KEEP"):
                _keep(setting, view)
    except Ended as ended:
        return 128 + ended.signal
    except (ControlPlaneError, AssertionError) as error:
        view.error(str(error))
        return 1
    return 0 if told else 1


def _tell(story: Story) -> bool:
    """Tell the story to its end, or say why that was not possible; whether all was as claimed."""
    view, failures = story.view, story.checks.failures
    try:
        story.tell()
        view.summary(story.summary(), good=not failures)
    except (ControlPlaneError, AssertionError) as error:
        view.error(str(error))
        return False
    finally:
        view.failures(failures)
    return not failures


def _keep(setting: Setting, view: View) -> None:
    cluster = setting.cluster
    hints = LOOK_AROUND.format(
        kubeconfig=cluster.kubeconfig,
        programs=cluster.program("kubectl").parent,
        labels=LABELS,
        refusals=REFUSALS.relative_to(ROOT),
        log=setting.controller.log,
        pid=os.getpid(),
    )
    view.paragraph(hints)
    try:
        while True:
            cluster.check()
            time.sleep(CHECK_SECONDS)
    except Ended:
        view.paragraph("Stopping.")


def _end(number: int, _: object) -> None:
    # What follows is quick and should be whole: a second Ctrl-C does not interrupt it.
    for each in ENDING:
        signal.signal(each, signal.SIG_IGN)
    raise Ended(number)


if __name__ == "__main__":
    sys.exit(main())
