#!/usr/bin/env python3
"""Records what Kubernetes finds wrong with each case of cases.yaml, in errors.json: a list of `FIELD: MESSAGE` for each case, in order.

  record.py SERVER CA CERT KEY

A case is a manifest to create; or, with `was`, an update: `was` is created, and the case merged into what became of it (`into: status` for the
status subresource).
"""
import json, pathlib, ssl, sys, urllib.error, urllib.request
import yaml

server, ca, cert, key = sys.argv[1:]
tls = ssl.create_default_context(cafile=ca)
tls.load_cert_chain(cert, key)
here = pathlib.Path(__file__).parent
GONE = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}


def call(method, path, body=None):
    request = urllib.request.Request(server + path, method=method, data=body and json.dumps(body, default=str).encode(), headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, context=tls) as answer:
            return json.load(answer), None
    except urllib.error.HTTPError as error:
        return None, json.load(error)


kinds = {}


def collection(manifest):
    version, kind = manifest["apiVersion"], manifest["kind"]
    if (version, kind) not in kinds:
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        found = next(r for r in call("GET", root)[0]["resources"] if r["kind"] == kind and "/" not in r["name"])
        kinds[version, kind] = f"{root}{'/namespaces/default' if found['namespaced'] else ''}/{found['name']}"
    return kinds[version, kind]


def merged(old, changes):
    if not isinstance(changes, dict) or not isinstance(old, dict):
        return changes
    out = dict(old)
    for name, value in changes.items():
        if value is None:
            out.pop(name, None)
        else:
            out[name] = merged(old.get(name), value)
    return out


def errors(error):
    if error is None:
        return []
    causes = (error.get("details") or {}).get("causes")
    if error["code"] != 422 or not causes:
        return [f"{error['code']} {error['message']}"]
    return [f"{cause['field']}: {cause['message']}" for cause in causes]


out = []
for case in yaml.safe_load_all((here / "cases.yaml").read_text()):
    was = case.pop("was", None)
    into = case.pop("into", "")
    at = collection(was or case)
    if was is None:
        out.append(errors(call("POST", at + "?dryRun=All", case)[1]))
        continue
    path = f"{at}/{was['metadata']['name']}"
    call("DELETE", path, GONE)
    made, error = call("POST", at, was)
    if error:
        sys.exit(f"{path}: {error['message']}")
    out.append(errors(call("PUT", f"{path}{into and '/' + into}?dryRun=All", merged(made, case))[1]))
    call("DELETE", path, GONE)
(here / "errors.json").write_text("[\n" + ",\n".join(json.dumps(each) for each in out) + "\n]\n")
