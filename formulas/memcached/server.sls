{%- from "memcached/map.jinja" import server with context %}
# Process of the cache. Installs nothing: that is memcached.packages.

memcached_process_server:
  file.managed:
  - name: /entrypoint.d/server
  - source: salt://memcached/files/server
  - template: jinja
  - mode: 755
  - makedirs: true
  - context: {server: {{ server | json }}}

memcached_check:
  file.managed:
  - name: /usr/local/bin/memcached-check
  - source: salt://memcached/files/memcached-check
  - template: jinja
  - mode: 755
  - context: {server: {{ server | json }}}
