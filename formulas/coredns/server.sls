{%- from 'program/map.jinja' import wait, binary with context %}
{%- set server = pillar.coredns.server %}
{%- set certificate = server.get('certificate', 'kubernetes-coredns') %}
{%- set address = server.get('bind', {}).get('address', '169.254.20.10') %}
{%- set pki = '/etc/coredns/pki' %}

{{ wait('coredns', ['coredns']) }}
{{ binary('coredns', 'coredns') }}

coredns_server_user:
  user.present:
  - name: coredns
  - system: true
  - usergroup: true
  - home: /nonexistent
  - createhome: false
  - shell: /usr/sbin/nologin

coredns_server_directory:
  file.directory:
  - name: /etc/coredns
  - mode: '0755'

coredns_server_pki:
  file.directory:
  - name: {{ pki }}
  - user: coredns
  - group: coredns
  - mode: '0700'
  - require:
    - user: coredns_server_user
    - file: coredns_server_directory

{%- for file, content in (('client.crt', 'certificate'), ('client.key', 'key'), ('ca.crt', 'ca_certificate')) %}

coredns_server_{{ file }}:
  file.managed:
  - name: {{ pki }}/{{ file }}
  - contents_pillar: pki:certificate:{{ certificate }}:{{ content }}
  - user: coredns
  - group: coredns
  - mode: '0600'
  - show_changes: false
  - require:
    - file: coredns_server_pki
  - watch_in:
    - service: coredns_server_service
{%- endfor %}

coredns_server_kubeconfig:
  file.managed:
  - name: /etc/coredns/kubeconfig
  - source: salt://kubernetes/files/kubeconfig
  - template: jinja
  - user: coredns
  - group: coredns
  - mode: '0600'
  - context:
      server: https://{{ server.master.host }}:{{ server.master.get('port', 6443) }}
      user: {{ certificate }}
      ca_file: {{ pki }}/ca.crt
      certificate_file: {{ pki }}/client.crt
      key_file: {{ pki }}/client.key
  - require:
    - file: coredns_server_pki

{%- if not server.get('forward') %}

coredns_server_nothing:
  file.managed:
  - name: /etc/coredns/nothing.zone
  - source: salt://coredns/files/nothing.zone
  - require:
    - file: coredns_server_directory
  - require_in:
    - file: coredns_server_corefile
{%- endif %}

# The running server takes a change by itself, within a minute and without a gap.
coredns_server_corefile:
  file.managed:
  - name: /etc/coredns/Corefile
  - source: salt://coredns/files/Corefile
  - template: jinja
  - context:
      server: {{ server | json }}
      address: {{ address }}
  - require:
    - file: coredns_server_directory

coredns_server_unit:
  file.managed:
  - name: /etc/systemd/system/coredns.service
  - source: salt://coredns/files/coredns.service
  - template: jinja
  - context:
      address: {{ address }}

coredns_server_service:
  service.running:
  - name: coredns
  - enable: true
  - require:
    - file: coredns_server_corefile
  - watch:
    - file: program_binary_coredns
    - file: coredns_server_kubeconfig
    - file: coredns_server_unit

# A highstate that ends well means a server that listens. What it answers of the cluster has to wait for the first
# deploy, which gives it its rights.
coredns_server_listens:
  cmd.run:
  - name: >-
      timeout 60 sh -c 'until ss -Hlnu src {{ address }}:53 | grep -q .; do sleep 1; done' ||
      { journalctl --unit coredns --lines 20 --no-pager; exit 1; }
  - unless: ss -Hlnu src {{ address }}:53 | grep -q .
  - require:
    - service: coredns_server_service
