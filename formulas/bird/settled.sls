{%- from 'bird/map.jinja' import network, plain with context %}
{%- set routes = network.get('route', {}).values() | list + network.get('peer_route', {}).values() | list %}
{%- set kept = routes | rejectattr('enabled', 'equalto', false) | map(attribute='destination') | sort %}
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
  - name: /usr/local/lib/bird/bird-settled {{ pillar.bird.server.get('timeout', 60) }} {{ kept | join(' ') }}
  - unless: /usr/local/lib/bird/bird-settled 0 {{ kept | join(' ') }}
  - require:
    - file: bird_settled_script
    - service: bird_server_service
  {%- if plain %}
  - require_in:
    - file: linux_network_route_table
  {%- endif %}
