{%- if salt['pillar.get']('golang:compile:enabled') %}
include:
- golang.compile
{%- else %}
include: []
{%- endif %}
