{#- Holds back whatever needs the binaries until all of them are there, or says why they never will be. -#}
{%- from 'kubernetes/map.jinja' import source, binaries, complete with context %}
kubernetes_source_waiter:
  file.managed:
  - name: /usr/local/lib/kubernetes/source-wait
  - source: salt://kubernetes/files/source-wait
  - mode: '0755'
  - makedirs: true

kubernetes_source_complete:
  cmd.run:
  - name: /usr/local/lib/kubernetes/source-wait {{ binaries }} {{ source.get('timeout', 1800) }}
  - unless: test -e {{ complete }}
  - require:
    - file: kubernetes_source_waiter
    {%- if source.get('enabled') and source.get('engine', 'directory') != 'directory' %}
    - cmd: kubernetes_source_started
    {%- endif %}
