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
{%- set folder = '/etc/containerd/certs.d/' ~ registry.address %}
{%- if registry.authority is defined %}
containerd_server_registry_{{ name }}_authority:
  file.managed:
  - name: {{ folder }}/ca.crt
  - contents_pillar: pki:authority:{{ registry.authority }}:certificate
  - makedirs: true
  - require_in:
    - file: containerd_server_registry_{{ name }}

{% endif %}
containerd_server_registry_{{ name }}:
  file.managed:
  # Read at every pull: no restart.
  - name: {{ folder }}/hosts.toml
  - source: salt://containerd/files/hosts.toml
  - template: jinja
  - makedirs: true
  - mode: '0600'
  - show_changes: false
  - context:
      name: {{ name | json }}
      authority: {{ (folder ~ '/ca.crt' if registry.authority is defined else registry.get('ca_file')) | json }}
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
