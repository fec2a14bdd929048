{#- Fills golang:compile:directory. Started early, because compiling takes minutes in which the rest can go on. -#}
{%- from 'golang/map.jinja' import compile, toolchain, sources, path with context %}
{%- set script = '/usr/local/lib/golang/compile' %}
{%- set plan = {'work': compile.get('work', '/var/cache'), 'toolchain': toolchain, 'programs': []} %}
{%- set packages = ['ca-certificates', 'python3'] %}
{%- set files = {} %}
{%- for name, given in compile.get('program', {}).items() %}
{#- First, as it says what to do about a version that has no pins. #}
{%- set directory = path(name, given.version) %}
{%- import_yaml 'golang/files/' ~ name ~ '/' ~ given.version ~ '/program.yml' as program %}
{%- set source = '/usr/local/lib/golang/source/' ~ directory.split('/')[-1] %}
{%- for file in sources(name, given.version) | load_json if not file.endswith('/program.yml') %}
{%- do files.update({source ~ '/' ~ file.split('/')[-1]: file}) %}
{%- endfor %}
{%- do packages.extend(program.get('packages', [])) %}
{%- do plan.programs.append({
  'name': name,
  'version': given.version,
  'directory': directory,
  'source': source,
  'commands': program.commands,
  'tags': program.get('tags', []),
  'ldflags': program.get('ldflags', []),
  'cgo': program.get('cgo', false),
  'c': program.get('c', {}),
}) %}
{%- endfor %}
{%- set tests = ['true'] %}
{%- for program in plan.programs %}
{%- do tests.append('test -e ' ~ program.directory ~ '/SHA256SUMS') %}
{%- endfor %}
{%- set complete = tests | join(' && ') %}

golang_compile_packages:
  pkg.installed:
  - pkgs: {{ packages | unique | sort | json }}
  - install_recommends: false
  - refresh: true
  - cache_valid_time: 3600
  - unless: {{ complete }}
  - order: 2

golang_compile_script:
  file.managed:
  - name: {{ script }}
  - source: salt://golang/files/compile
  - mode: '0755'
  - makedirs: true
  - order: 3

{%- for target, file in files.items() %}
golang_compile_source_{{ loop.index }}:
  file.managed:
  - name: {{ target }}
  - source: salt://{{ file }}
  - makedirs: true
  - require_in:
    - file: golang_compile_plan
  - order: 3
{%- endfor %}

golang_compile_plan:
  file.serialize:
  - name: /usr/local/lib/golang/plan.json
  - dataset: {{ plan | json }}
  - serializer: json
  - makedirs: true
  - order: 3

# What is being compiled from something else ends.
golang_compile_stopped:
  cmd.run:
  - name: systemctl stop golang-compile.service 2>/dev/null || true
  - onlyif: systemctl is-active --quiet golang-compile.service
  - onchanges:
    - file: golang_compile_plan
    - file: golang_compile_script
  - order: 3

# Go's own settings, proxies and authorities of this environment go along; those of /root/.config/go/env are read anyway.
golang_compile_started:
  cmd.run:
  - name: >-
      systemctl reset-failed golang-compile.service 2>/dev/null;
      systemd-run --quiet --unit=golang-compile --property=Nice=5 --setenv=HOME=/root
      $(env | sed -nE 's/^(GO[A-Z0-9]+|[A-Za-z]+_[Pp][Rr][Oo][Xx][Yy]|SSL_CERT_[A-Z]+)=.*/--setenv=\1/p')
      --description="Programs from Go modules"
      {{ script }} /usr/local/lib/golang/plan.json
  - unless: ({{ complete }}) || systemctl is-active --quiet golang-compile.service
  - require:
    - file: golang_compile_script
    - file: golang_compile_plan
    - pkg: golang_compile_packages
    - cmd: golang_compile_stopped
  - order: 4
