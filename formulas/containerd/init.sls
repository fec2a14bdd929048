include:
{%- if salt['pillar.get']('containerd:server:enabled') %}
- containerd.server
{%- endif %}
