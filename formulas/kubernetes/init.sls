{%- set kubernetes = salt['pillar.get']('kubernetes', {}) %}
{%- set roles = [] %}
{%- for role in ('master', 'pool', 'client') if kubernetes.get(role, {}).get('enabled') %}
{%- do roles.append(role) %}
{%- endfor %}
{%- if roles %}
include:
{%- for role in roles %}
- kubernetes.{{ role }}
{%- endfor %}
{%- else %}
include: []
{%- endif %}
