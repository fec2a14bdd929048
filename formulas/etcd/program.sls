{#- Holds back whatever needs etcd's binaries until those that this host needs are there. -#}
{%- from 'program/map.jinja' import wait, binary with context %}
{%- set commands = ['etcdctl'] + (['etcd', 'etcdutl'] if salt['pillar.get']('etcd:server:enabled') else []) %}
{{ wait('etcd', commands) }}

{%- for command in commands %}
{{ binary('etcd', command) }}
{%- endfor %}
