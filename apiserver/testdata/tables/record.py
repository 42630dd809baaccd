#!/usr/bin/env python3
"""Records how Kubernetes prints objects: each document of objects.yaml is created, its status put, and the table of it kept in tables.json.

  record.py SERVER CA CERT KEY

A document may give `status`, and is deleted again. `now` is the server's clock at the time.
"""
import datetime, email.utils, json, pathlib, ssl, sys, urllib.error, urllib.request
import yaml

server, ca, cert, key = sys.argv[1:]
tls = ssl.create_default_context(cafile=ca)
tls.load_cert_chain(cert, key)
here = pathlib.Path(__file__).parent
GONE = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


def call(method, path, body=None, accept="application/json", may_fail=False):
    headers = {"Content-Type": "application/json", "Accept": accept}
    request = urllib.request.Request(server + path, method=method, data=body and json.dumps(body, default=str).encode(), headers=headers)
    try:
        with urllib.request.urlopen(request, context=tls) as answer:
            return json.load(answer), answer.headers["Date"]
    except urllib.error.HTTPError as error:
        may_fail or sys.exit(f"{method} {path}: {error.read().decode()}")


def collection(manifest):
    version = manifest["apiVersion"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    found = next(r for r in call("GET", root)[0]["resources"] if r["kind"] == manifest["kind"] and "/" not in r["name"])
    return f"{root}{'/namespaces/default' if found['namespaced'] else ''}/{found['name']}"


out = []
for manifest in yaml.safe_load_all((here / "objects.yaml").read_text()):
    at = collection(manifest)
    path = f"{at}/{manifest['metadata']['name']}"
    call("DELETE", path, GONE, may_fail=True)
    made, _ = call("POST", at, manifest)
    if "status" in manifest and manifest["kind"] != "ComponentStatus":
        made["status"] = manifest["status"]
        call("PUT", path + "/status", made)
    table, date = call("GET", path + "?includeObject=Object", accept=TABLE)
    call("DELETE", path, GONE)
    if manifest["kind"] == "Namespace":
        call("PUT", path + "/finalize", {**manifest, "spec": {"finalizers": []}})
    row = table["rows"][0]
    row["object"]["metadata"].pop("managedFields", None)
    out.append({
        "now": email.utils.parsedate_to_datetime(date).astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "columns": [[c["name"], c["type"], c["format"], c["priority"]] for c in table["columnDefinitions"]],
        **row,
    })
(here / "tables.json").write_text("[\n" + ",\n".join(json.dumps(each, sort_keys=True) for each in out) + "\n]\n")
