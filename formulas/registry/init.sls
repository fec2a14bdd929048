include:
{%- if salt['pillar.get']('registry:client:enabled') %}
- registry.client
{%- endif %}
{%- if salt['pillar.get']('registry:server:enabled') %}
- registry.server
{%- endif %}
