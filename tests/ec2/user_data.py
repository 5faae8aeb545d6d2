"""Takes user data apart as cloud-init does: base64, gzip, MIME. An independent reader: Python's own.

Standard input is what DescribeInstanceAttribute says; standard output a JSON list of {"type", "name", "text"}.
"""

import base64
import email
import gzip
import json
import sys

data = base64.b64decode(sys.stdin.read(), validate=True)
if data[:2] == b"\x1f\x8b":
    data = gzip.decompress(data)
message = email.message_from_bytes(data)
parts = [p for p in message.walk() if not p.is_multipart()]
json.dump(
    [
        {"type": p.get_content_type(), "name": p.get_filename(), "text": p.get_payload(decode=True).decode(p.get_content_charset() or "utf-8")}
        for p in parts
    ],
    sys.stdout,
)
