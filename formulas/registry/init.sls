include:
{%- if salt['pillar.get']('registry:server:enabled') %}
- registry.server
{%- endif %}
