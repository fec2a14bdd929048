{%- if salt['pillar.get']('keepalived:cluster:enabled') %}
include:
- keepalived.cluster
{%- else %}
include: []
{%- endif %}
