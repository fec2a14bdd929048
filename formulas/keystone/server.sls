{%- from "keystone/map.jinja" import server, service with context %}
# Configuration and processes of the identity service. Installs nothing: that is keystone.packages.
include:
- openstack.service

# Kubernetes mounts Secrets here, the same for all replicas.
keystone_keys:
  file.directory:
  - names:
    - /etc/keystone/fernet-keys
    - /etc/keystone/credential-keys
  - user: keystone
  - group: keystone
  - mode: 700
  - require:
    - file: openstack_directories

keystone_config:
  file.managed:
  - name: /etc/keystone/keystone.conf
  - source: salt://keystone/files/keystone.conf
  - template: jinja
  - user: keystone
  - group: keystone
  - mode: 600
  - context: {{ {'server': server, 'service': service} | json }}
  - require:
    - file: openstack_directories

keystone_process_bootstrap:
  file.managed:
  - name: /entrypoint.d/bootstrap
  - source: salt://keystone/files/bootstrap
  - template: jinja
  - mode: 755
  - makedirs: true
  - context: {{ {'server': server} | json }}

# Not that of other services: nobody can log in before this one is there.
keystone_check:
  file.managed:
  - name: /usr/local/bin/api-check
  - source: salt://keystone/files/api-check
  - template: jinja
  - mode: 755
  - context: {{ {'server': server} | json }}
