{#- Fills program:source:directory. Started early, because compiling takes minutes in which the rest can go on. -#}
{%- from 'program/map.jinja' import source, toolchain, pins, path with context %}
{%- set script = '/usr/local/lib/program/provide' %}
{%- set plan = {'work': source.get('work', '/var/cache'), 'toolchain': toolchain, 'programs': []} %}
{%- set packages = ['ca-certificates', 'python3'] %}
{%- set files = {} %}
{%- for name, given in source.get('program', {}).items() if given.path is not defined %}
{#- First, as it says what to do about a version that has no pins. #}
{%- set directory = path(name) %}
{%- set planned = {'name': name, 'version': given.version, 'directory': directory} %}
{%- if given.url is defined %}
{%- do planned.update({'url': given.url, 'hash': given.hash}) %}
{%- else %}
{%- import_yaml 'program/files/' ~ name ~ '/' ~ given.version ~ '/program.yml' as program %}
{%- set folder = '/usr/local/lib/program/source/' ~ directory.split('/')[-1] %}
{%- for file in pins(name, given.version) | load_json if not file.endswith('/program.yml') %}
{%- do files.update({folder ~ '/' ~ file.split('/', 4)[4]: file}) %}
{%- endfor %}
{%- do packages.extend(program.get('packages', [])) %}
{%- do planned.update({
  'source': folder,
  'commands': program.commands,
  'tags': program.get('tags', []),
  'ldflags': program.get('ldflags', []),
  'cgo': program.get('cgo', false),
  'c': program.get('c', {}),
  'archives': program.get('archives', {}),
}) %}
{%- endif %}
{%- do plan.programs.append(planned) %}
{%- endfor %}
{%- set tests = ['true'] %}
{%- for program in plan.programs %}
{%- do tests.append('test -e ' ~ program.directory ~ '/SHA256SUMS') %}
{%- endfor %}
{%- set complete = tests | join(' && ') %}

program_source_packages:
  pkg.installed:
  - pkgs: {{ packages | unique | sort | json }}
  - install_recommends: false
  - refresh: true
  - cache_valid_time: 3600
  - unless: {{ complete }}
  - order: 2

program_source_script:
  file.managed:
  - name: {{ script }}
  - source: salt://program/files/provide
  - mode: '0755'
  - makedirs: true
  - order: 3

{%- for target, file in files.items() %}
program_source_file_{{ loop.index }}:
  file.managed:
  - name: {{ target }}
  - source: salt://{{ file }}
  - makedirs: true
  - require_in:
    - file: program_source_plan
  - order: 3
{%- endfor %}

program_source_plan:
  file.serialize:
  - name: /usr/local/lib/program/plan.json
  - dataset: {{ plan | json }}
  - serializer: json
  - makedirs: true
  - order: 3

# What is being made from something else ends.
program_source_stopped:
  cmd.run:
  - name: systemctl stop program-source.service 2>/dev/null || true
  - onlyif: systemctl is-active --quiet program-source.service
  - onchanges:
    - file: program_source_plan
    - file: program_source_script
  - order: 3

# Go's own settings, proxies and authorities of this environment go along; those of /root/.config/go/env are read anyway.
program_source_started:
  cmd.run:
  - name: >-
      systemctl reset-failed program-source.service 2>/dev/null;
      systemd-run --quiet --unit=program-source --property=Nice=5 --setenv=HOME=/root
      $(env | sed -nE 's/^(GO[A-Z0-9]+|[A-Za-z]+_[Pp][Rr][Oo][Xx][Yy]|SSL_CERT_[A-Z]+)=.*/--setenv=\1/p')
      --description="Programs for the hosts"
      {{ script }} /usr/local/lib/program/plan.json
  - unless: ({{ complete }}) || systemctl is-active --quiet program-source.service
  - require:
    - file: program_source_script
    - file: program_source_plan
    - pkg: program_source_packages
    - cmd: program_source_stopped
  - order: 4
