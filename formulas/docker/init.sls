include:
{%- if salt['pillar.get']('docker:host:enabled') %}
- docker.host
{%- endif %}
