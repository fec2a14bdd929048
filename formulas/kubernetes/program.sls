{#- Holds back whatever needs the binaries until those that this host needs are there, or says why they never will be. -#}
{%- from 'program/map.jinja' import wait, binary with context %}
{%- set kubernetes = pillar.kubernetes %}
{%- set pool = kubernetes.get('pool', {}) %}
{%- set commands = ['kubectl'] %}
{%- if kubernetes.get('master', {}).get('enabled') %}
{%- do commands.extend(['kube-apiserver', 'kube-controller-manager', 'kube-scheduler']) %}
{%- endif %}
{%- if pool.get('enabled') %}
{%- do commands.extend(['kubelet', 'kube-proxy']) %}
{%- endif %}
{{ wait('kubernetes', commands + (['pause'] if pool.get('enabled') and not salt['pillar.get']('containerd:server:sandbox_image') else [])) }}

{%- for command in commands %}
{{ binary('kubernetes', command) }}
{%- endfor %}
