"""Holds recorded EC2 requests against botocore: its model of the API, its serialiser and its signatures.

usage: validate.py CALLS.jsonl [--key-id ID --secret SECRET]

Each line is {"method", "path", "headers", "body"}. A body is read back into parameters by the model (unknown keys, gaps in
lists, values of the wrong type are errors), judged by botocore's ParamValidator (missing and too short ones), and written again by
botocore's serialiser, which must give the same pairs. With a secret, the signature is computed anew. Prints one line of JSON:
{"requests": n, "signatures": n, "actions": {...}, "problems": [...]}; the exit status is 1 if there are problems.
It never sends anything anywhere.
"""

import argparse
import base64
import binascii
import collections
import json
import re
import sys
import urllib.parse

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import botocore.loaders
import botocore.model
import botocore.serialize
import botocore.validate
import dateutil.parser

TOKEN_MAX = 64  # characters of a ClientToken, says the API reference
USER_DATA_MAX = 16 * 1024  # octets before base64, says the user's guide


def service():
    description = botocore.loaders.Loader().load_service_model("ec2", "service-2")
    return botocore.model.ServiceModel(description, "ec2")


class Reader:
    """Turns the pairs of one body into parameters, and notes what is wrong with them."""

    def __init__(self, serializer):
        self.serializer = serializer
        self.problems = []

    def problem(self, path, what):
        self.problems.append(f"{path}: {what}")

    def structure(self, shape, tree, path):
        names = {self.serializer._get_serialized_name(member, key): (key, member) for key, member in shape.members.items()}
        found = {}
        for name, subtree in tree.items():
            if name not in names:
                self.problem(f"{path}{name}", "unknown to the model")
                continue
            key, member = names[name]
            found[key] = self.value(member, subtree, f"{path}{name}")
        return found

    def value(self, shape, tree, path):
        if shape.type_name == "structure":
            return self.structure(shape, self.branch(tree, path), path + ".")
        if shape.type_name == "list":
            branch = self.branch(tree, path)
            wanted = [str(n) for n in range(1, len(branch) + 1)]
            if set(branch) != set(wanted):
                self.problem(path, f"a list with the numbers {sorted(branch)}")
            return [self.value(shape.member, branch[n], f"{path}.{n}") for n in wanted if n in branch]
        if isinstance(tree, dict):
            self.problem(path, f"a {shape.type_name} with members {sorted(tree)}")
            return None
        return self.scalar(shape, tree, path)

    def branch(self, tree, path):
        if isinstance(tree, dict):
            return tree
        self.problem(path, f"the bare value {tree!r} where members belong")
        return {}

    def scalar(self, shape, text, path):
        kind = shape.type_name
        try:
            if kind in ("integer", "long"):
                return int(text)
            if kind in ("float", "double"):
                return float(text)
            if kind == "boolean":
                return {"true": True, "false": False}[text]
            if kind == "blob":
                return base64.b64decode(text, validate=True)
            if kind == "timestamp":
                return dateutil.parser.isoparse(text)
        except (ValueError, KeyError, binascii.Error):
            self.problem(path, f"{text!r} is no {kind}")
            return None
        if shape.enum and text not in shape.enum:
            self.problem(path, f"{text!r} is none of the model's {len(shape.enum)} values of {shape.name}")
        return text


def tree_of(pairs, problems):
    tree = {}
    for key, value in pairs:
        parts = key.split(".")
        at = tree
        for part in parts[:-1]:
            at = at.setdefault(part, {})
            if not isinstance(at, dict):
                problems.append(f"{key}: a value and its members")
                break
        else:
            if parts[-1] in at:
                problems.append(f"{key}: twice")
            at[parts[-1]] = value
    return tree


def same(written, found):
    """The same text, or the same number: 0 and 0.0 are both good for a double."""
    try:
        return written == found or float(written) == float(found)
    except (TypeError, ValueError):
        return False


def judge(model, call):
    """The action and the problems of one request."""
    problems = []
    pairs = urllib.parse.parse_qsl(call["body"], keep_blank_values=True, strict_parsing=True)
    fields = dict(pairs)
    action = fields.get("Action", "")
    if action not in model.operation_names:
        return action, [f"no such action: {action!r}"]
    if fields.get("Version") != model.api_version:
        problems.append(f"Version: {fields.get('Version')!r}, not {model.api_version}")
    if call["method"] != "POST" or call["path"] != "/":
        problems.append(f"{call['method']} {call['path']}")
    content = call["headers"].get("content-type", "")
    if not content.startswith("application/x-www-form-urlencoded"):
        problems.append(f"content-type: {content!r}")
    operation = model.operation_model(action)
    shape = operation.input_shape
    serializer = botocore.serialize.EC2Serializer()
    tree = tree_of([(k, v) for k, v in pairs if k not in ("Action", "Version")], problems)
    reader = Reader(serializer)
    params = reader.structure(shape, tree, "") if shape else {}
    problems += reader.problems
    report = botocore.validate.ParamValidator().validate(params, shape) if shape else None
    if report is not None and report.has_errors():
        problems.append(report.generate_report())
    if not problems:
        again = serializer.serialize_to_request(params, operation)["body"]
        written = {key: str(value) for key, value in again.items()}
        for key in sorted(set(written) | set(fields)):
            if not same(written.get(key), fields.get(key)):
                problems.append(f"{key}: {fields.get(key)!r}, botocore writes {written.get(key)!r}")
    if len(params.get("ClientToken", "") or "") > TOKEN_MAX:
        problems.append(f"ClientToken: more than {TOKEN_MAX} characters")
    if params.get("UserData"):
        try:
            if len(base64.b64decode(params["UserData"], validate=True)) > USER_DATA_MAX:
                problems.append(f"UserData: more than {USER_DATA_MAX} octets")
        except binascii.Error:
            problems.append("UserData: not base64")
    return action, problems


AUTHORIZATION = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d+)/([^/]+)/ec2/aws4_request, ?SignedHeaders=([^,]+), ?Signature=(\w+)")


def signature_problem(call, key_id, secret):
    match = AUTHORIZATION.fullmatch(call["headers"].get("authorization", ""))
    if not match:
        return "no signature of version 4"
    found_id, _, region, signed, signature = match.groups()
    if found_id != key_id:
        return f"signed by {found_id}"
    names = signed.split(";")
    headers = {name: call["headers"].get(name, "") for name in names}
    request = botocore.awsrequest.AWSRequest(
        method=call["method"], url=f"http://{call['headers'].get('host', '')}{call['path']}", headers=headers, data=call["body"].encode()
    )
    request.context["timestamp"] = call["headers"].get("x-amz-date", "")
    auth = botocore.auth.SigV4Auth(botocore.credentials.Credentials(key_id, secret), "ec2", region)
    expected = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    if expected != signature:
        return f"the signature is {signature}, botocore computes {expected}"
    must = {"host", "x-amz-date"} - set(names)
    return f"not signed: {sorted(must)}" if must else None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("calls")
    parser.add_argument("--key-id")
    parser.add_argument("--secret")
    options = parser.parse_args()
    model = service()
    actions, problems, requests, signatures = collections.Counter(), [], 0, 0
    with open(options.calls, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            call = json.loads(line)
            requests += 1
            try:
                action, found = judge(model, call)
            except ValueError as error:
                action, found = "", [f"not a form: {error}"]
            actions[action] += 1
            if options.secret:
                wrong = signature_problem(call, options.key_id, options.secret)
                signatures += wrong is None
                found = found + ([wrong] if wrong else [])
            problems += [f"request {number}, {action}: {what}" for what in found]
    print(json.dumps({"requests": requests, "signatures": signatures, "actions": actions, "problems": problems[:50]}))
    sys.exit(1 if problems else 0)


main()
