"""What somebody does who got into a pod: tried in a pod of Keystone. What a neighbour finds is in ``test_underlay``."""

from __future__ import annotations

import json

import pytest
from tests.story.lab import Lab

pytestmark = pytest.mark.lab

# Prints, as JSON, what came of each attempt: the HTTP status, or what the kernel answered.
ATTACK = """
import json, os, ssl, sys, urllib.error, urllib.request

context = ssl._create_unverified_context()
token = ""
if os.path.exists("/var/run/secrets/kubernetes.io/serviceaccount/token"):
    token = open("/var/run/secrets/kubernetes.io/serviceaccount/token").read()

def status(url):
    request = urllib.request.Request(url, headers={"Authorization": "Bearer " + token} if token else {})
    try:
        return urllib.request.urlopen(request, timeout=10, context=context).status
    except urllib.error.HTTPError as error:
        return error.code

def written(path):
    try:
        open(path, "w").close()
        return "written"
    except OSError as error:
        return error.strerror

api = "https://%s:%s" % (os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"])
rights = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
print(json.dumps({
    "user": os.getuid(),
    "capabilities": rights["CapEff"].strip("0"),
    "new privileges": rights["NoNewPrivs"],
    "api": [status(api + path) for path in ("/api/v1/secrets", "/api/v1/namespaces/default/secrets/mariadb",
                                            "/api/v1/nodes", "/apis/apps/v1/deployments")],
    "kubelet": status("https://%s:10250/pods" % sys.argv[1]),
    "written": [written(path) for path in ("/entrypoint.sh", "/etc/passwd", "/entrypoint.d/api")],
}))
"""


def test_a_pod_has_its_own_rights_and_no_more(lab: Lab) -> None:
    pods = lab.objects("pods", "app=keystone-server")
    pod = next(each for each in pods if "deletionTimestamp" not in each["metadata"])
    place = ("-c", pod["spec"]["containers"][0]["name"], pod["metadata"]["name"])
    done = lab.kubectl("exec", *place, "--", "python3", "-c", ATTACK, pod["status"]["hostIP"])
    found = json.loads(done.stdout)
    assert found["user"] != 0 and found["capabilities"] == "" and found["new privileges"] == "1"
    assert set(found["api"]) <= {401, 403} and found["kubelet"] in (401, 403)
    assert set(found["written"]) == {"Permission denied"}
