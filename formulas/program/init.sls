{%- if salt['pillar.get']('program:source:enabled') %}
include:
- program.source
{%- else %}
include: []
{%- endif %}
