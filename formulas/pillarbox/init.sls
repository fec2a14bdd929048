include:
{%- if salt['pillar.get']('pillarbox:repository:enabled') %}
- pillarbox.repository
{%- endif %}
{%- if salt['pillar.get']('pillarbox:builder:enabled') %}
- pillarbox.builder
{%- endif %}
