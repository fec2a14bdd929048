{%- from "placement/map.jinja" import server, service with context %}
# Configuration and processes of the placement service. Installs nothing: that is placement.packages.
include:
- openstack.service

placement_config:
  file.managed:
  - name: /etc/placement/placement.conf
  - source: salt://placement/files/placement.conf
  - template: jinja
  - user: placement
  - group: placement
  - mode: 600
  - context: {{ {'server': server, 'service': service} | json }}
  - require:
    - file: openstack_directories
