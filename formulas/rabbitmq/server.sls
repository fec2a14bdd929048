{%- from "rabbitmq/map.jinja" import server with context %}
# Configuration and process of the message queue. Installs nothing: that is rabbitmq.packages.

# The entrypoint writes here when the container starts, and it does not start as root.
rabbitmq_directories:
  file.directory:
  - names:
    - /etc/rabbitmq
    - /var/lib/rabbitmq
    - /var/lib/rabbitmq/mnesia
    - /var/log/rabbitmq
  - user: rabbitmq
  - group: rabbitmq
  - mode: 750

rabbitmq_config:
  file.managed:
  - name: /etc/rabbitmq/rabbitmq.conf
  - source: salt://rabbitmq/files/rabbitmq.conf
  - template: jinja
  - user: rabbitmq
  - group: rabbitmq
  - mode: 644
  - context: {server: {{ server | json }}}
  - require:
    - file: rabbitmq_directories

# Imported at every start, so that a changed password needs a restart and nothing else.
rabbitmq_definitions:
  file.managed:
  - name: /etc/rabbitmq/definitions.json
  - source: salt://rabbitmq/files/definitions.json
  - template: jinja
  - user: rabbitmq
  - group: rabbitmq
  - mode: 600
  - context: {server: {{ server | json }}}
  - require:
    - file: rabbitmq_directories

rabbitmq_plugins:
  file.managed:
  - name: /etc/rabbitmq/enabled_plugins
  - contents: '[].'
  - user: rabbitmq
  - group: rabbitmq
  - mode: 644
  - require:
    - file: rabbitmq_directories

rabbitmq_cookie:
  file.managed:
  - name: /var/lib/rabbitmq/.erlang.cookie
  - contents: {{ server.secret_key | json }}
  - contents_newline: false
  - user: rabbitmq
  - group: rabbitmq
  - mode: 400
  - require:
    - file: rabbitmq_directories

rabbitmq_process_server:
  file.managed:
  - name: /entrypoint.d/server
  - source: salt://rabbitmq/files/server
  - mode: 755
  - makedirs: true

rabbitmq_check:
  file.managed:
  - name: /usr/local/bin/rabbitmq-check
  - source: salt://rabbitmq/files/rabbitmq-check
  - template: jinja
  - mode: 755
  - context: {server: {{ server | json }}}
