{%- set server = pillar.registry.server %}
{%- set directory = server.get('storage', {}).get('directory', '/var/lib/docker-registry') %}

registry_server_config:
  file.managed:
  - name: /etc/docker/registry/config.yml
  - source: salt://registry/files/config.yml
  - template: jinja
  - makedirs: true
  - context:
      server: {{ server | json }}
      directory: {{ directory }}

registry_server_packages:
  pkg.installed:
  - pkgs:
    - docker-registry
  - install_recommends: false
  - require:
    - file: registry_server_config

registry_server_storage:
  file.directory:
  - name: {{ directory }}
  - user: docker-registry
  - group: docker-registry
  - mode: '0750'
  - makedirs: true
  - require:
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
