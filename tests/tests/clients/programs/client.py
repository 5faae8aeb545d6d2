"""Requests from a list by Python's requests: `client.py LIST`. Names of .test are on this machine."""

import socket
import sys

import requests

resolve = socket.getaddrinfo
socket.getaddrinfo = lambda host, *more, **named: resolve("127.0.0.1" if host.endswith(".test") else host, *more, **named)

# The list is the user's own, and nothing of the environment may stand between.
session = requests.Session()
session.trust_env = False
session.verify = sys.argv[2]
for line in open(sys.argv[1], encoding="utf-8"):
    number, method, url, body = line.rstrip("\n").split("\t")
    data = None if body == "-" else open(body, "rb").read()
    answer = session.request(method, url, data=data, allow_redirects=True, timeout=20)
    print(number, answer.status_code, answer.url, sep="\t", flush=True)
