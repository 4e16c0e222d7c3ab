"""Makes a site whose members are all contacts of a sandbox CRM: `python -m tests.crash.fill PORT CRM_URL`.

A process of its own, since it works on the data folder and database of its environment. Prints a JSON object.
"""

import json
import sys

from tagwarden.cli import init, loading
from tagwarden.core import crypto
from tagwarden.core.env import env

DONE_TAG = "Password sent"
RELEASE_DELAY = 1  # seconds; as short as makes sense, so that releases come and go while processes die


def main() -> None:
    """Prints the secret of its webhooks."""
    port, crm_url = sys.argv[1:]
    init.make_folder(env())
    crypto.make_keys(env().keys_file)
    loading.with_django("tagwarden.cli.migrate").migrate()
    filled = loading.with_django("tagwarden.cli.demo_site").fill(public_url=f"http://127.0.0.1:{port}", crm_url=crm_url)
    setup = loading.with_django("tagwarden.connections.setup")
    setup.change(filled.connection, {"release_delay": str(RELEASE_DELAY), "genpass_done_tag": DONE_TAG})
    handshakes = loading.with_django("tagwarden.connections.handshakes")
    secret = handshakes.reveal(filled.connection.handshakes.get())
    print(json.dumps({"secret": secret}))


if __name__ == "__main__":
    main()
