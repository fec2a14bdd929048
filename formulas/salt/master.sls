{%- set master = pillar.salt.master %}
{%- set prefix = master.get('prefix', '/opt/salt') %}

salt_master_packages:
  pkg.installed:
  - pkgs:
    # Before the master starts: without it the engine that builds pushes does not load, and Salt says nothing of that.
    - git
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
  service.running:
  - name: salt-master
  - enable: true
  - require:
    - file: salt_master_config
    - file: salt_master_unit

# The master may be waiting for the result of this very run: restarted a little later, by systemd, and only
# if it has been running since before its configuration changed.
salt_master_restart:
  cmd.run:
  - name: >-
      systemctl daemon-reload; systemctl stop salt-master-restart.timer 2>/dev/null;
      systemd-run --quiet --collect --unit=salt-master-restart --on-active=3s --timer-property=AccuracySec=1s
      systemctl restart salt-master
  - unless: >-
      test "$(stat -c %Y /etc/salt/master.d/pillarbox.conf /etc/systemd/system/salt-master.service | sort -n | tail -n 1)"
      -le "$(date -d "$(systemctl show --property=ExecMainStartTimestamp --value salt-master)" +%s)"
  - order: last
