{%- set name = salt['pillar.get']('image:service') %}
{%- from name ~ "/map.jinja" import server, service with context %}
# What the API services of OpenStack have in common: processes, accounts in files, logs. Each formula's map.jinja says
# what its service is; its own SLS includes this one and adds what is its alone.

# The entrypoint writes here when the container starts, and it does not start as root.
openstack_directories:
  file.directory:
  - names:
    - /etc/{{ name }}
    - /var/lib/{{ name }}
  - user: {{ name }}
  - group: {{ name }}
  - mode: 750

{%- macro managed(id, target, source, mode, owner=name, process='') %}

openstack_{{ id }}:
  file.managed:
  - name: {{ target }}
  - source: salt://openstack/files/{{ source }}
  - template: jinja
  - user: {{ owner }}
  - group: {{ owner }}
  - mode: {{ mode }}
  - makedirs: true
  - context: {{ {'server': server, 'service': service, 'process': process} | json }}
  - require:
    - file: openstack_directories
{%- endmacro %}

{{- managed('database', '/etc/' ~ name ~ '/database.cnf', 'database.cnf', 600) }}
{{- managed('logging', '/etc/' ~ name ~ '/logging.conf', 'logging.conf', 644) }}
{{- managed('uwsgi', '/etc/' ~ name ~ '/uwsgi.ini', 'uwsgi.ini', 644) }}
{{- managed('process_api', '/entrypoint.d/api', 'api', 755, 'root') }}
{%- for process in service.manage %}
{{- managed('process_' ~ process, '/entrypoint.d/' ~ process, 'manage', 755, 'root', process) }}
{%- endfor %}

{%- if service.catalog is defined %}

# What the two scripts below know of the identity service; they run as root or as the service's own account.
{{- managed('identity', '/etc/' ~ name ~ '/identity.json', 'identity.json', 600) }}
{{- managed('process_register', '/entrypoint.d/register', 'register', 755, 'root') }}
{{- managed('process_retire', '/entrypoint.d/retire', 'register', 755, 'root') }}
{{- managed('check', '/usr/local/bin/api-check', 'api-check', 755, 'root') }}
{%- endif %}
