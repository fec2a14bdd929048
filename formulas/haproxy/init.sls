include:
{%- if salt['pillar.get']('haproxy:proxy:enabled') %}
- haproxy.proxy
{%- endif %}
