include:
{%- if salt['pillar.get']('etcd:server:enabled') %}
- etcd.server
{%- endif %}
{%- if salt['pillar.get']('etcd:client:enabled') %}
- etcd.client
{%- endif %}
