"""Named places where a test can let the process die, as a power cut would.

`TAGWARDEN_FAILPOINT=name:probability:file` arms one of them. When it is hit, its name is written to `file`
and the whole process group is killed. Without the variable every call is one comparison.
"""

import os
import random
import signal

COMMIT_AND_ANSWER = "between-commit-and-answer"
COPY_AND_COMMIT = "between-intake-copy-and-its-commit"
NETWORK_AND_TRANSACTION = "between-network-step-and-transaction"
SENT_AND_RESULT = "between-sent-and-result"
RESULT_AND_TRANSACTION = "between-result-and-its-transaction"
AFTER_TRANSACTION = "just-after-the-transaction"
UNPACKED = "restore-has-unpacked"
SPOOL_BACK = "restore-has-put-the-spool-back"
DATABASE_BACK = "restore-has-put-the-database-back"

_name, _probability, _file = [*os.environ.get("TAGWARDEN_FAILPOINT", "").split(":", 2), "", ""][:3]


def reach(name: str) -> None:
    """Die here if this point is armed and chance says so."""
    if name != _name or random.random() >= float(_probability):
        return
    with open(_file, "a") as log:
        log.write(f"{name}\n")
        log.flush()
        os.fsync(log.fileno())
    os.killpg(os.getpgrp(), signal.SIGKILL)
