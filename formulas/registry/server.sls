{%- set server = pillar.registry.server %}
{%- set directory = server.get('storage', {}).get('directory', '/var/lib/docker-registry') %}
{%- set plain_http = server.get('plain_http', false) %}
{%- set certificate = server.get('certificate', 'registry-server') %}
{%- set accounts = server.get('account', {}) %}
{%- set passwords = {'pull': {}, 'push': {}} %}
{%- for name, account in accounts.items() %}
{%- do passwords.pull.update({name: account.password}) %}
{%- if account.get('push') %}
{%- do passwords.push.update({name: account.password}) %}
{%- endif %}
{%- endfor %}

registry_server_config:
  file.managed:
  - name: /etc/docker/registry/config.yml
  - source: salt://registry/files/config.yml
  - template: jinja
  - makedirs: true
  - context:
      server: {{ server | json }}
      directory: {{ directory }}

registry_server_unit:
  file.managed:
  - name: /etc/systemd/system/docker-registry.service.d/pillarbox.conf
  - source: salt://registry/files/docker-registry.conf
  - template: jinja
  - makedirs: true
  - context:
      directory: {{ directory }}

registry_server_proxy_unit:
  file.managed:
  - name: /etc/systemd/system/nginx.service.d/pillarbox.conf
  - source: salt://registry/files/nginx.service.conf
  - makedirs: true

registry_server_packages:
  pkg.installed:
  - pkgs:
    - docker-registry
    - nginx
  - install_recommends: false
  - require:
    - file: registry_server_config
    - file: registry_server_unit
    - file: registry_server_proxy_unit

{%- if not plain_http %}
{%- for file, content in (('server.crt', 'certificate'), ('server.key', 'key')) %}

registry_server_{{ file }}:
  file.managed:
  - name: /etc/docker/registry/{{ file }}
  - contents_pillar: pki:certificate:{{ certificate }}:{{ content }}
  - mode: '0600'
  - show_changes: false
  - require:
    - file: registry_server_config
  - watch_in:
    - service: registry_server_proxy_service
{%- endfor %}
{%- endif %}

{#- Who may read, and who may write besides. Hashes alone reach this host's disk. #}
{%- if accounts %}
{%- for kind, some in passwords.items() %}
{%- set file = '/etc/docker/registry/' ~ kind ~ '.htpasswd' %}

registry_server_{{ kind }}_accounts:
  file.managed:
  - name: {{ file }}
  - contents: {{ salt['pillarbox.htpasswd'](file, some) | json }}
  - group: www-data
  - mode: '0640'
  - show_changes: false
  - require:
    - pkg: registry_server_packages
  - watch_in:
    - service: registry_server_proxy_service
{%- endfor %}
{%- endif %}

registry_server_storage:
  file.directory:
  - name: {{ directory }}
  - user: docker-registry
  - group: docker-registry
  - mode: '0750'
  - makedirs: true
  - require:
    - pkg: registry_server_packages

# Salt does not notice that a drop-in has changed, nor systemd that there is a first one.
registry_server_unit_reload:
  cmd.run:
  - name: systemctl daemon-reload
  - unless: >-
      for unit in docker-registry nginx; do
      systemctl show --property=NeedDaemonReload $unit | grep -qx NeedDaemonReload=no &&
      systemctl show --property=DropInPaths $unit | grep -q $unit.service.d/pillarbox.conf || exit 1; done
  - require:
    - file: registry_server_unit
    - file: registry_server_proxy_unit
    - pkg: registry_server_packages

registry_server_service:
  service.running:
  - name: docker-registry
  - enable: true
  - require:
    - file: registry_server_storage
  - watch:
    - pkg: registry_server_packages
    - file: registry_server_config
    - file: registry_server_unit
    - cmd: registry_server_unit_reload

# Debian's own, at port 80.
registry_server_proxy_default:
  file.absent:
  - name: /etc/nginx/sites-enabled/default
  - require:
    - pkg: registry_server_packages

registry_server_proxy_config:
  file.managed:
  - name: /etc/nginx/conf.d/registry.conf
  - source: salt://registry/files/nginx.conf
  - template: jinja
  - context:
      server: {{ server.bind | json }}
      tls: {{ not plain_http }}
      accounts: {{ accounts | length > 0 }}
  - require:
    - pkg: registry_server_packages

registry_server_proxy_service:
  service.running:
  - name: nginx
  - enable: true
  # Pushes and pulls that go on are not cut off.
  - reload: true
  - require:
    - service: registry_server_service
  - watch:
    - file: registry_server_proxy_default
    - file: registry_server_proxy_config
