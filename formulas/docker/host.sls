{%- set host = pillar.docker.host %}

docker_host_config:
  file.managed:
  - name: /etc/docker/daemon.json
  - source: salt://docker/files/daemon.json
  - template: jinja
  - makedirs: true
  - context:
      host: {{ host | json }}

docker_host_unit:
  file.managed:
  - name: /etc/systemd/system/docker.service.d/pillarbox.conf
  - source: salt://docker/files/docker.service.conf
  - makedirs: true

# It needs no new start of the engine.
docker_host_unit_read:
  cmd.run:
  - name: systemctl daemon-reload
  - onchanges:
    - file: docker_host_unit

docker_host_packages:
  pkg.installed:
  - pkgs:
    - docker.io
    - iptables
    {%- for name in host.get('package', {}) | sort %}
    - {{ name }}
    {%- endfor %}
  - install_recommends: false
  - require:
    - file: docker_host_config
    - cmd: docker_host_unit_read

docker_host_service:
  service.running:
  - name: docker
  - enable: true
  - watch:
    - pkg: docker_host_packages
    - file: docker_host_config
