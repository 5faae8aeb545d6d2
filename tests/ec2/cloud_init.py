"""Takes user data apart with cloud-init's own code, as an instance does at its first boot; nothing is run.

usage: cloud_init.py FOLDER < USER_DATA_BASE64
Standard output is JSON: {"parts": [[type, name]], "scripts": {name: mode}, "config": the merged cloud-config, "warnings": [text]}.
"""

import base64
import json
import logging
import os
import stat
import sys

from cloudinit import handlers, helpers, user_data
from cloudinit.handlers.cloud_config import CloudConfigPartHandler
from cloudinit.handlers.shell_script import ShellScriptPartHandler


class Instance:
    def get_instance_id(self):
        return "i-0123456789abcdef0"


class Warnings(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.texts = []

    def emit(self, record):
        self.texts.append(record.getMessage())


warnings = Warnings()
logging.getLogger().addHandler(warnings)
paths = helpers.Paths({"cloud_dir": sys.argv[1]}, Instance())
message = user_data.UserDataProcessor(paths).process(base64.b64decode(sys.stdin.read().strip(), validate=True))
config, shell = CloudConfigPartHandler(paths), ShellScriptPartHandler(paths)
known = helpers.ContentHandlers()
for handler in (config, shell):
    known.register(handler)
parts = []


def seen(data, name, payload, headers):
    parts.append([headers["Content-Type"], name])
    handlers.walker_callback(data, name, payload, headers)


data = {"handlers": known, "handlerdir": sys.argv[1], "data": None, "frequency": "once-per-instance", "handlercount": 0, "excluded": []}
handlers.walk(message, seen, data)
folder = shell.script_dir
scripts = {name: oct(stat.S_IMODE(os.stat(os.path.join(folder, name)).st_mode)) for name in sorted(os.listdir(folder))}
json.dump({"parts": parts, "scripts": scripts, "config": config.cloud_buf, "warnings": warnings.texts}, sys.stdout)
