{%- from 'linux/map.jinja' import sys_resource with context %}
{%- set server = pillar.containerd.server %}

containerd_server_config:
  file.managed:
  - name: /etc/containerd/config.toml
  - source: salt://containerd/files/config.toml
  - template: jinja
  - makedirs: true
  - context:
      server: {{ server | json }}
      sys_resource: {{ sys_resource }}

{%- for name, registry in server.get('registry', {}).items() %}
containerd_server_registry_{{ name }}:
  file.managed:
  # Read at every pull: no restart.
  - name: /etc/containerd/certs.d/{{ registry.address }}/hosts.toml
  - source: salt://containerd/files/hosts.toml
  - template: jinja
  - makedirs: true
  - context:
      registry: {{ registry | json }}
{%- endfor %}

containerd_server_packages:
  pkg.installed:
  - pkgs:
    - containerd
    - runc
  - install_recommends: false
  - require:
    - file: containerd_server_config

containerd_server_service:
  service.running:
  - name: containerd
  - enable: true
  - watch:
    - pkg: containerd_server_packages
    - file: containerd_server_config
