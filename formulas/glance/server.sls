{%- from "glance/map.jinja" import server with context %}
# Configuration and processes of the image service. Installs nothing: that is glance.packages.

glance_directories:
  file.directory:
  - names:
    - /etc/glance
    - /var/lib/glance
  - user: glance
  - group: glance
  - mode: 750

# Staging lies beside the images, so that an upload to one replica can be imported by another.
glance_storage:
  file.directory:
  - names:
    - {{ server.storage.path }}
    - {{ server.storage.path }}/.staging
    - {{ server.storage.path }}/.tasks
  - user: glance
  - group: glance
  - mode: 750
  - makedirs: true
  - require:
    - file: glance_directories

glance_config:
  file.managed:
  - name: /etc/glance/glance-api.conf
  - source: salt://glance/files/glance-api.conf
  - template: jinja
  - user: glance
  - group: glance
  - mode: 600
  - context: {server: {{ server | json }}}
  - require:
    - file: glance_directories

# Which filters this release has, its own package knows.
glance_paste:
  file.copy:
  - name: /etc/glance/glance-api-paste.ini
  - source: /usr/share/glance-common/glance-api-paste.ini
  - force: true
  - user: glance
  - group: glance
  - mode: 644
  - require:
    - file: glance_directories

glance_schema:
  file.copy:
  - name: /etc/glance/schema-image.json
  - source: /usr/share/glance-common/schema-image.json
  - force: true
  - user: glance
  - group: glance
  - mode: 644
  - require:
    - file: glance_directories

glance_database:
  file.managed:
  - name: /etc/glance/database.cnf
  - source: salt://glance/files/database.cnf
  - template: jinja
  - user: glance
  - group: glance
  - mode: 600
  - context: {server: {{ server | json }}}
  - require:
    - file: glance_directories

glance_logging:
  file.managed:
  - name: /etc/glance/logging.conf
  - source: salt://glance/files/logging.conf
  - user: glance
  - group: glance
  - mode: 644
  - require:
    - file: glance_directories

glance_uwsgi:
  file.managed:
  - name: /etc/glance/uwsgi.ini
  - source: salt://glance/files/uwsgi.ini
  - template: jinja
  - user: glance
  - group: glance
  - mode: 644
  - context: {server: {{ server | json }}}
  - require:
    - file: glance_directories

# What the scripts below know of the identity service; they run as root or as glance.
glance_identity:
  file.managed:
  - name: /etc/glance/identity.json
  - source: salt://glance/files/identity.json
  - template: jinja
  - user: glance
  - group: glance
  - mode: 600
  - context: {server: {{ server | json }}}
  - require:
    - file: glance_directories

{%- for process in ('api', 'expand', 'contract', 'register') %}

glance_process_{{ process }}:
  file.managed:
  - name: /entrypoint.d/{{ process }}
  - source: salt://glance/files/{{ process }}
  - template: jinja
  - mode: 755
  - makedirs: true
  - context: {server: {{ server | json }}}
{%- endfor %}

glance_check:
  file.managed:
  - name: /usr/local/bin/glance-check
  - source: salt://glance/files/glance-check
  - template: jinja
  - mode: 755
  - context: {server: {{ server | json }}}
