{%- set server = pillar.bird.server %}
{%- set secret = [] %}
{%- for name, router in server.router | dictsort if router.get('enabled', true) %}
{%- set place = 'bird:server:router:' ~ name %}
{%- if router.as == server.as %}
{{- raise(place ~ ':as is ' ~ router.as ~ ', which is the host\'s own: a router has another one') }}
{%- endif %}
{%- if router.password is defined %}
{%- do secret.append(name) %}
{#- The configuration has no way to write these. #}
{%- if '"' in router.password or '\n' in router.password or router.password | length > 80 %}
{{- raise(place ~ ':password: expected up to 80 characters of one line, without quotation marks') }}
{%- endif %}
{%- endif %}
{%- endfor %}

bird_server_unit:
  file.managed:
  - name: /etc/systemd/system/bird.service.d/pillarbox.conf
  - source: salt://bird/files/bird.service.conf
  - makedirs: true

# It needs no new start.
bird_server_unit_read:
  cmd.run:
  - name: systemctl daemon-reload
  - onchanges:
    - file: bird_server_unit

bird_server_packages:
  pkg.installed:
  - pkgs:
    - bird2
    - iproute2
  - install_recommends: false
  - require:
    - cmd: bird_server_unit_read

# One that the daemon would not take is not written.
bird_server_config:
  file.managed:
  - name: /etc/bird/bird.conf
  - source: salt://bird/files/bird.conf
  - template: jinja
  - user: bird
  - group: bird
  - mode: '0640'
  {%- if secret %}
  - show_changes: false
  {%- endif %}
  - check_cmd: /usr/sbin/bird -p -c
  - require:
    - pkg: bird_server_packages

# Sessions and routes that do not change go on over a reload.
bird_server_service:
  service.running:
  - name: bird
  - enable: true
  - reload: true
  - watch:
    - file: bird_server_config
