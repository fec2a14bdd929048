include:
{%- if salt['pillar.get']('linux:system:enabled') %}
- linux.system
{%- endif %}
{%- if salt['pillar.get']('linux:network:enabled') %}
- linux.network
{%- endif %}
{%- if salt['pillar.get']('linux:storage:enabled') %}
- linux.storage
{%- endif %}
