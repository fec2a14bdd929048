{#- Registers Cilium's kinds of objects and clears up after what is gone. Nodes need the kinds, and their rights, before
    anything can be deployed: they come with a master's highstate. -#}
{%- from 'program/map.jinja' import wait, binary with context %}
{%- from 'cilium/map.jinja' import access with context %}
{%- set operator = pillar.cilium.operator %}
{%- set kubectl = 'kubectl --kubeconfig /etc/kubernetes/admin.conf --request-timeout 10s' %}
include:
- kubernetes.master

{{ wait('cilium', ['cilium-operator-generic']) }}
{{ binary('cilium', 'cilium-operator-generic') }}

cilium_operator_user:
  user.present:
  - name: cilium-operator
  - system: true
  - usergroup: true
  - home: /nonexistent
  - createhome: false
  - shell: /usr/sbin/nologin
  - require_in:
    - file: cilium_operator_directory

{{ access('operator', 'cilium-operator', operator) }}

cilium_operator_roles:
  file.managed:
  - name: /etc/cilium/roles.yml
  - source: salt://cilium/files/roles.yml
  - makedirs: true

cilium_operator_roles_applied:
  cmd.run:
  - name: {{ kubectl }} apply --server-side --force-conflicts --field-manager cilium-formula --filename /etc/cilium/roles.yml
  - unless: {{ kubectl }} diff --server-side --force-conflicts --field-manager cilium-formula --filename /etc/cilium/roles.yml
  - require:
    - file: cilium_operator_roles
    - cmd: kubernetes_master_ready

# An agent has an argument for it; an operator reads it in a file alone.
cilium_operator_config:
  file.managed:
  - name: /etc/cilium/operator/config.yml
  - contents: |
      # This file is managed by Salt.
      enable-bgp-control-plane: {{ operator.get('bgp', false) | lower }}
  - require:
    - file: cilium_operator_directory

cilium_operator_service:
  service.running:
  - name: cilium-operator
  - enable: true
  - require:
    - cmd: cilium_operator_roles_applied
  - watch:
    - file: program_binary_cilium-operator-generic
    - file: cilium_operator_config

# A highstate that ends well means an API server that knows what the agents ask it for.
{%- set kinds = ['ciliumnodes', 'ciliumendpoints', 'ciliumidentities', 'ciliumnetworkpolicies'] %}
{%- if operator.get('bgp') %}
{%- do kinds.extend(['ciliumbgpclusterconfigs', 'ciliumbgppeerconfigs', 'ciliumbgpadvertisements', 'ciliumbgpnodeconfigs', 'ciliumbgpnodeconfigoverrides']) %}
{%- endif %}
{%- set known = kubectl ~ ' get ' ~ kinds | join(',') %}
cilium_operator_ready:
  cmd.run:
  - name: >-
      timeout {{ operator.get('timeout', 120) }} sh -c 'until {{ known }} > /dev/null 2>&1; do sleep 1; done' ||
      { journalctl --unit cilium-operator --lines 20 --no-pager; exit 1; }
  - unless: {{ known }}
  - require:
    - service: cilium_operator_service
