{%- from 'linux/map.jinja' import container, sys_resource with context %}
{%- from 'containerd/map.jinja' import systemd_cgroup with context %}
{%- from 'program/map.jinja' import path with context %}
{%- from 'kubernetes/map.jinja' import answers, pki, certificate, authority, kubeconfig, unit with context %}
{%- set pool = pillar.kubernetes.pool %}
{%- set server = 'https://' ~ pool.master.host ~ ':' ~ pool.master.get('port', 6443) %}
{%- set sandbox = salt['pillar.get']('containerd:server:sandbox_image') %}
{%- set pause = 'localhost/pause:local' %}
{%- set bird = salt['pillar.get']('bird:server', {}) %}
{%- if pool.network.engine == 'bgp' and not (bird.get('enabled') and pool.network.range in bird.get('announce', {}).values()) %}
{{- raise('kubernetes:pool:network:engine is bgp: bird:server has to be enabled, and to announce ' ~ pool.network.range) }}
{%- endif %}
{%- set context = {'pool': pool, 'pki': pki, 'sys_resource': sys_resource, 'systemd_cgroup': systemd_cgroup} %}
include:
- kubernetes.program
{%- if container %}
- linux.system.container
{%- endif %}

kubernetes_pool_packages:
  pkg.installed:
  - pkgs:
    - conntrack
    - containernetworking-plugins
    - ebtables
    - ethtool
    - iptables
    - mount
    # kube-proxy's nftables mode names protocols as /etc/protocols does.
    - netbase
    - nftables
    - socat
    - util-linux
    {%- for name in pool.get('package', {}) | sort %}
    - {{ name }}
    {%- endfor %}
  - install_recommends: false

{%- if not container %}
{%- for module in ('br_netfilter', 'overlay') %}
kubernetes_pool_module_{{ module }}:
  kmod.present:
  - name: {{ module }}
  - persist: true
  - require_in:
    - sysctl: kubernetes_pool_sysctl_net.ipv4.ip_forward
{%- endfor %}
{%- endif %}

{%- for name in ('net.ipv4.ip_forward', 'net.bridge.bridge-nf-call-iptables') %}
kubernetes_pool_sysctl_{{ name }}:
  sysctl.present:
  - name: {{ name }}
  - value: 1
  - config: /etc/sysctl.d/61-kubernetes.conf
  {%- if container %}
  - require:
    - service: linux_system_container
  {%- endif %}
{%- endfor %}

{%- if not pillar.kubernetes.get('master', {}).get('enabled') %}
{{ authority('ca', 'kubernetes-kubelet') }}
{%- endif %}
{{ certificate('kubernetes-kubelet') }}
{{ certificate('kubernetes-proxy') }}
{{ kubeconfig('kubelet', 'kubernetes-kubelet', server) }}
{{ kubeconfig('kube-proxy', 'kubernetes-proxy', server) }}

{%- for name in ('kubelet', 'kube-proxy') %}
kubernetes_pool_config_{{ name }}:
  file.managed:
  - name: /etc/kubernetes/{{ name }}.yml
  - source: salt://kubernetes/files/{{ name }}.yml
  - template: jinja
  - makedirs: true
  - dir_mode: '0755'
  - context: {{ context | json }}
{{ unit(name, context) }}
{%- endfor %}

{%- if pool.network.engine in ('bridge', 'bgp') %}
kubernetes_pool_cni:
  file.managed:
  - name: /etc/cni/net.d/10-bridge.conflist
  - source: salt://kubernetes/files/cni-bridge.conflist
  - template: jinja
  - makedirs: true
  - context:
      network: {{ pool.network | json }}
  - require_in:
    - service: kubernetes_service_kubelet
{%- endif %}

{%- if pool.network.hosts is defined %}
kubernetes_pool_firewall_script:
  file.managed:
  - name: /usr/local/lib/kubernetes/pod-firewall
  - source: salt://kubernetes/files/pod-firewall
  - mode: '0755'
  - makedirs: true

kubernetes_pool_firewall_rules:
  file.managed:
  - name: /etc/kubernetes/pod-firewall.rules
  - source: salt://kubernetes/files/pod-firewall.rules
  - template: jinja
  - makedirs: true
  - context:
      network: {{ pool.network | json }}
      cluster_dns: {{ pool.get('cluster_dns', '') | json }}

# At the host's start the kubelet's unit does the same.
kubernetes_pool_firewall:
  cmd.run:
  - name: /usr/local/lib/kubernetes/pod-firewall apply
  - unless: /usr/local/lib/kubernetes/pod-firewall check
  - require:
    - pkg: kubernetes_pool_packages
    - file: kubernetes_pool_firewall_script
    - file: kubernetes_pool_firewall_rules
  - require_in:
    - service: kubernetes_service_kubelet
{%- endif %}

{%- if not sandbox %}
kubernetes_pool_pause_script:
  file.managed:
  - name: /usr/local/lib/kubernetes/import-pause
  - source: salt://kubernetes/files/import-pause
  - mode: '0755'
  - makedirs: true

kubernetes_pool_pause:
  cmd.run:
  - name: /usr/local/lib/kubernetes/import-pause {{ path('kubernetes') }}/pause {{ pause }}
  - unless: /usr/local/lib/kubernetes/import-pause --check {{ path('kubernetes') }}/pause {{ pause }}
  - require:
    - file: kubernetes_pool_pause_script
    - cmd: program_kubernetes_complete
    - service: containerd_server_service
  - require_in:
    - service: kubernetes_service_kubelet
{%- endif %}

{%- for name, owns in (
  ('kubelet', ['kubernetes_pki_kubernetes-kubelet_crt', 'kubernetes_pki_kubernetes-kubelet_key', 'kubernetes_kubeconfig_kubelet']),
  ('kube-proxy', ['kubernetes_pki_kubernetes-proxy_crt', 'kubernetes_pki_kubernetes-proxy_key', 'kubernetes_kubeconfig_kube-proxy']),
) %}
kubernetes_service_{{ name }}:
  service.running:
  - name: {{ name }}
  - enable: true
  - require:
    - pkg: kubernetes_pool_packages
    - sysctl: kubernetes_pool_sysctl_net.ipv4.ip_forward
    - sysctl: kubernetes_pool_sysctl_net.bridge.bridge-nf-call-iptables
  - watch:
    - file: program_binary_{{ name }}
    - file: kubernetes_unit_{{ name }}
    - file: kubernetes_pool_config_{{ name }}
    - file: kubernetes_pki_ca
    {%- for owned in owns %}
    - file: {{ owned }}
    {%- endfor %}
{%- endfor %}

{%- if pool.network.engine in ('cilium', 'calico') %}

# It stays as long as the node has its name.
{%- set kubectl = 'kubectl --kubeconfig /etc/kubernetes/kubelet.conf --request-timeout 10s' %}
{%- set range = {'spec': {'podCIDR': pool.network.range, 'podCIDRs': [pool.network.range]}} %}
kubernetes_pool_range:
  cmd.run:
  - name: >-
      timeout {{ pool.get('timeout', 300) }} sh -c 'until {{ kubectl }} get node {{ pool.name }} > /dev/null 2>&1; do sleep 1; done';
      {{ kubectl }} patch node {{ pool.name }} --patch '{{ range | json }}'
  - unless: test "$({{ kubectl }} get node {{ pool.name }} -o 'jsonpath={.spec.podCIDR}')" = {{ pool.network.range }}
  - require:
    - file: program_binary_kubectl
    - service: kubernetes_service_kubelet
  - require_in:
    - cmd: kubernetes_pool_ready
{%- endif %}

# A highstate that ends well means a proxy that has written its rules.
{%- set address = pool.get('proxy', {}).get('config', {}).get('metricsBindAddress') or '127.0.0.1:10249' %}
{%- set written = 'kubectl --kubeconfig /dev/null --server http://' ~ address ~ ' --request-timeout 5s get --raw /metrics 2>/dev/null'
    ~ ' | grep -q ^kubeproxy_sync_proxy_rules_last_timestamp_seconds' %}
{{ answers('kubernetes_pool_proxy_ready', 'kube-proxy', written, pool.get('timeout', 300)) }}

# It means a node that takes pods, too, with the labels that the model gives it.
kubernetes_pool_ready_script:
  file.managed:
  - name: /usr/local/lib/kubernetes/node-ready
  - source: salt://kubernetes/files/node-ready
  - mode: '0755'
  - makedirs: true

{%- set labels = [] %}
{%- for name, value in pool.get('label', {}) | dictsort %}
{%- do labels.append(name ~ '=' ~ value) %}
{%- endfor %}
kubernetes_pool_ready:
  cmd.run:
  - name: /usr/local/lib/kubernetes/node-ready {{ pool.name }} {{ pool.get('timeout', 300) }} {{ labels | join(' ') }}
  - unless: /usr/local/lib/kubernetes/node-ready --check {{ pool.name }} 0 {{ labels | join(' ') }}
  - require:
    - file: kubernetes_pool_ready_script
    - file: program_binary_kubectl
    - service: kubernetes_service_kubelet
    - service: kubernetes_service_kube-proxy
