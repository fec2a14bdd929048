{%- from "keystone/map.jinja" import server with context %}
# Configuration and processes of the identity service. Installs nothing: that is keystone.packages.

# The entrypoint writes here when the container starts, and it does not start as root.
keystone_directories:
  file.directory:
  - names:
    - /etc/keystone
    - /var/lib/keystone
  - user: keystone
  - group: keystone
  - mode: 750

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
    - file: keystone_directories

keystone_config:
  file.managed:
  - name: /etc/keystone/keystone.conf
  - source: salt://keystone/files/keystone.conf
  - template: jinja
  - user: keystone
  - group: keystone
  - mode: 600
  - context: {server: {{ server | json }}}
  - require:
    - file: keystone_directories

keystone_database:
  file.managed:
  - name: /etc/keystone/database.cnf
  - source: salt://keystone/files/database.cnf
  - template: jinja
  - user: keystone
  - group: keystone
  - mode: 600
  - context: {server: {{ server | json }}}
  - require:
    - file: keystone_directories

keystone_logging:
  file.managed:
  - name: /etc/keystone/logging.conf
  - source: salt://keystone/files/logging.conf
  - user: keystone
  - group: keystone
  - mode: 644
  - require:
    - file: keystone_directories

keystone_uwsgi:
  file.managed:
  - name: /etc/keystone/uwsgi.ini
  - source: salt://keystone/files/uwsgi.ini
  - template: jinja
  - user: keystone
  - group: keystone
  - mode: 644
  - context: {server: {{ server | json }}}
  - require:
    - file: keystone_directories

{%- for process in ('api', 'expand', 'contract', 'bootstrap') %}

keystone_process_{{ process }}:
  file.managed:
  - name: /entrypoint.d/{{ process }}
  - source: salt://keystone/files/{{ process }}
  - template: jinja
  - mode: 755
  - makedirs: true
  - context: {server: {{ server | json }}}
{%- endfor %}

keystone_check:
  file.managed:
  - name: /usr/local/bin/keystone-check
  - source: salt://keystone/files/keystone-check
  - template: jinja
  - mode: 755
  - context: {server: {{ server | json }}}
