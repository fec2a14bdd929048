{%- from 'bird/map.jinja' import plain with context %}
{%- set unit = '/etc/systemd/system/bird.service.d/pillarbox.conf' %}
include:
- bird.plain

# Only where this formula had it run. It keeps the kernel's routes when it ends, and the routers keep theirs for as long as
# for a restart.
bird_stopped:
  service.dead:
  - name: bird
  - enable: false
  - onlyif: test -e {{ unit }}
  {%- if plain %}
  - require:
    - cmd: linux_network_route_repaired
  {%- endif %}

bird_stopped_routes:
  cmd.run:
  - name: ip -4 route flush proto bird
  - onlyif: test -e {{ unit }}
  - require:
    - service: bird_stopped

{%- for file in ('/etc/bird/bird.conf', unit) %}

bird_stopped_{{ file }}:
  file.absent:
  - name: {{ file }}
  - onlyif: test -e {{ unit }}
  - require:
    - cmd: bird_stopped_routes
{%- endfor %}
