{#- Every program of program:source, made: what a deploy applies to this host before any other host waits for one. -#}
{%- from 'program/map.jinja' import source, wait with context %}
include:
- program.source

{%- for name in source.get('program', {}) %}
{{ wait(name, []) }}
{%- endfor %}
