{%- set client = pillar.etcd.client %}
{%- set certificate = client.get('certificate', 'etcd-client') %}
# What a host needs to take snapshots of a cluster elsewhere.
include:
- etcd.program

etcd_client_pki:
  file.directory:
  - name: /etc/etcd/client
  - makedirs: true
  - mode: '0700'

{%- for file, content in (('client.crt', 'certificate'), ('client.key', 'key'), ('ca.crt', 'ca_certificate')) %}
etcd_client_{{ file }}:
  file.managed:
  - name: /etc/etcd/client/{{ file }}
  - contents_pillar: pki:certificate:{{ certificate }}:{{ content }}
  - mode: '0600'
  - show_changes: false
  - require:
    - file: etcd_client_pki
{%- endfor %}

etcd_client_endpoints:
  file.managed:
  - name: /etc/etcd/client/endpoints
  - contents:
    {%- for name, member in client.members | dictsort %}
    - https://{{ member.host }}:{{ member.get('port', 2379) }}
    {%- endfor %}
  - mode: '0600'
  - require:
    - file: etcd_client_pki

etcd_client_snapshot:
  file.managed:
  - name: /usr/local/sbin/etcd-snapshot
  - source: salt://etcd/files/etcd-snapshot
  - mode: '0755'
