{%- from 'linux/map.jinja' import container with context %}
{%- set system = pillar.linux.system %}
{%- if container %}
include:
- linux.system.container
{%- endif %}

linux_system_packages:
  pkg.installed:
  - pkgs: {{ (['ca-certificates', 'curl', 'iproute2', 'procps', 'tzdata'] + system.get('package', {}).keys() | list) | unique | sort | json }}
  - install_recommends: false
  - refresh: true
  - cache_valid_time: 3600

{%- if system.name is defined %}
linux_system_hostname:
  cmd.run:
  # In place and not by renaming: in a container the file is a mount of its own.
  - name: printf '%s\n' {{ system.name }} > /etc/hostname && hostname {{ system.name }}
  - unless: test "$(hostname)" = {{ system.name }} && test "$(cat /etc/hostname)" = {{ system.name }}
{%- endif %}

{%- if system.timezone is defined %}
linux_system_timezone:
  file.symlink:
  - name: /etc/localtime
  - target: /usr/share/zoneinfo/{{ system.timezone }}
  - force: true
  - require:
    - pkg: linux_system_packages
{%- endif %}

{%- for name, module in system.get('kernel', {}).get('module', {}).items() if module is not mapping or module.get('enabled', true) %}
{%- if not container %}
linux_system_module_{{ name }}:
  kmod.present:
  - name: {{ name }}
  - persist: true
{%- endif %}
{%- endfor %}

{%- for name, value in system.get('kernel', {}).get('sysctl', {}).items() %}
linux_system_sysctl_{{ name }}:
  sysctl.present:
  - name: {{ name }}
  - value: {{ value | json }}
  - config: /etc/sysctl.d/60-linux.conf
  {%- if container %}
  - require:
    - service: linux_system_container
  {%- endif %}
{%- endfor %}

{%- for name, group in system.get('group', {}).items() if group.get('enabled', true) %}
linux_system_group_{{ name }}:
  group.present:
  - name: {{ name }}
  {%- if group.gid is defined %}
  - gid: {{ group.gid }}
  {%- endif %}
  - system: {{ group.get('system', false) }}
{%- endfor %}

{%- for name, user in system.get('user', {}).items() if user.get('enabled', true) %}
linux_system_user_{{ name }}:
  user.present:
  - name: {{ name }}
  {%- for option in ('uid', 'gid', 'home', 'shell', 'groups', 'fullname') if user[option] is defined %}
  - {{ option }}: {{ user[option] | json }}
  {%- endfor %}
  - system: {{ user.get('system', false) }}
{%- endfor %}

{%- for path, directory in system.get('directory', {}).items() %}
linux_system_directory_{{ path }}:
  file.directory:
  - name: {{ path }}
  - user: {{ directory.get('user', 'root') }}
  - group: {{ directory.get('group', 'root') }}
  - mode: '{{ directory.get('mode', '0755') }}'
  - makedirs: true
{%- endfor %}
