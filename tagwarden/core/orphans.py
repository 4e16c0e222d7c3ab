"""No process of ours outlives the one that started it, also when that one is killed with -9."""

import logging
import os
import signal
import threading
import time

GRACE = 20.0  # seconds to end cleanly in
STARTER = "TAGWARDEN_STARTER"  # environment of a part: the process id of the one that starts it

log = logging.getLogger(__name__)


def leave_with_parent() -> None:
    """Ends this process, cleanly if it can, once the process that started it is gone.

    For processes that are part of a greater one only: a command that somebody started in a shell may well
    outlive the shell. Call it first thing. The parent is the one that the environment names, for it may have been
    killed before this is called; without a name it is the one of this moment.
    """
    parent = int(os.environ.pop(STARTER, 0)) or os.getppid()
    threading.Thread(target=_watch, args=(parent,), name="leave-with-parent", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.25)
    log.warning("The process that started this one is gone; leaving too.")
    until = time.monotonic() + GRACE
    while time.monotonic() < until:
        os.kill(os.getpid(), signal.SIGTERM)  # again: one that comes while a server sets up its handlers is lost
        time.sleep(1)
    os.killpg(os.getpgrp(), signal.SIGKILL) if os.getpgrp() == os.getpid() else os._exit(70)
