{#- Only for a container that plays a host: what a server's kernel and boot give, given again at every start. -#}
linux_system_container_script:
  file.managed:
  - name: /usr/local/sbin/container-host
  - source: salt://linux/files/container-host
  - mode: '0755'

linux_system_container_unit:
  file.managed:
  - name: /etc/systemd/system/container-host.service
  - source: salt://linux/files/container-host.service

linux_system_container:
  service.running:
  - name: container-host
  - enable: true
  - watch:
    - file: linux_system_container_script
    - file: linux_system_container_unit
