#!/usr/bin/env python3
"""Records what Kubernetes makes of each manifest here: NAME.yaml is created with dryRun=All, the answer becomes NAME.json.

  record.py SERVER CA CERT KEY [NAME…]

The server runs with the admission plugins off that fill objects in (ServiceAccount, Priority, DefaultTolerationSeconds,
StorageObjectInUseProtection, TaintNodesByCondition, DefaultIngressClass), so that what is seen are the defaults and the kind's own rules.
What differs from run to run is left out (uid, creationTimestamp, resourceVersion, managedFields) or fixed (uids elsewhere, times of changes).
A manifest is sent as JSON, read by Python's yaml module.
"""
import json, pathlib, re, ssl, sys, urllib.error, urllib.request
import yaml

server, ca, cert, key, *names = sys.argv[1:]
tls = ssl.create_default_context(cafile=ca)
tls.load_cert_chain(cert, key)
here = pathlib.Path(__file__).parent


def call(path, body=None):
    request = urllib.request.Request(server + path, data=body and json.dumps(body).encode(), headers={"Content-Type": "application/json"})
    try:
        return json.load(urllib.request.urlopen(request, context=tls))
    except urllib.error.HTTPError as error:
        sys.exit(f"{path}: {error.read().decode()}")


def path_of(manifest):
    version = manifest["apiVersion"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    found = next(r for r in call(root)["resources"] if r["kind"] == manifest["kind"] and "/" not in r["name"])
    space = "/namespaces/default" if found["namespaced"] else ""
    return f"{root}{space}/{found['name']}"


UID = re.compile("[0-9a-f]{8}-[0-9a-f-]{27}")

for file in sorted(here.glob("*.yaml")):
    if names and file.stem not in names:
        continue
    manifest = yaml.safe_load(file.read_text())
    stored = call(path_of(manifest) + "?dryRun=All", manifest)
    for field in ("uid", "creationTimestamp", "resourceVersion", "managedFields"):
        stored["metadata"].pop(field, None)
    text = UID.sub("00000000-0000-0000-0000-000000000000", json.dumps(stored, indent=1, sort_keys=True))
    text = re.sub(r'"(lastTransitionTime|lastPhaseTransitionTime|timeAdded)": "[^"]*"', r'"\1": "2026-01-01T00:00:00Z"', text)
    file.with_suffix(".json").write_text(text + "\n")
