include:
{%- if salt['pillar.get']('salt:minion:enabled') %}
- salt.minion
{%- endif %}
{%- if salt['pillar.get']('salt:master:enabled') %}
- salt.master
{%- endif %}
