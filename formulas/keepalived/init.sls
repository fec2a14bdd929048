include:
{%- if salt['pillar.get']('keepalived:cluster:enabled') %}
- keepalived.cluster
{%- endif %}
