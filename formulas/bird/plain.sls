{%- from 'bird/map.jinja' import plain with context %}
{#- What a deploy applies to all hosts before the first of them takes BGP away. #}
{%- if plain %}
include:
- linux.network
{%- else %}
include: []
{%- endif %}
