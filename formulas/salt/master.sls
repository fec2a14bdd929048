{%- set master = pillar.salt.master %}
{%- set prefix = master.get('prefix', '/opt/salt') %}

salt_master_packages:
  pkg.installed:
  - pkgs:
    - gnupg
  - install_recommends: false

salt_master_config:
  file.managed:
  - name: /etc/salt/master.d/pillarbox.conf
  - source: salt://salt/files/master.conf
  - template: jinja
  - makedirs: true
  - mode: '0640'
  - context:
      master: {{ master | json }}

salt_master_gpgkeys:
  file.directory:
  - name: {{ master.get('gpg_keydir', '/etc/salt/gpgkeys') }}
  - mode: '0700'
  - makedirs: true

salt_master_unit:
  file.managed:
  - name: /etc/systemd/system/salt-master.service
  - source: salt://salt/files/salt-master.service
  - template: jinja
  - context:
      prefix: {{ prefix }}

{%- for command in ('salt', 'salt-key', 'salt-run') %}
salt_master_command_{{ command }}:
  file.symlink:
  - name: /usr/local/bin/{{ command }}
  - target: {{ prefix }}/bin/{{ command }}
{%- endfor %}

salt_master_service:
  service.enabled:
  - name: salt-master
  - require:
    - file: salt_master_unit

# The master may be waiting for the result of this very run: restarted a little later, by systemd.
salt_master_restart:
  cmd.run:
  - name: >-
      systemctl daemon-reload; systemctl stop salt-master-restart.timer 2>/dev/null;
      systemd-run --quiet --collect --unit=salt-master-restart --on-active=3s --timer-property=AccuracySec=1s
      systemctl restart salt-master
  - order: last
  - onchanges:
    - file: salt_master_config
    - file: salt_master_unit
