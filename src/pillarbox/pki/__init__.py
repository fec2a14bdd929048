"""Certificates and keys that hosts ask for in the model, issued by the master and kept there.

A host asks in its own pillar::

    pki:
      certificate:
        kubernetes-kubelet:
          ca: kubernetes
          common_name: system:node:ctl01
          organization: system:nodes
          alternative_names: ["DNS:ctl01", "IP:172.30.20.21"]
          usage: [server, client]
      key:
        kubernetes-service-account: {type: rsa}
        kubernetes-encryption: {type: aes, serial: 1}
      authority:
        registry: {}

An authority is made when it, or a certificate of it, is first asked for; its key never leaves the master. Certificates
belong to one host. Keys belong to the deployment: every host that asks for the same name gets the same key. Who asks
for an authority gets its certificate, to trust what it signs. A request that already has ``certificate`` and ``key``
(from a public key infrastructure of one's own), or an authority with its ``certificate``, is passed on as it is. A
serial that is higher by one is a new key, that hosts know already; ``store`` says how.

``request`` is what a host asks for, ``authority`` signs, ``key`` makes keys, ``store`` keeps all of it, and ``issue``
answers one host. Hosts ask twice a day, and get a new certificate while a third of its 90 days is left.
"""

from pillarbox.pki.errors import PkiError
from pillarbox.pki.issue import issue, mistakes
from pillarbox.pki.store import DIRECTORY, Issued, forget, near_end

__all__ = ["DIRECTORY", "Issued", "PkiError", "forget", "issue", "mistakes", "near_end"]
