include:
{%- if salt['pillar.get']('coredns:server:enabled') %}
- coredns.server
{%- endif %}
