{#- Fills kubernetes:source:directory. Started early, because compiling takes minutes in which the rest can go on. -#}
{%- from 'kubernetes/map.jinja' import source, version, binaries, complete with context %}
{%- set engine = source.get('engine', 'directory') %}
include:
- kubernetes.source_complete

{%- if engine != 'directory' %}
{%- set fetch_only = engine == 'url' %}
kubernetes_source_packages:
  pkg.installed:
  - pkgs: {{ (['curl', 'ca-certificates'] if fetch_only else ['dpkg-dev', 'gcc', 'libc6-dev', 'xz-utils']) | json }}
  - install_recommends: false
  - refresh: true
  - cache_valid_time: 3600
  - unless: test -e {{ complete }}
  - order: 2

kubernetes_source_script:
  file.managed:
  - name: /usr/local/lib/kubernetes/source
  - source: salt://kubernetes/files/source-{{ engine }}
  - mode: '0755'
  - makedirs: true
  - order: 3

kubernetes_source_started:
  cmd.run:
  - name: >-
      systemctl reset-failed kubernetes-source.service 2>/dev/null;
      systemd-run --quiet --unit=kubernetes-source --property=Nice=5 --setenv=HOME=/root
      --description="Kubernetes {{ version }} from {{ engine }}"
      /usr/local/lib/kubernetes/source {{ version }} {{ binaries }}
      {%- if engine == 'url' %} {{ source.url | json }} {{ source.hash | json }}{% endif %}
  - unless: test -e {{ complete }} || systemctl is-active --quiet kubernetes-source.service
  - require:
    - file: kubernetes_source_script
    - pkg: kubernetes_source_packages
  - order: 4
{%- endif %}
