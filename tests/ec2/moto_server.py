"""Serves moto on a free port of loopback until standard input ends: whoever started it cannot leave it behind.

The first line of standard output is the port.
"""

import logging
import os
import sys

# Unknown images and keys are errors, as EC2 has it; the thousand sample images would only cost a second.
os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"
os.environ["MOTO_ENABLE_AMI_VALIDATION"] = "true"

from moto.server import ThreadedMotoServer  # noqa: E402

logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
os._exit(0)
