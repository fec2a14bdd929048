include:
{%- if salt['pillar.get']('pillarbox:repository:enabled') %}
- pillarbox.repository
{%- endif %}
