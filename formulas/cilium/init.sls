{%- set roles = [] %}
{%- for role in ('agent', 'operator') if salt['pillar.get']('cilium:' ~ role ~ ':enabled') %}
{%- do roles.append('cilium.' ~ role) %}
{%- endfor %}
include: {{ roles | json }}
