{%- from "glance/map.jinja" import server, service with context %}
# Configuration and processes of the image service. Installs nothing: that is glance.packages.
include:
- openstack.service

glance_storage:
  file.directory:
  - names: {{ service.volumes | json }}
  - user: glance
  - group: glance
  - mode: 750
  - makedirs: true
  - require:
    - file: openstack_directories

glance_config:
  file.managed:
  - name: /etc/glance/glance-api.conf
  - source: salt://glance/files/glance-api.conf
  - template: jinja
  - user: glance
  - group: glance
  - mode: 600
  - context: {{ {'server': server, 'service': service} | json }}
  - require:
    - file: openstack_directories

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
    - file: openstack_directories

glance_schema:
  file.copy:
  - name: /etc/glance/schema-image.json
  - source: /usr/share/glance-common/schema-image.json
  - force: true
  - user: glance
  - group: glance
  - mode: 644
  - require:
    - file: openstack_directories
