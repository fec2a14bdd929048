{%- from 'linux/map.jinja' import sys_resource with context %}
{%- from 'containerd/map.jinja' import systemd_cgroup with context %}
{%- from 'program/map.jinja' import wait, binary with context %}
{%- set server = pillar.containerd.server %}

{{ wait('containerd', ['containerd', 'containerd-shim-runc-v2', 'ctr']) }}
{{ wait('runc', ['runc']) }}
{%- for program, command in (('containerd', 'containerd'), ('containerd', 'containerd-shim-runc-v2'), ('containerd', 'ctr'), ('runc', 'runc')) %}
{{ binary(program, command) }}
{%- endfor %}

containerd_server_config:
  file.managed:
  - name: /etc/containerd/config.toml
  - source: salt://containerd/files/config.toml
  - template: jinja
  - makedirs: true
  - context:
      server: {{ server | json }}
      sys_resource: {{ sys_resource }}
      systemd_cgroup: {{ systemd_cgroup }}

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

containerd_server_unit:
  file.managed:
  - name: /etc/systemd/system/containerd.service
  - source: salt://containerd/files/containerd.service
  - template: jinja
  - context:
      sys_resource: {{ sys_resource }}

containerd_server_service:
  service.running:
  - name: containerd
  - enable: true
  - require:
    {%- for command in ('runc', 'containerd-shim-runc-v2', 'ctr') %}
    - file: program_binary_{{ command }}
    {%- endfor %}
  - watch:
    - file: program_binary_containerd
    - file: containerd_server_unit
    - file: containerd_server_config

# A highstate that ends well means a runtime that answers, not a process that was started.
containerd_server_answers:
  cmd.run:
  - name: >-
      timeout 60 sh -c 'until ctr version >/dev/null 2>&1; do sleep 1; done' ||
      { journalctl --unit containerd --lines 15 --no-pager --output cat; exit 1; }
  - unless: ctr version
  - require:
    - service: containerd_server_service
