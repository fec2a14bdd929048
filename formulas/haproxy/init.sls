{%- if salt['pillar.get']('haproxy:proxy:enabled') %}
include:
- haproxy.proxy
{%- else %}
include: []
{%- endif %}
