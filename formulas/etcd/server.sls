{%- from 'etcd/map.jinja' import members with context %}
{%- set server = pillar.etcd.server %}
{%- set members = members(server) | load_json %}
{%- set data = server.get('data_dir', '/var/lib/etcd/member') %}
{%- set script = '/usr/local/lib/etcd/etcd-member' %}
{%- set given = '/etc/etcd/members.json' %}

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
  - require_in:
    - cmd: etcd_server_begin
{%- endfor %}

etcd_server_data:
  file.directory:
  - name: {{ data }}
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
      own: {{ members[server.name] | json }}
  - require:
    - file: etcd_server_pki

etcd_server_unit:
  file.managed:
  - name: /etc/systemd/system/etcd.service
  - source: salt://etcd/files/etcd.service
  - template: jinja
  - context:
      data: {{ data }}

# Who the members are changes while etcd runs.
etcd_server_members:
  file.serialize:
  - name: {{ given }}
  - serializer: json
  - dataset:
      name: {{ server.name }}
      token: {{ server.get('token', 'etcd') }}
      timeout: {{ server.get('timeout', 600) }}
      data_dir: {{ data }}
      pki: /etc/etcd/pki
      listen: {{ [server.bind.host, server.bind.get('peer_port', 2380)] | json }}
      {%- for kind in ('client', 'peer') %}
      {{ kind }}s:
        {%- for name, member in members | dictsort %}
        {{ name }}: {{ member[kind] }}
        {%- endfor %}
      {%- endfor %}
  - require:
    - file: etcd_server_pki

etcd_server_script:
  file.managed:
  - name: {{ script }}
  - source: salt://etcd/files/etcd-member
  - mode: '0755'
  - makedirs: true

# One that goes on with files that are gone would lose them when it ends.
etcd_server_stopped:
  service.dead:
  - name: etcd
  - unless: test -e {{ data }}/member/wal -o -e {{ data }}/begin

etcd_server_begin:
  cmd.run:
  - name: {{ script }} begin {{ given }}
  - unless: {{ script }} check {{ given }}
  - require:
    - file: program_binary_etcdctl
    - file: etcd_server_data
    - file: etcd_server_members
    - file: etcd_server_script
    - service: etcd_server_stopped

# A new certificate is read by the running server, and must not restart all of them at once.
etcd_server_service:
  service.running:
  - name: etcd
  - enable: true
  - require:
    - cmd: etcd_server_begin
  - watch:
    - file: program_binary_etcd
    - file: etcd_server_ca.crt
    - file: etcd_server_config
    - file: etcd_server_unit

# A highstate that ends well means a member that has a vote in a cluster that answers.
etcd_server_settled:
  cmd.run:
  - name: {{ script }} settle {{ given }}
  - unless: {{ script }} check {{ given }}
  - require:
    - service: etcd_server_service
