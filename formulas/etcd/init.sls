include:
{%- if salt['pillar.get']('etcd:server:enabled') %}
- etcd.server
{%- endif %}
