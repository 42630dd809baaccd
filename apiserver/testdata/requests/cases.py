#!/usr/bin/env python3
"""Asks an upstream kube-apiserver what bad (and some good) requests get, and writes the answers for the tests.

    cases.py https://127.0.0.1:6443 CA CERT KEY      rewrites answers.json beside this file

Each case is a request; those of one group run in order in a namespace of their own. The answer keeps the code and, of a Status, reason,
message and details. Uids, times and resource versions are left out.
"""
import json, os, re, ssl, sys, urllib.request, urllib.error

HERE = os.path.dirname(os.path.abspath(__file__))
J, Y, P = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
MERGE, JPATCH, SMP, APPLY = ("application/merge-patch+json", "application/json-patch+json",
                             "application/strategic-merge-patch+json", "application/apply-patch+yaml")
NS = "/api/v1/namespaces/requests"
CM = NS + "/configmaps"
PODS = NS + "/pods"
DEPLOY = "/apis/apps/v1/namespaces/requests/deployments"


def cm(name, **more):
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **more})


def pod(name="p", spec=None, **meta):
    spec = {"containers": [{"name": "c", "image": "i"}]} if spec is None else spec
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **meta}, "spec": spec})


def deployment(**spec):
    base = {"selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}
    return json.dumps({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {**base, **spec}})


# (method, path, content type, body, accept)
CASES = [
    ("POST", "/api/v1/namespaces", J, json.dumps({"metadata": {"name": "requests"}}), ""),
    ("POST", NS + "/serviceaccounts", J, json.dumps({"metadata": {"name": "default"}}), ""),
    # what is not an object
    ("POST", CM, J, "", ""),
    ("POST", CM, J, "{", ""),
    ("POST", CM, J, "[]", ""),
    ("POST", CM, J, "null", ""),
    ("POST", CM, J, '"x"', ""),
    ("POST", CM, J, '{"metadata":{"name":"x"},}', ""),
    ("POST", CM, J, '{"metadata":{"name":"x"}} trailing', ""),
    ("POST", CM, J, '{"metadata":{"name":1}}', ""),
    ("POST", CM, J, '{"metadata":[]}', ""),
    ("POST", CM, J, '{"metadata":{"name":"x"},"data":{"a":1}}', ""),
    ("POST", CM, J, '{"metadata":{"name":"x"},"binaryData":{"a":"?"}}', ""),
    ("POST", CM, J, '{"apiVersion":"v2","kind":"ConfigMap","metadata":{"name":"x"}}', ""),
    ("POST", CM, J, '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"}}', ""),
    ("POST", CM, Y, "a: [", ""),
    ("POST", CM, Y, "metadata: {name: y}\nmetadata: {name: z}\n", ""),
    ("POST", CM, P, "k8s\0rubbish", ""),
    ("POST", CM, P, "rubbish", ""),
    ("POST", CM, "text/plain", cm("x"), ""),
    ("POST", CM, "application/cbor-seq", cm("x"), ""),
    ("GET", CM, "", "", "text/html"),
    ("GET", CM, "", "", "application/json;as=Table;v=v9;g=meta.k8s.io"),
    # field validation
    ("POST", CM + "?fieldValidation=Strict", J, cm("x", foo=1), ""),
    ("POST", CM + "?fieldValidation=Strict", J, '{"metadata":{"name":"x","name":"y"}}', ""),
    ("POST", CM + "?fieldValidation=Sometimes", J, cm("x"), ""),
    ("POST", PODS + "?fieldValidation=Strict", J, pod(spec={"containers": [{"name": "c", "image": "i", "bogus": 1}], "extra": {}}), ""),
    ("POST", PODS, J, pod(spec={"containers": "x"}), ""),
    ("POST", PODS, J, pod(spec={"containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "x"}}}]}), ""),
    ("POST", PODS, J, pod(spec={"containers": [{"name": "c", "image": "i"}], "terminationGracePeriodSeconds": "soon"}), ""),
    # names, namespaces, metadata
    ("POST", CM, J, cm(""), ""),
    ("POST", CM, J, cm("Upper_Case"), ""),
    ("POST", CM, J, json.dumps({"metadata": {"name": "x", "namespace": "other"}}), ""),
    ("POST", CM, J, json.dumps({"metadata": {"name": "x", "resourceVersion": "5"}}), ""),
    ("POST", CM, J, json.dumps({"metadata": {"name": "x", "labels": {"-bad": "v"}}}), ""),
    ("POST", CM, J, json.dumps({"metadata": {"name": "x", "labels": {"good": "not good"}}}), ""),
    ("POST", CM, J, json.dumps({"metadata": {"name": "x", "annotations": {"a/b/c": "v"}}}), ""),
    ("POST", CM, J, json.dumps({"metadata": {"name": "x", "finalizers": ["nodomain"]}}), ""),
    ("POST", CM, J, json.dumps({"metadata": {"name": "x", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod"}]}}), ""),
    ("POST", CM, J, cm("x", data={"bad key": ""}), ""),
    ("POST", "/api/v1/namespaces/absent/configmaps", J, cm("x"), ""),
    ("GET", CM + "/absent", "", "", ""),
    ("PUT", CM + "/absent", J, cm("absent"), ""),
    ("PATCH", CM + "/absent", MERGE, "{}", ""),
    ("DELETE", CM + "/absent", "", "", ""),
    ("POST", CM, J, cm("one"), ""),
    ("POST", CM, J, cm("one"), ""),
    ("PUT", CM + "/one", J, cm("two"), ""),
    ("PUT", CM + "/one", J, json.dumps({"metadata": {"name": "one", "resourceVersion": "1"}}), ""),
    ("PUT", CM + "/one", J, json.dumps({"metadata": {"name": "one", "resourceVersion": "x"}}), ""),
    ("PUT", CM + "/one", J, json.dumps({"metadata": {"name": "one", "uid": "other"}}), ""),
    ("DELETE", CM + "/one", J, json.dumps({"preconditions": {"uid": "other"}}), ""),
    ("DELETE", CM + "/one", J, json.dumps({"propagationPolicy": "Sideways"}), ""),
    ("DELETE", CM + "/one?dryRun=Some", "", "", ""),
    ("DELETE", CM + "/one", J, json.dumps({"orphanDependents": True, "propagationPolicy": "Orphan"}), ""),
    # patches
    ("PATCH", CM + "/one", "application/json", "{}", ""),
    ("PATCH", CM + "/one", MERGE, "{", ""),
    ("PATCH", CM + "/one", MERGE, "[]", ""),
    ("PATCH", CM + "/one", MERGE, '{"data":{"a":1}}', ""),
    ("PATCH", CM + "/one", MERGE, '{"metadata":{"name":"two"}}', ""),
    ("PATCH", CM + "/one", MERGE, '{"metadata":{"resourceVersion":"1"}}', ""),
    ("PATCH", CM + "/one", JPATCH, "{}", ""),
    ("PATCH", CM + "/one", JPATCH, '[{"op":"remove","path":"/data/none"}]', ""),
    ("PATCH", CM + "/one", JPATCH, '[{"op":"test","path":"/metadata/name","value":"two"}]', ""),
    ("PATCH", CM + "/one", JPATCH, '[{"op":"jump","path":"/data"}]', ""),
    ("PATCH", CM + "/one", SMP, '{"data":["a"]}', ""),
    ("PATCH", CM + "/one", SMP, '{"$patch":"explode"}', ""),
    ("PATCH", CM + "/one?force=true", MERGE, "{}", ""),
    ("PATCH", CM + "/one", APPLY, cm("one"), ""),
    ("PATCH", CM + "/one?fieldManager=m", APPLY, "a: [", ""),
    ("PATCH", CM + "/one?fieldManager=m", APPLY, cm("two"), ""),
    ("PATCH", CM + "/one?fieldManager=first", APPLY, cm("one", data={"a": "1"}), ""),
    ("PATCH", CM + "/one?fieldManager=second", APPLY, cm("one", data={"a": "2"}), ""),
    # lists and watches
    ("GET", CM + "?resourceVersion=x", "", "", ""),
    ("GET", CM + "?resourceVersion=-1", "", "", ""),
    ("GET", CM + "?resourceVersionMatch=Exact", "", "", ""),
    ("GET", CM + "?resourceVersion=0&resourceVersionMatch=Exact", "", "", ""),
    ("GET", CM + "?resourceVersion=1&resourceVersionMatch=Roughly", "", "", ""),
    ("GET", CM + "?limit=x", "", "", ""),
    ("GET", CM + "?continue=x", "", "", ""),
    ("GET", CM + "?continue=e30", "", "", ""),
    ("GET", CM + "?sendInitialEvents=true", "", "", ""),
    ("GET", CM + "?watch=1&sendInitialEvents=true", "", "", ""),
    ("GET", CM + "?watch=1&resourceVersionMatch=NotOlderThan", "", "", ""),
    ("GET", CM + "?labelSelector=a%3D%3D%3Db", "", "", ""),
    ("GET", CM + "?labelSelector=a+in+b", "", "", ""),
    ("GET", CM + "?fieldSelector=metadata.name", "", "", ""),
    ("GET", CM + "?fieldSelector=data.a%3Db", "", "", ""),
    ("GET", PODS + "?fieldSelector=spec.nodeName%3Dn,status.phase%21%3DFailed", "", "", ""),
    ("GET", CM + "?resourceVersion=999999999", "", "", ""),
    # paths and verbs
    ("GET", "/apis/nobody.example.org/v1/things", "", "", ""),
    ("GET", "/api/v1/things", "", "", ""),
    ("GET", "/api/v9/pods", "", "", ""),
    ("GET", CM + "/one/status", "", "", ""),
    ("POST", CM + "/one", J, cm("one"), ""),
    ("PUT", CM, J, cm("one"), ""),
    ("DELETE", "/api/v1/namespaces", "", "", ""),
    ("PATCH", "/api/v1/namespaces/requests/pods/p/exec", MERGE, "{}", ""),
    ("GET", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "", "", ""),
    ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", J, json.dumps({"spec": {}}), ""),
    ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", J,
     json.dumps({"spec": {"nonResourceAttributes": {"path": "/x", "verb": "get"}}}), "application/json;as=Table;v=v1;g=meta.k8s.io"),
    # validation
    ("POST", PODS, J, pod(spec={}), ""),
    ("POST", PODS, J, pod(spec={"containers": []}), ""),
    ("POST", PODS, J, pod(spec={"containers": [{"name": "Bad", "image": ""}]}), ""),
    ("POST", PODS, J, pod(spec={"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Perhaps"}), ""),
    ("POST", PODS, J, pod(spec={"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 99999}]}]}), ""),
    ("POST", PODS, J, pod(spec={"containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "none", "mountPath": "/x"}]}]}), ""),
    ("POST", PODS, J, pod(spec={"containers": [{"name": "c", "image": "i", "env": [{"name": "A=B"}]}]}), ""),
    ("POST", PODS, J, pod(spec={"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}]}), ""),
    ("POST", PODS, J, pod(), ""),
    ("PATCH", PODS + "/p", MERGE, '{"spec":{"nodeName":"n"}}', ""),
    ("PATCH", PODS + "/p", MERGE, '{"spec":{"restartPolicy":"Never"}}', ""),
    ("POST", PODS + "/p/binding", J, json.dumps({"metadata": {"name": "p"}}), ""),
    ("POST", PODS + "/p/binding", J, json.dumps({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}), ""),
    ("POST", PODS + "/p/binding", J, json.dumps({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "m"}}), ""),
    ("GET", PODS + "/p/log", "", "", ""),
    ("GET", PODS + "/p/log?container=none", "", "", ""),
    ("POST", DEPLOY, J, deployment(selector=None), ""),
    ("POST", DEPLOY, J, deployment(selector={"matchLabels": {"x": "y"}}), ""),
    ("POST", DEPLOY, J, deployment(replicas=-1), ""),
    ("POST", DEPLOY, J, deployment(strategy={"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}), ""),
    ("POST", DEPLOY, J, deployment(strategy={"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}), ""),
    ("POST", DEPLOY, J, deployment(), ""),
    ("PATCH", DEPLOY + "/d", MERGE, '{"spec":{"selector":{"matchLabels":{"c":"d"}}}}', ""),
    ("PUT", DEPLOY + "/d/scale", J, json.dumps({"metadata": {"name": "d"}, "spec": {"replicas": -3}}), ""),
    ("PATCH", DEPLOY + "/d/scale", MERGE, '{"spec":{"replicas":3}}', ""),
    ("POST", NS + "/services", J, json.dumps({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 0}]}}), ""),
    ("POST", NS + "/services", J, json.dumps({"metadata": {"name": "s"}, "spec": {"clusterIP": "1.2.3.4", "ports": [{"port": 80}]}}), ""),
    ("POST", NS + "/services", J, json.dumps({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 1}]}}), ""),
    ("POST", NS + "/secrets", J, json.dumps({"metadata": {"name": "s"}, "type": "kubernetes.io/tls"}), ""),
    ("POST", NS + "/serviceaccounts/default/token", J, json.dumps({"spec": {"expirationSeconds": 5}}), ""),
    ("POST", NS + "/serviceaccounts/absent/token", J, json.dumps({"spec": {}}), ""),
    ("DELETE", "/api/v1/namespaces/default", "", "", ""),
]


def normalise(code, body):
    try:
        answer = json.loads(body)
    except ValueError:
        return {"code": code, "text": True}
    if not isinstance(answer, dict) or answer.get("kind") != "Status":
        return {"code": code, "kind": answer.get("kind") if isinstance(answer, dict) else None}
    text = json.dumps({k: answer[k] for k in ("status", "reason", "message", "details", "code") if k in answer})
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UID", text)
    return {"code": code, **json.loads(text)}


def main():
    server, ca, cert, key = sys.argv[1:5]
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(cert, key)
    answers = []
    for method, path, content, body, accept in CASES:
        request = urllib.request.Request(server + path, data=body.encode("latin-1") if body or content else None, method=method)
        if content: request.add_header("Content-Type", content)
        if accept: request.add_header("Accept", accept)
        request.add_header("User-Agent", "cases/1")
        try:
            with urllib.request.urlopen(request, context=context, timeout=20) as reply:
                code, text = reply.status, reply.read()
        except urllib.error.HTTPError as reply:
            code, text = reply.code, reply.read()
        answers.append({"method": method, "path": path, "content": content, "body": body, "accept": accept, "answer": normalise(code, text)})
    target = os.environ.get("OUT", os.path.join(HERE, "answers.json"))
    with open(target, "w") as out:
        out.write("[\n" + ",\n".join(json.dumps(a, ensure_ascii=False) for a in answers) + "\n]\n")


if __name__ == "__main__":
    main()
