{%- from 'bird/map.jinja' import network, plain with context %}
{%- set kept = [] %}
{%- for route in network.get('route', {}).values() | list + network.get('peer_route', {}).values() | list if route.get('enabled', true) %}
{%- do kept.append(route.destination) %}
{%- endfor %}
include:
- bird.server
{%- if plain %}
- linux.network
{%- endif %}

bird_settled_script:
  file.managed:
  - name: /usr/local/lib/bird/bird-settled
  - source: salt://bird/files/bird-settled
  - mode: '0755'
  - makedirs: true

# A highstate that ends well means a host with routes. Plain ones go once those of the routers are there.
bird_settled:
  cmd.run:
  - name: /usr/local/lib/bird/bird-settled {{ pillar.bird.server.get('timeout', 60) }} {{ kept | sort | join(' ') }}
  - unless: /usr/local/lib/bird/bird-settled 0 {{ kept | sort | join(' ') }}
  - require:
    - file: bird_settled_script
    - service: bird_server_service
  {%- if plain %}
  - require_in:
    - file: linux_network_route_table
  {%- endif %}
