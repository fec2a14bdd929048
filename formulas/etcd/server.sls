{%- from 'etcd/map.jinja' import initial_cluster %}
{%- set server = pillar.etcd.server %}
{%- set certificate = pillar.pki.certificate[server.get('certificate', 'etcd-server')] %}

include:
- etcd.program

etcd_server_user:
  user.present:
  - name: etcd
  - system: true
  - usergroup: true
  - home: /var/lib/etcd
  - createhome: false
  - shell: /usr/sbin/nologin

etcd_server_pki:
  file.directory:
  - name: /etc/etcd/pki
  - makedirs: true
  - user: etcd
  - group: etcd
  - mode: '0700'
  - require:
    - user: etcd_server_user

{%- for file, content in (('server.crt', 'certificate'), ('server.key', 'key'), ('ca.crt', 'ca_certificate')) %}
etcd_server_{{ file }}:
  file.managed:
  - name: /etc/etcd/pki/{{ file }}
  - contents_pillar: pki:certificate:{{ server.get('certificate', 'etcd-server') }}:{{ content }}
  - user: etcd
  - group: etcd
  - mode: '0600'
  - show_changes: false
  - require:
    - file: etcd_server_pki
  - watch_in:
    - service: etcd_server_service
{%- endfor %}

etcd_server_data:
  file.directory:
  - name: {{ server.get('data_dir', '/var/lib/etcd/member') }}
  - makedirs: true
  - user: etcd
  - group: etcd
  - mode: '0700'
  - require:
    - user: etcd_server_user

# A volume at /var/lib/etcd is root's when it is new.
etcd_server_home:
  file.directory:
  - name: /var/lib/etcd
  - user: etcd
  - group: etcd
  - mode: '0700'
  - require:
    - user: etcd_server_user
  - require_in:
    - file: etcd_server_data

etcd_server_config:
  file.managed:
  - name: /etc/etcd/etcd.env
  - source: salt://etcd/files/etcd.env
  - template: jinja
  - context:
      server: {{ server | json }}
      initial_cluster: {{ initial_cluster(server) | json }}
  - require:
    - file: etcd_server_pki

etcd_server_unit:
  file.managed:
  - name: /etc/systemd/system/etcd.service
  - source: salt://etcd/files/etcd.service

etcd_server_service:
  service.running:
  - name: etcd
  - enable: true
  - require:
    - file: etcd_server_data
  - watch:
    - file: program_binary_etcd
    - file: etcd_server_config
    - file: etcd_server_unit
