{%- set minion = pillar.salt.minion %}
{%- set prefix = minion.get('prefix', '/opt/salt') %}

salt_minion_config:
  file.managed:
  - name: /etc/salt/minion.d/pillarbox.conf
  - source: salt://salt/files/minion.conf
  - template: jinja
  - makedirs: true
  - mode: '0640'
  - context:
      minion: {{ minion | json }}

salt_minion_unit:
  file.managed:
  - name: /etc/systemd/system/salt-minion.service
  - source: salt://salt/files/salt-minion.service
  - template: jinja
  - context:
      prefix: {{ prefix }}

salt_minion_command:
  file.symlink:
  - name: /usr/local/bin/salt-call
  - target: {{ prefix }}/bin/salt-call

salt_minion_service:
  service.running:
  - name: salt-minion
  - enable: true
  - require:
    - file: salt_minion_config
    - file: salt_minion_unit

# The minion that runs this very state must still send its result: restarted a little later, by systemd, and only
# if it has been running since before its configuration changed.
salt_minion_restart:
  cmd.run:
  - name: >-
      systemctl daemon-reload; systemctl stop salt-minion-restart.timer 2>/dev/null;
      systemd-run --quiet --collect --unit=salt-minion-restart --on-active=3s --timer-property=AccuracySec=1s
      systemctl restart salt-minion
  - unless: >-
      test "$(stat -c %Y /etc/salt/minion.d/pillarbox.conf /etc/systemd/system/salt-minion.service | sort -n | tail -n 1)"
      -le "$(date -d "$(systemctl show --property=ExecMainStartTimestamp --value salt-minion)" +%s)"
  - order: last
