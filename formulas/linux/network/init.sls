{%- from 'linux/map.jinja' import container with context %}
{%- set network = pillar.linux.network %}
{%- if container %}
include:
- linux.system.container
{%- endif %}

{%- if network.host is defined %}
linux_network_hosts:
  file.managed:
  # In a container /etc/hosts is the engine's; there, container-host lays this file over it.
  - name: {{ '/etc/hosts.managed' if container else '/etc/hosts' }}
  - source: salt://linux/files/hosts
  - template: jinja
  - context:
      hosts: {{ network.host | json }}

{%- if container %}
linux_network_hosts_applied:
  cmd.run:
  - name: cat /etc/hosts.managed > /etc/hosts
  - unless: cmp -s /etc/hosts.managed /etc/hosts
  - require:
    - file: linux_network_hosts
{%- endif %}
{%- endif %}

{%- if network.route is defined or network.peer_route is defined %}
linux_network_route_script:
  file.managed:
  - name: /usr/local/sbin/linux-route
  - source: salt://linux/files/linux-route
  - mode: '0755'

linux_network_route_table:
  file.managed:
  - name: /etc/linux-route
  - source: salt://linux/files/linux-route.table
  - template: jinja
  - context:
      address: {{ network.address | json }}
      routes: {{ (network.get('route', {}).values() | list + network.get('peer_route', {}).values() | list) | json }}

linux_network_route_unit:
  file.managed:
  - name: /etc/systemd/system/linux-route.service
  - source: salt://linux/files/linux-route.service

linux_network_route:
  service.running:
  - name: linux-route
  - enable: true
  - watch:
    - file: linux_network_route_script
    - file: linux_network_route_table
    - file: linux_network_route_unit

# Somebody may have taken a route away by hand; the unit would still count as running.
linux_network_route_repaired:
  cmd.run:
  - name: /usr/local/sbin/linux-route apply
  - unless: /usr/local/sbin/linux-route check
  - require:
    - service: linux_network_route
{%- endif %}
