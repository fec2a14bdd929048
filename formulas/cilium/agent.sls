{%- from 'program/map.jinja' import path, wait, binary with context %}
{%- from 'cilium/map.jinja' import access with context %}
{%- set agent = pillar.cilium.agent %}
{%- set pool = pillar.kubernetes.pool %}
{%- set commands = ['cilium-agent', 'cilium-cni', 'cilium-dbg'] %}
{%- set sums = 'grep " bpf.tar$" ' ~ path('cilium') ~ '/SHA256SUMS' %}
{%- set library = '/var/lib/cilium' %}
include:
- kubernetes.pool

{{ wait('cilium', commands + ['bpf.tar']) }}
{{ binary('cilium', 'cilium-agent') }}
{{ binary('cilium', 'cilium-dbg') }}
{{ binary('cilium', 'cilium-cni', salt['pillar.get']('containerd:server:cni:bin_dir', '/usr/lib/cni') ~ '/cilium-cni') }}

# The agent compiles its programs for the kernel by itself, for this host's own kernel and settings.
cilium_agent_packages:
  pkg.installed:
  - pkgs:
    - clang-{{ agent.get('clang', 19) }}
    - iptables
  - install_recommends: false

cilium_agent_sources:
  cmd.run:
  - name: >-
      mkdir -p {{ library }} && rm -rf {{ library }}/bpf && tar -xf {{ path('cilium') }}/bpf.tar -C {{ library }} &&
      {{ sums }} > {{ library }}/bpf.sum
  - unless: {{ sums }} | cmp -s - {{ library }}/bpf.sum
  - require:
    - cmd: program_cilium_complete

{{ access('agent', 'root', agent) }}

{%- if agent.get('shared_kernel') %}

# All that the agent finds of /proc are settings of the host's own network.
cilium_agent_proc:
  file.symlink:
  - name: {{ library }}/proc/sys/net
  - target: /proc/sys/net
  - makedirs: true
  - require_in:
    - service: cilium_agent_service
{%- endif %}

# What another engine left: a bridge whose route to the pods of this node is the agent's now.
cilium_agent_other:
  file.absent:
  - name: /etc/cni/net.d/10-bridge.conflist
{%- set bridge = pool.network.get('bridge', 'cni0') %}

cilium_agent_bridge:
  cmd.run:
  - name: ip link delete {{ bridge }}
  - onlyif: test -e /sys/class/net/{{ bridge }}
  - require:
    - file: cilium_agent_other

cilium_agent_service:
  service.running:
  - name: cilium-agent
  - enable: true
  - require:
    - pkg: cilium_agent_packages
    - cmd: cilium_agent_bridge
    # The agent takes the range of the node's pods from there.
    - cmd: kubernetes_pool_range
    # Before the agent writes the CNI configuration.
    - file: program_binary_cilium-cni
  - require_in:
    - cmd: kubernetes_pool_ready
  - watch:
    - file: program_binary_cilium-agent
    - cmd: cilium_agent_sources

# A highstate that ends well means an agent that has the policies of the node's pods in effect.
{%- set busy = 'cilium-dbg endpoint list --output jsonpath="{[*].status.state}" | grep -qE "restor|regenerat"' %}
{%- set well = 'cilium-dbg status --brief > /dev/null 2>&1 && ! ' ~ busy %}
cilium_agent_ready:
  cmd.run:
  - name: >-
      timeout {{ agent.get('timeout', 300) }} sh -c 'until {{ well }}; do sleep 1; done' ||
      { journalctl --unit cilium-agent --lines 20 --no-pager; exit 1; }
  - unless: {{ well }}
  - require:
    - service: cilium_agent_service
    - file: program_binary_cilium-dbg

# Those that another engine had given a network, and that stayed here.
cilium_agent_without_network_script:
  file.managed:
  - name: /usr/local/lib/cilium/without-network
  - source: salt://cilium/files/without-network
  - mode: '0755'
  - makedirs: true

cilium_agent_without_network:
  cmd.run:
  - name: /usr/local/lib/cilium/without-network end
  - onlyif: test -n "$(/usr/local/lib/cilium/without-network list)"
  - require:
    - file: cilium_agent_without_network_script
    - cmd: cilium_agent_ready
