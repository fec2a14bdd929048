{%- from 'etcd/map.jinja' import members with context %}
{%- set server = pillar.etcd.server %}
{%- set members = members(server) | load_json %}
{%- set cluster = [] %}
{%- for name, member in members | dictsort %}
{%- do cluster.append(name ~ '=' ~ member.peer) %}
{%- endfor %}
{%- set restore = pillar.pillarbox.restore %}
{%- set data = server.get('data_dir', '/var/lib/etcd/member') %}
# Brings a snapshot back, on every member at once: salt-run state.orchestrate orch.restore. The data that was there stays
# beside it, as `<data_dir>.before-<id>`. What fails leaves that in its place; the services start again in any case.

etcd_restore_snapshot:
  file.managed:
  - name: {{ data }}.snapshot
  - source: {{ restore.source }}
  - source_hash: sha256={{ restore.sha256 }}
  - user: etcd
  - group: etcd
  - mode: '0600'
  - show_changes: false

# A new cluster with the old data: members of the old one are not listened to. Made before anything is stopped.
etcd_restore_data:
  cmd.run:
  - name: >-
      rm -rf {{ data }}.new && etcdutl snapshot restore {{ data }}.snapshot --data-dir {{ data }}.new
      --name {{ server.name }} --initial-cluster {{ cluster | join(',') }} --initial-cluster-token {{ restore.id }}
      --initial-advertise-peer-urls {{ members[server.name].peer }}
  - runas: etcd
  - require:
    - file: etcd_restore_snapshot

etcd_restore_stopped:
  service.dead:
  - names: {{ (server.get('clients', []) + ['etcd']) | json }}
  - require:
    - cmd: etcd_restore_data

etcd_restore_swapped:
  cmd.run:
  - name: mv {{ data }} {{ data }}.before-{{ restore.id }} && mv {{ data }}.new {{ data }}
  - require:
    - service: etcd_restore_stopped

etcd_restore_started:
  service.running:
  - name: etcd

etcd_restore_settled:
  cmd.run:
  - name: /usr/local/lib/etcd/etcd-member settle /etc/etcd/members.json
  - require:
    - service: etcd_restore_started

{%- for name in server.get('clients', []) %}
etcd_restore_{{ name }}:
  service.running:
  - name: {{ name }}
  - require:
    - service: etcd_restore_started
{%- endfor %}

etcd_restore_cleared:
  file.absent:
  - name: {{ data }}.snapshot
